package chaos

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// flow publishes, and waits until every partition makes progress.
func (f *field) flow() {
	f.Helper()
	f.stream()
	f.await("the first messages of every partition", patience, func() bool { return f.progressSince(f.began) })
	f.await("Health ready", patience, f.allReady)
}

// supply connects what publishes the workload, on a link of its own.
func (f *field) supply() {
	f.Helper()
	f.sender = f.link("sender")
	publisher, err := f.sender.open().Publisher(brokers.PublisherConfig{DeliveryTimeout: -1})
	f.ok(err)
	f.workload = newWorkload(publisher, f.topic)
	f.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what is not confirmed after a failure never will be
		_ = publisher.Close(ctx)
	})
}

// stream publishes at the target's rate until halt.
func (f *field) stream() {
	ctx, cancel := context.WithCancel(context.Background())
	var publishing sync.WaitGroup
	publishing.Go(func() { f.workload.run(ctx, f.target.Rate) })
	f.halt = func() {
		cancel()
		publishing.Wait()
	}
	f.Cleanup(f.halt)
}

// pile publishes at once what takes every key so long, so that what follows finds
// members with much in their hands, and waits until it is confirmed.
func (f *field) pile(work time.Duration) {
	f.Helper()
	for _, key := range f.workload.keys {
		for range 1 + work/(f.target.effort()/2) {
			f.workload.publish(key)
		}
	}
	ctx, cancel := context.WithTimeout(f.Context(), patience)
	defer cancel()
	f.ok(f.workload.publisher.Flush(ctx))
}

// name is a member's, new each time.
func (f *field) name() string {
	f.named++
	return "m" + strconv.Itoa(f.named)
}

func (f *field) config(name, address string) memberConfig {
	return memberConfig{
		Target: f.targetName, Address: address, Name: name,
		Journal: f.journal.file.Name(), Topic: f.topic, Effects: f.effects, Group: f.group,
		Effort: f.target.effort(), Transactional: f.target.Transactional,
	}
}

// join starts a member in this process, on a link of its own. change, if not
// nil, may give it another handler, policy or limits.
func (f *field) join(change func(*handler, *actors.Subscription)) *member {
	f.Helper()
	name := f.name()
	l := f.link(name)
	m, sub := newMember(f.config(name, l.address), l.open(), f.journal)
	m.link = l
	if change != nil {
		change(m.handler, &sub)
	}
	f.ok(m.start(f.log, sub))
	f.members = append(f.members, m)
	f.Cleanup(func() { // after a failure
		m.cancel()
		<-m.done
	})
	return m
}

// joinMany starts members as they are by default.
func (f *field) joinMany(n int) {
	f.Helper()
	for range n {
		f.join(nil)
	}
}

// leave stops a member of this process.
func (f *field) leave(m *member) {
	f.Helper()
	f.members = slices.DeleteFunc(f.members, func(x *member) bool { return x == m })
	f.ok(m.stop())
}

// joinProcess starts a member in a process of its own.
func (f *field) joinProcess() *process {
	f.Helper()
	name := f.name()
	l := f.link(name)
	p, err := startProcess(f.config(name, l.address))
	f.ok(err)
	p.link = l
	f.processes = append(f.processes, p)
	f.Cleanup(func() { _, _ = p.kill() }) // after a failure; else it has ended
	return p
}

// kill ends a process by kill -9.
func (f *field) kill(p *process) {
	f.Helper()
	f.processes = slices.DeleteFunc(f.processes, func(x *process) bool { return x == p })
	died, err := p.kill()
	f.ok(err)
	f.ok(f.journal.write(died))
}

// disband stops all members.
func (f *field) disband() {
	f.Helper()
	var stopping sync.WaitGroup
	for _, m := range f.members {
		stopping.Go(func() { f.noErr(m.stop()) })
	}
	for _, p := range f.processes {
		stopping.Go(func() { f.noErr(p.stop()) })
	}
	stopping.Wait()
	f.members, f.processes = nil, nil
}

// links are those of all members of this process, and the sender's.
func (f *field) links() []*link {
	links := []*link{f.sender}
	for _, m := range f.members {
		links = append(links, m.link)
	}
	return links
}
