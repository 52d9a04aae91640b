package nats_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Short cuts of the connection, at any moment, lose nothing and reorder nothing,
// and none of them holds anything up for long.
func TestShortCuts(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	b, steady := open(t, ls), open(t, ls)
	topic := makeTopic(t, b, 3)
	r := read(t, subscribe(t, b, name("group"), topic))
	var keys []string
	for p := range 3 {
		keys = append(keys, fmt.Sprint("key", p))
	}
	for round := range 15 {
		for p, key := range keys {
			publish(t, steady, numbered(topic, int32(p), key, 20*round, 20*round+20)...)
		}
		<-time.After(time.Duration(rand.IntN(100)) * time.Millisecond)
		ls.line(b).cut()
		ls.line(b).mend()
		began := time.Now()
		r.await(t, 20*round+19, keys...)
		if took := time.Since(began); took > 3*lease {
			t.Fatalf("round %d was handled %v after the cut", round, took)
		}
	}
}
