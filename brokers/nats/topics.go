package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// Metadata of the streams that are topics.
const (
	topicKey      = "troupe.topic"
	partitionsKey = "troupe.partitions"
)

const (
	defaultPartitions = 12
	maxPartitions     = 10_000

	// createTimeout is long, as a busy server has files to make.
	createTimeout = 30 * time.Second
)

// topic is what a stream says of itself.
type topic struct {
	name       string
	stream     string
	partitions int
	created    time.Time    // tells a stream from one of the same name before it
	mapped     *StreamTopic // of a stream that others made
	leaky      string       // how messages go before their turn; empty if they do not
}

// ErrPrefixUnsafe says that a group with AcksPrefix would lose messages of a
// stream: where one may be dropped before others that are older, the server takes
// all of those for acknowledged. Use AcksEach, or make the topic with AcksPrefix.
var ErrPrefixUnsafe = errors.New("nats: AcksPrefix would lose messages")

// leaks says how messages of a stream go before older ones.
func leaks(cfg *jetstream.StreamConfig) string {
	switch {
	case cfg.AllowMsgTTL:
		return "messages have times to live of their own"
	case cfg.MaxMsgsPerSubject > 0:
		return "the messages of a subject are limited"
	}
	return ""
}

// allows says whether groups can read a topic.
func (c Config) allows(t topic) error {
	if c.Acks == AcksPrefix && t.leaky != "" {
		return fmt.Errorf("%w: in stream %q %s", ErrPrefixUnsafe, t.stream, t.leaky)
	}
	return nil
}

// filters are the subjects of a partition; none means all of the stream.
func (t topic) filters(partition int32) []string {
	if t.mapped != nil {
		return t.mapped.Filters
	}
	return []string{partitionSubject(t.name, partition)}
}

// consumer is the name of a group's consumer for a partition.
func (t topic) consumer(group string, partition int32) string {
	if t.mapped != nil {
		return streamConsumer(group, t.name)
	}
	return partitionConsumer(group, partition)
}

// topics knows the topics that were asked for. The partition count of a stream
// never changes, so what is known stays until the stream is found missing.
type topics struct {
	b     *Broker
	mu    sync.Mutex
	known map[string]topic
	// streams are what MapStream was told, by topic.
	streams map[string]*StreamTopic
}

func newTopics(b *Broker) *topics {
	return &topics{b: b, known: map[string]topic{}, streams: map[string]*StreamTopic{}}
}

func (t *topics) mapStream(cfg StreamTopic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams[cfg.Topic] = &cfg
	delete(t.known, cfg.Topic)
}

// mapped returns what MapStream was told of a topic; nil if nothing.
func (t *topics) mapped(name string) *StreamTopic {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.streams[name]
}

// cached returns a topic that was asked for before.
func (t *topics) cached(name string) (topic, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, ok := t.known[name]
	return found, ok
}

// forget has the server asked again.
func (t *topics) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.known, name)
}

func (t *topics) remember(found topic) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known[found.name] = found
}

// get returns a topic, from the server if need be. [brokers.ErrUnknownTopic]
// says that there is no such stream, or that it is not a topic.
func (t *topics) get(ctx context.Context, name string) (topic, error) {
	if found, ok := t.cached(name); ok {
		return found, nil
	}
	return t.fetch(ctx, name)
}

// fetch asks the server.
func (t *topics) fetch(ctx context.Context, name string) (topic, error) {
	if name == "" {
		return topic{}, fmt.Errorf("%w: topic without a name", brokers.ErrInvalid)
	}
	ctx, cancel := t.b.request(ctx)
	defer cancel()
	mapped, of := t.mapped(name), token(name)
	if mapped != nil {
		of = mapped.Stream
	}
	stream, err := t.b.js.Stream(ctx, of)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		t.forget(name)
		return topic{}, fmt.Errorf("%w: %q", brokers.ErrUnknownTopic, name)
	}
	if err != nil {
		return topic{}, t.failure(name, err)
	}
	if mapped != nil {
		info := stream.CachedInfo()
		found := topic{name: name, stream: of, partitions: 1, created: info.Created, mapped: mapped, leaky: leaks(&info.Config)}
		t.remember(found)
		return found, nil
	}
	found, err := topicOf(name, stream.CachedInfo())
	if err == nil {
		t.remember(found)
	}
	return found, err
}

func (t *topics) failure(name string, err error) error {
	if errors.Is(err, nats.ErrConnectionClosed) {
		err = brokers.ErrClosed
	}
	return fmt.Errorf("nats: topic %q: %w", name, err)
}

// topicOf reads a stream's metadata.
func topicOf(name string, info *jetstream.StreamInfo) (topic, error) {
	n, err := strconv.Atoi(info.Config.Metadata[partitionsKey])
	if err != nil || n < 1 {
		return topic{}, fmt.Errorf("%w: stream %q was not made as a topic: it has no metadata %q",
			brokers.ErrUnknownTopic, info.Config.Name, partitionsKey)
	}
	return topic{name: name, stream: info.Config.Name, partitions: n, created: info.Created, leaky: leaks(&info.Config)}, nil
}

// ensure makes a topic or checks it.
func (t *topics) ensure(ctx context.Context, cfg brokers.TopicConfig) error {
	if cfg.Partitions == 0 {
		cfg.Partitions = defaultPartitions
	}
	switch {
	case cfg.Name == "":
		return fmt.Errorf("%w: TopicConfig.Name is empty", brokers.ErrInvalid)
	case t.mapped(cfg.Name) != nil:
		return fmt.Errorf("%w: TopicConfig.Name: %q is a stream that others made", brokers.ErrInvalid, cfg.Name)
	case cfg.Partitions < 1 || cfg.Partitions > maxPartitions:
		return fmt.Errorf("%w: TopicConfig.Partitions is %d; want 1 to %d", brokers.ErrInvalid, cfg.Partitions, maxPartitions)
	}
	found, err := t.fetch(ctx, cfg.Name)
	if errors.Is(err, brokers.ErrUnknownTopic) {
		found, err = t.create(ctx, cfg)
	}
	if err != nil {
		return err
	}
	if found.partitions != cfg.Partitions {
		return fmt.Errorf("%w: TopicConfig.Partitions is %d, and topic %q has %d", brokers.ErrInvalid, cfg.Partitions, cfg.Name, found.partitions)
	}
	return nil
}

// create makes the stream, unless somebody else has by now.
func (t *topics) create(ctx context.Context, cfg brokers.TopicConfig) (topic, error) {
	ctx, cancel := t.b.link.while(ctx, max(createTimeout, t.b.cfg.RequestTimeout))
	defer cancel()
	stream, err := t.b.js.CreateStream(ctx, t.b.cfg.stream(cfg))
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return t.fetch(ctx, cfg.Name)
	}
	if err != nil {
		return topic{}, t.failure(cfg.Name, err)
	}
	found, err := topicOf(cfg.Name, stream.CachedInfo())
	if err == nil {
		t.remember(found)
	}
	return found, err
}

// stream is the stream that a topic is made as.
func (c Config) stream(cfg brokers.TopicConfig) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        token(cfg.Name),
		Subjects:    []string{root(cfg.Name) + ".p.*"},
		Replicas:    c.Replicas,
		MaxAge:      c.MaxAge,
		MaxBytes:    maxBytes(c.MaxBytes),
		Duplicates:  c.DedupWindow,
		Storage:     jetstream.FileStorage,
		AllowMsgTTL: c.Acks == AcksEach,
		AllowDirect: true,
		Metadata:    map[string]string{topicKey: cfg.Name, partitionsKey: strconv.Itoa(cfg.Partitions)},
	}
}

// maxBytes is how the server wants "no bound".
func maxBytes(n int64) int64 {
	if n == 0 {
		return -1
	}
	return n
}
