package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// What toxiproxy does to a direction of a connection.
var (
	deaf = toxic{Type: "timeout", Stream: "downstream"} // what the server says is lost
	mute = toxic{Type: "timeout", Stream: "upstream"}   // what is said to it is lost
	torn = []toxic{                                     // a connection ends after some bytes, within a frame
		{Type: "limit_data", Stream: "downstream", Attributes: map[string]int{"bytes": 30_011}},
		{Type: "limit_data", Stream: "upstream", Attributes: map[string]int{"bytes": 20_011}},
	}
	late = []toxic{
		{Type: "latency", Stream: "downstream", Attributes: map[string]int{"latency": 100, "jitter": 50}},
		{Type: "latency", Stream: "upstream", Attributes: map[string]int{"latency": 100, "jitter": 50}},
	}
	slow = []toxic{ // KB/s; bytes in small portions, µs between them
		{Type: "bandwidth", Stream: "downstream", Attributes: map[string]int{"rate": 24}},
		{Type: "bandwidth", Stream: "upstream", Attributes: map[string]int{"rate": 24}},
		{Type: "slicer", Stream: "downstream", Attributes: map[string]int{"average_size": 100, "size_variation": 50, "delay": 1000}},
	}
)

// two starts two members of this process and the workload.
func (f *field) two() {
	f.Helper()
	f.supply()
	f.joinMany(2)
	f.flow()
}

func networkCut(f *field) {
	f.two()
	f.hit(blow{name: "cut", hold: f.target.Hold, silent: true, strike: cut(f.links()...)})
	f.finish()
}

// One of two members is cut off: the other takes over, and nobody who obeys
// overlaps.
func networkCutOne(f *field) { f.loseOne("cut one", cut) }

// A half-open connection of one of two members.
func networkSilentOne(f *field) {
	f.loseOne("silent one", func(links ...*link) strike { return poison([]toxic{deaf, mute}, links...) })
}

// loseOne keeps a member from the server until the others must have taken over.
func (f *field) loseOne(name string, strike func(...*link) strike) {
	f.Helper()
	f.two()
	f.pile(f.target.Lease + f.target.hands()) // work for longer than the lease lasts
	f.note(Struck, name)
	mend, err := strike(f.members[0].link)(f.Context())
	f.ok(err)
	f.takesOver(f.members[1].name)
	f.ok(mend(f.Context()))
	f.note(Mended, name)
	f.resumes()
	f.finish()
}

// Connections come and go.
func networkFlapping(f *field) {
	f.two()
	f.hit(blow{name: "flapping", strike: func(ctx context.Context) (mend, error) {
		return nil, f.flap(ctx, 20)
	}})
	f.finish()
}

// flap cuts every link a number of times, each in its own rhythm.
func (f *field) flap(ctx context.Context, times int) error {
	flap := func(l *link) error {
		for range times {
			mend, err := l.cut(ctx)
			if err != nil {
				return err
			}
			f.pass(rand.N(f.target.Hold / 30))
			if err := mend(ctx); err != nil {
				return err
			}
			f.pass(rand.N(f.target.Hold / 10))
		}
		return nil
	}
	links := f.links()
	errs := make([]error, len(links))
	var flapping sync.WaitGroup
	for i, l := range links {
		flapping.Go(func() { errs[i] = flap(l) })
	}
	flapping.Wait()
	return errors.Join(errs...)
}

func networkTorn(f *field)    { f.poisoned("torn", torn) }
func networkLatency(f *field) { f.poisoned("latency", late) }
func networkSlow(f *field)    { f.poisoned("slow", slow) }

// poisoned makes all links bad, but not dead.
func (f *field) poisoned(name string, toxics []toxic) {
	f.Helper()
	f.two()
	f.hit(blow{name: name, hold: f.target.Hold, strike: poison(toxics, f.links()...)})
	f.finish()
}

// Connections that are open, and over which nothing comes, or goes, or neither.
func networkSilent(f *field) { f.silenced("silent", deaf, mute) }
func networkDeaf(f *field)   { f.silenced("deaf", deaf) }
func networkMute(f *field)   { f.silenced("mute", mute) }

func (f *field) silenced(name string, toxics ...toxic) {
	f.Helper()
	f.two()
	f.hit(blow{name: name, hold: f.target.Notice + f.target.Lease, silent: true, strike: poison(toxics, f.links()...)})
	f.finish()
}

// A publisher that gives up tells the truth: what it calls not sent is never
// seen, and what it confirmed is.
func networkDeadline(f *field) {
	f.two()
	f.halt()
	f.note(Struck, "deadline")
	delay, err := f.delayed(f.sender, f.target.Hold/100)
	f.ok(err)
	ctx, cancel := context.WithCancel(f.Context())
	defer cancel()
	var publishing sync.WaitGroup
	for _, key := range f.workload.keys {
		publishing.Go(func() { f.press(ctx, key, f.target.Hold/50) })
	}
	for range 6 {
		f.pass(f.target.Hold / 10)
		before := f.workload.notSent()
		connection, err := cut(f.sender)(f.Context())
		f.ok(err)
		f.await("a publish given up while cut off", patience, func() bool { return f.workload.notSent() > before })
		f.ok(connection(f.Context()))
	}
	cancel()
	publishing.Wait()
	f.ok(delay(f.Context()))
	f.note(Mended, "deadline")
	f.stream()
	f.resumes()
	f.finish()
}

// delayed makes a link so slow that of publishes with little time some are
// confirmed and some are not, where there is a proxy to do it.
func (f *field) delayed(l *link, by time.Duration) (mend, error) {
	if l.proxy == nil {
		return func(context.Context) error { return nil }, nil
	}
	ms := int(by.Milliseconds())
	attributes := map[string]int{"latency": ms, "jitter": ms}
	return l.poison(f.Context(), []toxic{
		{Type: "latency", Stream: "downstream", Attributes: attributes},
		{Type: "latency", Stream: "upstream", Attributes: attributes},
	})
}

// press publishes messages of a key one by one, each with little time, until
// ctx ends.
func (f *field) press(ctx context.Context, key string, timeout time.Duration) {
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, timeout)
		f.workload.publishWithin(within, key)
		cancel()
		// Even what fails at once takes its time: no flood of numbers.
		f.pass(timeout / 2)
	}
}
