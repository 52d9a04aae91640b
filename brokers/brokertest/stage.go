package brokertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// staging is a group in transactions: messages 0 to n-1 of one partition, and the
// topic to which their outputs go.
type staging struct {
	*env
	cfg brokers.SubscriptionConfig
	out string
}

func (e *env) staging(n int) staging {
	e.Helper()
	e.needs(e.features.Transactions, "Features.Transactions is false")
	group := e.group()
	name := e.topic(1, group)
	e.publish(numbered(name, 0, "k", 0, n)...)
	return staging{e, brokers.SubscriptionConfig{Group: group, Topics: []string{name}, Transactional: true}, e.topic(1)}
}

// own joins, and accepts the partition.
func (s *staging) own(b brokers.Broker) (brokers.Stager, brokers.Subscription) {
	s.Helper()
	sub := s.subscribeAs(b, s.cfg)
	return s.stager(s.accept(sub)), sub
}

func (s *staging) stager(p brokers.Partition) brokers.Stager {
	s.Helper()
	stager, ok := p.(brokers.Stager)
	if !ok {
		s.Fatalf("partition %d of a Transactional subscription is a %T, which is no Stager", p.ID(), p)
	}
	return stager
}

// stage stages the output of a message, numbered as it is.
func (s *staging) stage(p brokers.Stager, of *brokers.Message) {
	s.Helper()
	s.ok(p.Stage(of.Offset, numbered(s.out, 0, "k", number(of), number(of)+1)...), "Stage")
}

// outputs reads n outputs, by another group, and sees that there are no more.
func (s *staging) outputs(n int) []brokers.Message {
	s.Helper()
	sub := s.subscribe(s.open(), s.group(), s.out)
	p := s.accept(sub)
	got := s.fetch(p, n)
	s.fetchNothing(p)
	s.close(p)
	s.leave(sub)
	return got
}

func stageUnsupported(e *env) {
	e.needs(!e.features.Transactions, "Features.Transactions is true")
	_, err := e.broker.Subscribe(e.within(), brokers.SubscriptionConfig{Group: e.group(), Topics: []string{"t"}, Transactional: true})
	e.is(err, brokers.ErrUnsupported, "Subscribe with Transactional")
}

// Outputs lie in the order of the messages that led to them, whichever was staged
// first; of one message in the order of its calls.
func stageInOrder(e *env) {
	s := e.staging(4)
	p, _ := s.own(e.broker)
	got := s.fetch(p, 4)
	for _, i := range []int{2, 0, 3} {
		s.stage(p, &got[i])
	}
	s.ok(p.Stage(got[1].Offset, numbered(s.out, 0, "one", 1, 3)...), "Stage")
	s.ok(p.Stage(got[1].Offset, numbered(s.out, 0, "one", 3, 4)...), "Stage")
	s.ack(p, got[3].Offset)
	out := s.outputs(6)
	var texts []string
	for i := range out {
		texts = append(texts, string(out[i].Payload))
	}
	if want := []string{"k/0", "one/1", "one/2", "one/3", "k/2", "k/3"}; !slices.Equal(texts, want) {
		s.Errorf("the outputs are %q; want %q", texts, want)
	}
}

// What was staged and not acknowledged, by UpTo, is discarded with its epoch, and
// so is that it was acknowledged Above.
func stageDiscarded(e *env) {
	s := e.staging(5)
	p, sub := s.own(e.broker)
	got := s.fetch(p, 5)
	for _, i := range []int{0, 1, 3, 4} {
		s.stage(p, &got[i])
	}
	s.ack(p, got[1].Offset, got[3].Offset)
	p = s.stager(s.again(p, sub))
	s.wantNumbers(s.fetch(p, 3), 2, 5)
	s.wantNumbers(s.outputs(2), 0, 2)
}

// What was staged counts once its message does, in whichever epoch.
func stageOverEpochs(e *env) {
	s := e.staging(6)
	for from := 0; from < 6; from += 2 {
		p, sub := s.own(e.broker)
		got := s.fetch(p, 6-from)
		s.wantNumbers(got, from, 6)
		for i := range got {
			s.stage(p, &got[i])
		}
		s.ack(p, got[1].Offset)
		s.close(p)
		s.leave(sub)
	}
	s.wantNumbers(s.outputs(6), 0, 6)
}

// Without a Close, the driver commits within AckInterval, also what led to nothing.
func stageCommits(e *env) {
	s := e.staging(3)
	s.cfg.AckInterval = e.h.Quiet / 4
	p, sub := s.own(e.broker)
	got := s.fetch(p, 3)
	s.stage(p, &got[0])
	s.ack(p, got[1].Offset)
	s.wantNumbers(s.outputs(1), 0, 1)
	s.wantNumbers(s.fetch(s.again(p, sub), 1), 2, 3)
}

func stageAfterEnd(e *env) {
	s := e.staging(2)
	p, _ := s.own(e.broker)
	got := s.fetch(p, 2)
	s.ack(p, got[0].Offset)
	s.close(p)
	s.is(p.Stage(got[1].Offset, numbered(s.out, 0, "late", 0, 1)...), brokers.ErrRevoked, "Stage of an ended epoch")
}

func stageAcknowledged(e *env) {
	s := e.staging(3)
	p, _ := s.own(e.broker)
	got := s.fetch(p, 3)
	s.stage(p, &got[0])
	s.ack(p, got[0].Offset)
	s.wantNumbers(s.outputs(1), 0, 1)
	s.is(p.Stage(got[0].Offset, numbered(s.out, 0, "late", 0, 1)...), brokers.ErrInvalid, "Stage of what was acknowledged")
}

// When as much is staged as may be, Fetch waits until some of it is committed.
func stageFull(e *env) {
	for name, change := range map[string]func(*brokers.SubscriptionConfig){
		"MaxStaged":      func(c *brokers.SubscriptionConfig) { c.MaxStaged = 2 },
		"MaxStagedBytes": func(c *brokers.SubscriptionConfig) { c.MaxStagedBytes = 8 }, // "k/1" and the key, twice
	} {
		s := e.staging(4)
		change(&s.cfg)
		p, _ := s.own(e.broker)
		got := s.fetch(p, 3)
		s.stage(p, &got[1])
		if p.Full() {
			s.Errorf("%s: full with half of it", name)
		}
		s.stage(p, &got[2])
		if !p.Full() {
			s.Errorf("%s: not full", name)
		}
		s.fetchNothing(p)
		s.ack(p, got[2].Offset)
		s.wantNumbers(s.fetch(p, 1), 3, 4)
		if p.Full() {
			s.Errorf("%s: full after all was committed", name)
		}
		s.wantNumbers(s.outputs(2), 1, 3)
	}
}

// Owners are killed amid their work, and others take over: each message's output is
// there once, in order.
func stageKilled(e *env) {
	e.needs(e.h.Kill != nil, "the harness cannot kill")
	const n = 200
	s := e.staging(n)
	s.cfg.AckInterval = 5 * time.Millisecond
	for range 3 {
		doomed := e.open()
		p, _ := s.own(doomed)
		s.work(p, n/4)
		s.ok(e.h.Kill(doomed), "Harness.Kill")
	}
	e.publish(numbered(s.cfg.Topics[0], 0, "k", n, n+1)...) // which tells the last owner that there is no more
	p, sub := s.own(e.broker)
	for s.work(p, 20) != n {
	}
	s.close(p)
	s.leave(sub)
	s.wantNumbers(s.outputs(n+1), 0, n+1)
}

// work handles so many messages, or one that has the number 200 or more before; it
// returns the last one's number.
func (s *staging) work(p brokers.Stager, most int) (last int) {
	s.Helper()
	for done := 0; done < most; {
		got, err := s.tryFetch(s.within(), p, brokers.FetchLimit{Messages: min(most-done, 20)})
		s.ok(err, "Fetch")
		for i := range got {
			s.stage(p, &got[i])
		}
		done += len(got)
		s.ack(p, got[len(got)-1].Offset)
		if last = number(&got[len(got)-1]); last >= 200 {
			return last
		}
	}
	return last
}

// Members of a group come while others are at work, and all go in the end: each
// message's output is there once, in the order of its key.
func stageShared(e *env) {
	e.needs(e.features.Transactions, "Features.Transactions is false")
	const partitions, n = 3, 100
	group := e.group()
	name := e.topic(partitions, group)
	for id := range int32(partitions) {
		e.publish(numbered(name, id, fmt.Sprint("k", id), 0, n)...)
	}
	s := staging{e, brokers.SubscriptionConfig{
		Group: group, Topics: []string{name}, Transactional: true, AckInterval: 5 * time.Millisecond,
	}, e.topic(1)}
	all := newTally(partitions * n)
	var members sync.WaitGroup
	defer members.Wait()
	defer all.finish()
	for i := range 3 {
		e.eventually("progress", func() bool { return all.count() >= i*partitions*n/5 })
		sub := e.subscribeAs(e.open(), s.cfg)
		members.Go(func() { s.serve(sub, all) })
	}
	e.happens(all.ctx.Done(), "all messages handled")
	members.Wait()
	next := map[string]int{}
	out := s.outputs(partitions * n)
	for i := range out {
		key := string(out[i].Key)
		if number(&out[i]) != next[key] {
			e.Fatalf("output %s came when number %d of the key was due", out[i].Payload, next[key])
		}
		next[key]++
	}
}

// serve serves the partitions that a membership is given, until all is handled.
func (s *staging) serve(sub brokers.Subscription, all *tally) {
	var owners sync.WaitGroup
	for {
		p, err := sub.Accept(all.ctx)
		if err != nil {
			break
		}
		stager, ok := p.(brokers.Stager)
		if !ok {
			s.Errorf("partition %d is a %T, which is no Stager", p.ID(), p)
			break
		}
		owners.Go(func() {
			s.serveOne(stager, all)
			s.noErr(p.Close(s.within()), "Partition.Close")
		})
	}
	s.noErr(sub.Close(s.within()), "Subscription.Close")
	owners.Wait()
}

func (s *staging) serveOne(p brokers.Stager, all *tally) {
	for {
		got, err := p.Fetch(all.ctx, brokers.FetchLimit{Messages: 2})
		if err != nil {
			return
		}
		for i := range got {
			m := &got[i]
			s.noErr(p.Stage(m.Offset, numbered(s.out, 0, string(m.Key), number(m), number(m)+1)...), "Stage")
			all.add(string(m.Payload))
		}
		s.noErr(p.Ack(brokers.Ack{UpTo: got[len(got)-1].Offset}), "Ack")
	}
}

// tally counts what was handled, each message once.
type tally struct {
	ctx    context.Context // ends when that is all
	finish context.CancelFunc

	mu   sync.Mutex
	seen map[string]bool
	all  int
}

func newTally(all int) *tally {
	t := &tally{seen: map[string]bool{}, all: all}
	t.ctx, t.finish = context.WithCancel(context.Background())
	return t
}

func (t *tally) add(payload string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[payload] = true; len(t.seen) == t.all {
		t.finish()
	}
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.seen)
}
