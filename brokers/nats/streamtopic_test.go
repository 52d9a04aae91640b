package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// onServers runs f on an embedded server, and on a real one if there is one.
func onServers(t *testing.T, f func(t *testing.T, ls *lines)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		f(t, embeddedLines(startEmbedded(t)))
	})
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		f(t, serverLines(strings.TrimPrefix(serverURL(t), "nats://")))
	})
}

// alien is a stream that another program made and publishes to.
type alien struct {
	tb   testing.TB
	name string
	js   jetstream.JetStream
}

func makeAlien(tb testing.TB, ls *lines) *alien {
	tb.Helper()
	nc, err := client.Connect("", ls.options(&line{dial: ls.dial})...)
	if err != nil {
		tb.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	a := &alien{tb: tb, name: name("alien"), js: js}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := js.DeleteStream(ctx, a.name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			tb.Error(err)
		}
		nc.Close()
	})
	return a
}

func (a *alien) create() {
	a.tb.Helper()
	cfg := jetstream.StreamConfig{Name: a.name, Subjects: []string{a.name + ".>"}}
	if _, err := a.js.CreateStream(within(a.tb), cfg); err != nil {
		a.tb.Fatal(err)
	}
}

// publish stores messages whose payloads are their subjects, but for the name, and
// their numbers.
func (a *alien) publish(from int, subjects ...string) {
	a.tb.Helper()
	for i, s := range subjects {
		if _, err := a.js.Publish(within(a.tb), a.name+"."+s, fmt.Appendf(nil, "%s/%d", s, from+i)); err != nil {
			a.tb.Fatal(err)
		}
	}
}

// alienTopic maps a stream on a connection of its own.
func alienTopic(tb testing.TB, ls *lines, cfg nats.StreamTopic) (*nats.Broker, error) {
	tb.Helper()
	b := open(tb, ls).(*nats.Broker)
	return b, b.MapStream(cfg)
}

func subscribeAlien(tb testing.TB, ls *lines, cfg nats.StreamTopic, sub brokers.SubscriptionConfig) brokers.Subscription {
	tb.Helper()
	b, err := alienTopic(tb, ls, cfg)
	if err != nil {
		tb.Fatal(err)
	}
	sub.Topics = []string{cfg.Topic}
	return subscribeAs(tb, b, sub)
}

// Streams of others are read from where it is said, as far as filters match, and
// a group goes on where it was.
func TestStreamTopic(t *testing.T) {
	t.Parallel()
	onServers(t, streamTopic)
}

func streamTopic(t *testing.T, ls *lines) {
	a := makeAlien(t, ls)
	a.create()
	a.publish(0, "ann.paid", "bob.paid", "ann.left")
	<-time.After(2 * time.Millisecond) // the server's clock is finer than that
	middle := time.Now()
	<-time.After(2 * time.Millisecond)
	a.publish(3, "bob.paid.twice", "cleo.paid")
	for kind, c := range map[string]struct {
		filters  []string
		sequence uint64
		sub      brokers.SubscriptionConfig
		want     string
	}{
		"All":       {want: "ann.paid/0 bob.paid/1 ann.left/2 bob.paid.twice/3 cleo.paid/4 new.paid/5 new.left/6"},
		"One":       {filters: []string{"ann.*"}, want: "ann.paid/0 ann.left/2"},
		"Wildcards": {filters: []string{"bob.>", "*.left"}, want: "bob.paid/1 ann.left/2 bob.paid.twice/3 new.left/6"},
		"Sequence":  {sequence: 3, want: "ann.left/2 bob.paid.twice/3 cleo.paid/4 new.paid/5 new.left/6"},
		"SequenceAndFilters": {
			filters: []string{"*.paid", "bob.>"}, sequence: 2, want: "bob.paid/1 bob.paid.twice/3 cleo.paid/4 new.paid/5",
		},
		"Time": {
			sub: brokers.SubscriptionConfig{Start: brokers.StartAtTime, StartTime: middle}, want: "bob.paid.twice/3 cleo.paid/4 new.paid/5 new.left/6",
		},
		"New": {sub: brokers.SubscriptionConfig{Start: brokers.StartLatest}, want: "new.paid/5 new.left/6"},
	} {
		cfg := nats.StreamTopic{Topic: "topic", Stream: a.name, Sequence: c.sequence}
		for _, f := range c.filters {
			cfg.Filters = append(cfg.Filters, a.name+"."+f)
		}
		c.sub.Group = kind
		sub := subscribeAlien(t, ls, cfg, c.sub)
		if c.sub.Start == brokers.StartLatest {
			eventually(t, "the group has its position", func() bool { return sub.Partitions("topic") == 1 })
		}
		defer func() { // once the last ones are published
			want := strings.Fields(c.want)
			p := accept(t, sub)
			got := fetch(t, p, len(want))
			if texts(got) != c.want {
				t.Errorf("%s: got %s; want %s", kind, texts(got), c.want)
			}
			for i := range got {
				m := &got[i]
				subject, _, _ := strings.Cut(string(m.Payload), "/")
				if m.RoutingKey != a.name+"."+subject || m.Topic != "topic" || m.Partition != 0 || m.ID != fmt.Sprintf("%s/%d", a.name, number(m)+1) {
					t.Errorf("%s: %+v of subject %s", kind, m, subject)
				}
			}
			goesOn(t, ls, cfg, sub, p, c.sub, got)
		}()
	}
	a.publish(5, "new.paid", "new.left")
}

// goesOn has another member read what the first one did not settle.
func goesOn(t *testing.T, ls *lines, cfg nats.StreamTopic, sub brokers.Subscription, p brokers.Partition, as brokers.SubscriptionConfig, got []brokers.Message) {
	t.Helper()
	if err := errors.Join(p.Ack(brokers.Ack{UpTo: got[0].Offset}), p.Close(within(t)), sub.Close(within(t))); err != nil {
		t.Error(err)
	}
	next := accept(t, subscribeAlien(t, ls, cfg, as))
	if rest := fetch(t, next, len(got)-1); texts(rest) != texts(got[1:]) {
		t.Errorf("group %s went on with %s; want %s", as.Group, texts(rest), texts(got[1:]))
	}
}

// One member owns the stream, and when it crashes another goes on in order.
func TestStreamTopicOwnerCrashes(t *testing.T) {
	t.Parallel()
	for mode, change := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ls := embeddedLines(startEmbedded(t))
			ls.change = change
			a := makeAlien(t, ls)
			a.create()
			a.publish(0, strings.Fields(strings.Repeat("k ", 20))...)
			cfg := nats.StreamTopic{Topic: "topic", Stream: a.name, Filters: []string{a.name + ".k", a.name + ".other.*"}, Sequence: 6}
			first, err := alienTopic(t, ls, cfg)
			if err != nil {
				t.Fatal(err)
			}
			p := accept(t, subscribe(t, first, "group", "topic"))
			got := fetch(t, p, 10)
			wantNumbers(t, got, 5, 15)
			heir := subscribeAlien(t, ls, cfg, brokers.SubscriptionConfig{Group: "group"})
			if err := p.Ack(brokers.Ack{UpTo: got[3].Offset}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the acknowledgement is with the server", func() bool { return a.acknowledged() == got[3].Offset })
			ls.line(first).cut()
			wantNumbers(t, fetch(t, accept(t, heir), 11), 9, 20)
		})
	}
}

// acknowledged is the position of the stream's only consumer.
func (a *alien) acknowledged() int64 {
	a.tb.Helper()
	stream, err := a.js.Stream(within(a.tb), a.name)
	if err != nil {
		a.tb.Fatal(err)
	}
	for info := range stream.ListConsumers(within(a.tb)).Info() {
		return int64(info.AckFloor.Stream)
	}
	return 0
}

func TestStreamTopicIsWaitedFor(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	a := makeAlien(t, ls)
	b, err := alienTopic(t, ls, nats.StreamTopic{Topic: "topic", Stream: a.name})
	if err != nil {
		t.Fatal(err)
	}
	sub := subscribe(t, b, "group", "topic")
	eventually(t, "Health knows that there is no topic", func() bool {
		return b.Health(t.Context()).Subscriptions[0].State == brokers.StateNoPartitions
	})
	a.create()
	a.publish(0, "k")
	wantNumbers(t, fetch(t, accept(t, sub), 1), 0, 1)
}

func TestStreamTopicErrors(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	a := makeAlien(t, ls)
	a.create()
	for field, cfg := range map[string]nats.StreamTopic{
		"StreamTopic.Topic":   {Stream: "s"},
		"StreamTopic.Stream":  {Topic: "t"},
		"StreamTopic.Filters": {Topic: "t", Stream: "s", Filters: []string{"a.>.b"}},
	} {
		if _, err := alienTopic(t, ls, cfg); !errors.Is(err, brokers.ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v; want ErrInvalid that names it", field, err)
		}
	}
	cfg := nats.StreamTopic{Topic: "topic", Stream: a.name, Filters: []string{a.name + ".a"}}
	b, err := alienTopic(t, ls, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureTopic(within(t), brokers.TopicConfig{Name: "topic", Partitions: 1}); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("EnsureTopic: %v; want ErrInvalid", err)
	}
	p, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(within(t), brokers.Message{Topic: "topic", Payload: []byte("x")}); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("Publish: %v; want ErrInvalid", err)
	}
	// A group keeps its filters.
	a.publish(0, "a")
	sub := subscribe(t, b, "group", "topic")
	if err := errors.Join(accept(t, sub).Close(within(t)), sub.Close(within(t))); err != nil {
		t.Error(err)
	}
	cfg.Filters = []string{a.name + ".b"}
	_, err = subscribeAlien(t, ls, cfg, brokers.SubscriptionConfig{Group: "group"}).Accept(within(t))
	if err == nil || !strings.Contains(err.Error(), a.name+".a") || !strings.Contains(err.Error(), a.name+".b") {
		t.Errorf("Accept with other filters: %v; want an error that names both", err)
	}
}

func TestSubjectToken(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		subject string
		n       int
		want    string
		ok      bool
	}{
		{"bank.ann.paid", 1, "ann", true},
		{"bank.ann.paid", 2, "paid", true},
		{"bank", 0, "bank", true},
		{"bank.ann", 2, "", false},
		{"", 0, "", false},
	} {
		if got, ok := nats.SubjectToken(c.n)(&brokers.Message{RoutingKey: c.subject}); string(got) != c.want || ok != c.ok {
			t.Errorf("token %d of %q: %q, %v; want %q, %v", c.n, c.subject, got, ok, c.want, c.ok)
		}
	}
}
