package nats_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/nats"
)

// A message whose time is over comes to nobody who had not had it: not to a group
// that comes later, nor to the next owner of what the last one had in its hands.
// What lives on does, in order.
func TestExpiry(t *testing.T) {
	t.Parallel()
	onServers(t, func(t *testing.T, ls *lines) {
		expiry(t, ls)
	})
}

// Where prefixes are acknowledged the server would take what is older than an
// expired message for acknowledged. So there is no time to live, or no reading.
func TestExpiryAndPrefixes(t *testing.T) {
	t.Parallel()
	ls := embeddedLines(startEmbedded(t))
	mortal := makeTopic(t, open(t, ls), 1)
	ls.change = modes["Prefix"]
	b := open(t, ls)
	_, err := subscribe(t, b, "group", mortal).Accept(within(t))
	if !errors.Is(err, nats.ErrPrefixUnsafe) {
		t.Errorf("Accept of a topic with times to live: %v; want ErrPrefixUnsafe", err)
	}
	p, err := b.Publisher(brokers.PublisherConfig{})
	if err != nil {
		t.Fatal(err)
	}
	m := numbered(makeTopic(t, b, 1), 0, "k", 0, 1)[0]
	m.TTL = time.Second
	if _, err := p.Publish(within(t), m); !errors.Is(err, brokers.ErrInvalid) {
		t.Errorf("a message with a time to live: %v; want ErrInvalid", err)
	}
	a := makeAlien(t, ls)
	a.create()
	cfg := jetstream.StreamConfig{Name: a.name, Subjects: []string{a.name + ".>"}, MaxMsgsPerSubject: 2}
	if _, err := a.js.UpdateStream(within(t), cfg); err != nil {
		t.Fatal(err)
	}
	alien := subscribeAlien(t, ls, nats.StreamTopic{Topic: "topic", Stream: a.name}, brokers.SubscriptionConfig{Group: "group"})
	if _, err := alien.Accept(within(t)); !errors.Is(err, nats.ErrPrefixUnsafe) {
		t.Errorf("Accept of a stream that drops in the midst: %v; want ErrPrefixUnsafe", err)
	}
}

func expiry(t *testing.T, ls *lines) {
	first, second := open(t, ls), open(t, ls)
	topic, group := makeTopic(t, first, 1), name("group")
	msgs := numbered(topic, 0, "k", 0, 6)
	for _, mortal := range []int{0, 2, 3, 5} {
		msgs[mortal].TTL = 900 * time.Millisecond // the server's are whole seconds
	}
	sub := subscribe(t, first, group, topic)
	p := accept(t, sub)
	publish(t, first, msgs...)
	got := fetch(t, p, 6)
	wantNumbers(t, got, 0, 6)
	if got[0].TTL != time.Second || got[1].TTL != 0 {
		t.Errorf("TTL %v and %v came; want 1s and none", got[0].TTL, got[1].TTL)
	}
	eventually(t, "the server has dropped what is over", func() bool { return ls.stored(t, topic) == 2 })
	ls.line(first).cut() // with all unacknowledged
	for _, heir := range []string{group, name("group")} {
		got := fetch(t, accept(t, subscribe(t, second, heir, topic)), 2)
		if numbers := []int{number(&got[0]), number(&got[1])}; !slices.Equal(numbers, []int{1, 4}) {
			t.Errorf("group %q was given %v; want 1 and 4", heir, numbers)
		}
	}
	if err := p.Ack(brokers.Ack{UpTo: got[5].Offset}); err == nil {
		t.Error("an owner that was cut off for so long acknowledged")
	}
}
