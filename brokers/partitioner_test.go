package brokers

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
	"pgregory.net/rapid"
)

// The values of Kafka's own UtilsTest.testMurmur2.
func TestMurmur2OfKafkasTests(t *testing.T) {
	for key, want := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	} {
		if got := int32(murmur2([]byte(key))); got != want {
			t.Errorf("%q: %d, want %d", key, got, want)
		}
	}
}

func TestPartitionOfIsThatOfAnotherClient(t *testing.T) {
	var other kafka.Murmur2Balancer
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "key")
		n := rapid.IntRange(1, 1000).Draw(t, "n")
		partitions := make([]int, n)
		for i := range partitions {
			partitions[i] = i
		}
		want := other.Balance(kafka.Message{Key: append([]byte{}, key...)}, partitions...)
		if got := PartitionOf(key, n); int(got) != want {
			t.Fatalf("%d, want %d", got, want)
		}
	})
}

func TestByKey(t *testing.T) {
	for _, c := range []struct {
		partitioner Partitioner
		key         string
	}{
		{ByKey(nil), "k"},
		{ByKey(MessageKey), "k"},
		{ByKey(HeaderKey("h")), "v"},
	} {
		m := Message{Key: []byte("k"), Headers: Headers{{Key: "h", Value: []byte("v")}}}
		if got, err := c.partitioner.Partition(&m, 1000); err != nil || got != PartitionOf([]byte(c.key), 1000) {
			t.Errorf("%s: %d, %v", c.key, got, err)
		}
	}
}

func TestByKeySpreadsWhatHasNoKey(t *testing.T) {
	p, m := ByKey(nil), Message{Payload: make([]byte, 8<<10)}
	seen := map[int32]int{}
	for range 4000 {
		i, err := p.Partition(&m, 4)
		if err != nil {
			t.Fatal(err)
		}
		seen[i]++
	}
	for i := range int32(4) {
		if seen[i] < 500 {
			t.Errorf("partition %d got %d of 4000", i, seen[i])
		}
	}
}

func TestStickyStaysFor16KiB(t *testing.T) {
	p, m := Sticky(), Message{Payload: make([]byte, 1<<10)}
	for range 100 {
		first, err := p.Partition(&m, 1<<30) // so many that the next is another
		if err != nil {
			t.Fatal(err)
		}
		for i := range 15 {
			if got, err := p.Partition(&m, 1<<30); err != nil || got != first {
				t.Fatalf("message %d: %d, %v, want %d", i+1, got, err, first)
			}
		}
	}
}

func TestRoundRobinTakesTurnsInEachTopic(t *testing.T) {
	p := RoundRobin()
	for i := range int32(100) {
		for _, topic := range []string{"a", "b"} {
			if got, err := p.Partition(&Message{Topic: topic}, 4); err != nil || got != i%4 {
				t.Fatalf("%s: %d, %v, want %d", topic, got, err, i%4)
			}
		}
	}
}

func TestRoundRobinIsEvenUnderConcurrency(t *testing.T) {
	p := RoundRobin()
	var mu sync.Mutex
	seen := map[int32]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				i, err := p.Partition(&Message{Topic: "a"}, 4)
				mu.Lock()
				seen[i]++
				if err != nil {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for i := range int32(4) {
		if seen[i] != 200 {
			t.Errorf("partition %d got %d of 800", i, seen[i])
		}
	}
}

func TestExplicit(t *testing.T) {
	for partition, ok := range map[int32]bool{-1: false, 0: true, 2: true, 3: false} {
		got, err := Explicit().Partition(&Message{Topic: "t", Partition: partition}, 3)
		if ok && (err != nil || got != partition) || !ok && !errors.Is(err, ErrInvalid) {
			t.Errorf("%d: %d, %v", partition, got, err)
		}
	}
}

func ExamplePartitionOf() {
	fmt.Println(PartitionOf([]byte("customer-7"), 12))
	// Output: 7
}

func BenchmarkPartitionOf(b *testing.B) {
	key := []byte("customer-0000")
	for b.Loop() {
		binary.BigEndian.PutUint16(key, uint16(PartitionOf(key, 12)))
	}
}
