package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/internal/line"
	"github.com/troupe-go/troupe/brokers/kafka"
)

// copier is a member of a group that stages a copy of each message, in the topic
// to.
type copier struct {
	sub    brokers.Subscription
	to     string
	copied atomic.Int64
	lost   atomic.Int64 // epochs that ended without warning
	cancel context.CancelFunc
	owning sync.WaitGroup
	failed atomic.Pointer[error]
}

func newCopier(ctx context.Context, b *kafka.Broker, group, from, to string) (*copier, error) {
	sub, err := b.Subscribe(ctx, brokers.SubscriptionConfig{
		Group: group, Topics: []string{from}, Transactional: true, AckInterval: 20 * time.Millisecond,
	})
	if err != nil {
		return nil, err
	}
	c := &copier{sub: sub, to: to}
	ctx, c.cancel = context.WithCancel(ctx)
	c.owning.Go(func() {
		for {
			p, err := sub.Accept(ctx)
			if err != nil {
				return
			}
			c.owning.Go(func() { c.own(ctx, p.(brokers.Stager)) })
		}
	})
	return c, nil
}

// own copies until the partition is wanted back or lost.
func (c *copier) own(ctx context.Context, p brokers.Stager) {
	for {
		got, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 7})
		if err != nil {
			break
		}
		for i := range got {
			m := brokers.Message{Topic: c.to, Key: got[i].Key, Payload: got[i].Payload}
			if err = errors.Join(err, p.Stage(got[i].Offset, m)); err == nil {
				c.copied.Add(1)
			}
		}
		if err = errors.Join(err, p.Ack(brokers.Ack{UpTo: got[len(got)-1].Offset})); err != nil && !errors.Is(err, brokers.ErrRevoked) {
			c.failed.Store(&err)
		}
	}
	if p.Context().Err() != nil {
		c.lost.Add(1)
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = p.Close(closing) // what was not committed is copied again
}

// stop leaves the group.
func (c *copier) stop(t *testing.T) {
	t.Helper()
	c.cancel()
	ok(t, c.sub.Close(within(t)))
	c.owning.Wait()
	if err := c.failed.Load(); err != nil {
		t.Error(*err)
	}
}

// feed publishes numbered messages of many keys, until stop, which returns how many
// they were.
func feed(t *testing.T, b *kafka.Broker, topic string) (stop func() int) {
	t.Helper()
	p := publisher(t, b, brokers.PublisherConfig{DeliveryTimeout: -1})
	ctx, cancel := context.WithCancel(t.Context())
	sent, done := 0, make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			m := brokers.Message{Topic: topic, Key: strconv.AppendInt(nil, int64(sent%stageKeys), 10), Payload: strconv.AppendInt(nil, int64(sent), 10)}
			if err := p.PublishAsync(context.Background(), m, func(brokers.Receipt, error) {}); err != nil {
				done <- err
				return
			}
			sent++
		}
		done <- nil
	}()
	return func() int {
		t.Helper()
		cancel()
		ok(t, <-done)
		ok(t, p.Flush(within(t)))
		return sent
	}
}

const stageKeys = 20

// onceInOrder reads a topic as franz-go reads what is committed: it has each of n
// numbers once, and those of a key in order.
func onceInOrder(t *testing.T, topic string, n int) {
	t.Helper()
	next := map[string]int{}
	for _, r := range readAll(t, topic, n, kgo.FetchIsolationLevel(kgo.ReadCommitted())) {
		number, err := strconv.Atoi(string(r.Value))
		ok(t, err)
		if want := next[string(r.Key)]; number/stageKeys != want {
			t.Fatalf("key %s: copy of number %d of the key; want number %d", r.Key, number/stageKeys, want)
		}
		next[string(r.Key)]++
	}
}

// Members copy a topic in transactions while something happens to them: each
// message's copy is there once, in the order of its key, for a consumer that reads
// what is committed.
func TestStagedOnce(t *testing.T) {
	t.Parallel()
	for name, blow := range map[string]func(t *testing.T, join func() (*copier, *line.Line), goOn func(int64)){
		"Rebalances": func(t *testing.T, join func() (*copier, *line.Line), goOn func(int64)) {
			members := []*copier{}
			for range 10 {
				if n := len(members); n < 2 || n < 4 && rand.N(2) == 0 {
					c, _ := join()
					members = append(members, c)
				} else {
					i := rand.N(n)
					members[i].stop(t)
					members = slices.Delete(members, i, i+1)
				}
				goOn(100)
			}
			for _, c := range members {
				c.stop(t)
			}
		},
		"Cuts": func(t *testing.T, join func() (*copier, *line.Line), goOn func(int64)) {
			c, l := join()
			for range 10 {
				goOn(100)
				l.Cut()
				l.Mend()
			}
			c.stop(t)
		},
		"LostAnswers": func(t *testing.T, join func() (*copier, *line.Line), goOn func(int64)) {
			c, l := join()
			for range 5 {
				goOn(100)
				let := l.HoldAnswers()
				<-time.After(50 * time.Millisecond) // requests reach the cluster, answers do not come back
				l.Cut()
				let()
				l.Mend()
			}
			c.stop(t)
		},
		"LostLeases": func(t *testing.T, join func() (*copier, *line.Line), goOn func(int64)) {
			c, l := join()
			other, _ := join()
			for range 2 {
				goOn(100)
				l.Cut() // for longer than the session
				goOn(2000)
				<-time.After(3 * time.Second)
				goOn(300)
				l.Mend()
			}
			c.stop(t)
			other.stop(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copyThrough(t, 4, blow)
		})
	}
}

func copyThrough(t *testing.T, partitions int, blow func(t *testing.T, join func() (*copier, *line.Line), goOn func(int64))) {
	t.Helper()
	b := open(t, nil)
	from, to := newTopic(t, b, partitions), newTopic(t, b, partitions)
	stop := feed(t, b, from)
	var all []*copier
	join := func() (*copier, *line.Line) {
		l := &line.Line{}
		c, err := newCopier(t.Context(), openQuick(t, func(c *kafka.Config) { c.Dial = l.Dial }), from, from, to)
		ok(t, err)
		all = append(all, c)
		return c, l
	}
	copied := func() (n int64) {
		for _, c := range all {
			n += c.copied.Load()
		}
		return n
	}
	blow(t, join, func(n int64) {
		t.Helper()
		poll := time.NewTicker(5 * time.Millisecond)
		defer poll.Stop()
		until := copied() + n
		for ctx := within(t); copied() < until; {
			select {
			case <-poll.C:
			case <-ctx.Done():
				t.Fatalf("%d messages copied; want %d", copied(), until)
			}
		}
	})
	n := stop()
	last, _ := join()
	awaitPositions(t, from, partitions, n)
	last.stop(t)
	onceInOrder(t, to, n)
	t.Logf("%d messages, copied %d times", n, copied())
}

// awaitPositions waits until a group, of the name of its topic, has all n messages
// behind it.
func awaitPositions(t *testing.T, topic string, partitions, n int) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for ctx := within(t); ; {
		sum := int64(0)
		for id := range partitions {
			sum += max(positionIn(t, topic, topic, int32(id)), 0)
		}
		if sum == int64(n) {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			t.Fatalf("the group has %d of %d messages behind it", sum, n)
		}
	}
}

// A process is killed between TxnOffsetCommit and EndTxn, or when EndTxn is on its
// way, and another takes its place at once, as the same static member: each copy is
// there once.
func TestStagedKilledBeforeEndTxn(t *testing.T) {
	t.Parallel()
	b := open(t, nil)
	for _, sent := range []bool{false, true} {
		t.Run(fmt.Sprintf("Sent=%v", sent), func(t *testing.T) {
			t.Parallel()
			const n = 200
			from, to := newTopic(t, b, 1), newTopic(t, b, 1)
			var msgs []brokers.Message
			for i := range n {
				msgs = append(msgs, brokers.Message{Topic: from, Key: strconv.AppendInt(nil, int64(i%stageKeys), 10), Payload: strconv.AppendInt(nil, int64(i), 10)})
			}
			_, err := publisher(t, b, brokers.PublisherConfig{}).Publish(within(t), msgs...)
			ok(t, err)
			child := stageChild{Seeds: seeds(serverURL(t, "TEST_KAFKA_URL")), From: from, To: to, Last: strconv.Itoa(n - 1), KillAt: 2, Sent: sent}
			killed := 0
			for ; ; killed++ {
				if killed == 4 {
					child.KillAt = 0 // the last one finishes
				}
				if !child.run(t) {
					break
				}
			}
			if killed != 4 {
				t.Errorf("%d processes were killed; want 4", killed)
			}
			onceInOrder(t, to, n)
		})
	}
}

// stageChild is a process that copies the partition of a topic, and is killed at an
// EndTxn. See TestMain.
type stageChild struct {
	Seeds    []string
	From, To string
	Last     string // the payload of the last message
	KillAt   int    // the number of the EndTxn; 0 is never
	Sent     bool   // it is written before
}

const stageChildEnv = "KAFKA_STAGE_CHILD"

// run runs the process, and says whether it was killed.
func (s stageChild) run(t *testing.T) (killed bool) {
	t.Helper()
	text, err := json.Marshal(s)
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), stageChildEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("the process does not end: %s", out)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == -1 {
		return true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return false
}

// beStageChild is the process.
func beStageChild(text string) {
	var s stageChild
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := json.Unmarshal([]byte(text), &s)
	if err == nil {
		err = s.work(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the process is over
	}
}

// work is what the process does.
func (s stageChild) work(ctx context.Context) error {
	trap := &endTxnTrap{at: s.KillAt, sent: s.Sent, ended: make(chan struct{}, 1)}
	b, err := kafka.Open(ctx, quick(kafka.Config{Seeds: s.Seeds, InstanceID: "one", Dial: trap.dial}))
	if err != nil {
		return err
	}
	sub, err := b.Subscribe(ctx, brokers.SubscriptionConfig{
		Group: s.From, Topics: []string{s.From}, Transactional: true, AckInterval: time.Millisecond,
	})
	if err != nil {
		return err
	}
	p, err := sub.Accept(ctx)
	if err != nil {
		return err
	}
	for last := ""; last != s.Last; {
		got, err := p.Fetch(ctx, brokers.FetchLimit{Messages: 5})
		if err != nil {
			return err
		}
		m := got[len(got)-1]
		for i := range got {
			copied := brokers.Message{Topic: s.To, Key: got[i].Key, Payload: got[i].Payload}
			if err := p.(brokers.Stager).Stage(got[i].Offset, copied); err != nil {
				return err
			}
		}
		if err := p.Ack(brokers.Ack{UpTo: m.Offset}); err != nil {
			return err
		}
		last = string(m.Payload)
		select { // each has a transaction of its own
		case <-trap.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return errors.Join(p.Close(ctx), sub.Close(ctx), b.Close())
}

// endTxnTrap kills its process at a request to end a transaction.
type endTxnTrap struct {
	at   int
	sent bool
	seen atomic.Int64

	ended chan struct{} // of one: a transaction is about to end
}

func (e *endTxnTrap) dial(ctx context.Context, network, address string) (net.Conn, error) {
	nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return trapped{nc, e}, err
}

type trapped struct {
	net.Conn

	trap *endTxnTrap
}

func (c trapped) Write(b []byte) (int, error) {
	if !isRequest(b, endTxn) {
		return c.Conn.Write(b)
	}
	if c.trap.seen.Add(1) != int64(c.trap.at) {
		select {
		case c.trap.ended <- struct{}{}:
		default:
		}
		return c.Conn.Write(b)
	}
	if c.trap.sent {
		if _, err := c.Conn.Write(b); err != nil {
			return 0, err
		}
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {} // it is dead
}
