package rabbitmq

import "testing"

// Writing does not allocate, once there is memory for what is gathered: also
// after the writer has found nothing more to write.
func TestCoalescedKeepsItsMemory(t *testing.T) {
	c := &coalesced{kick: make(chan struct{}, 1)}
	frame := make([]byte, 1<<10)
	gather := func() {
		for range 100 {
			if _, err := c.Write(frame); err != nil {
				t.Fatal(err)
			}
		}
	}
	take := func(frames int) []byte {
		b := c.take()
		if len(b) != frames*len(frame) {
			t.Fatalf("%d bytes are to be written; want %d", len(b), frames*len(frame))
		}
		return b
	}
	round := func() {
		gather()
		b := take(100)
		gather() // while b is written
		c.giveBack(b)
		c.giveBack(take(100))
		take(0)
	}
	round()
	if n := testing.AllocsPerRun(10, round); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
