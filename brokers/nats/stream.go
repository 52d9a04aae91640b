package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/troupe-go/troupe/brokers"
)

// StreamConfig is a JetStream stream as data, for streams that are not topics:
// those that other programs publish to or read.
type StreamConfig struct {
	// Name of the stream. Required.
	Name string
	// Subjects that it stores, with wildcards. Required.
	Subjects []string
	// Retention is when a message goes. Defaults to the limits alone.
	Retention jetstream.RetentionPolicy
	// Storage is files or memory. Defaults to files.
	Storage jetstream.StorageType
	// Discard is what gives way at a limit. Defaults to the oldest message.
	Discard jetstream.DiscardPolicy
	// MaxMessages, MaxBytes, MaxAge, MaxPerSubject and MaxMessageBytes are its
	// limits. Default to none.
	MaxMessages     int64
	MaxBytes        int64
	MaxAge          time.Duration
	MaxPerSubject   int64
	MaxMessageBytes int32
	// Replicas is how many servers keep it. Defaults to 1.
	Replicas int
	// DedupWindow is how long it remembers message ids. Defaults to 2 min, or
	// MaxAge if that is less.
	DedupWindow time.Duration
	// MessageTTL allows messages a time to live of their own.
	MessageTTL bool
	// Schedules allows messages to be delivered later: [Broker.PublishLater].
	Schedules bool
}

// StreamMode is what may be done about a stream.
type StreamMode uint8

const (
	// StreamCheck: nothing. It must be there, as described.
	StreamCheck StreamMode = iota
	// StreamCreate: it is made if it is missing, and checked if not.
	StreamCreate
	// StreamUpdate: it is made if it is missing, and changed if it differs.
	StreamUpdate
)

// StreamChange is what ApplyStream found, and did unless it was a dry run.
type StreamChange struct {
	// Missing: there was no such stream.
	Missing bool
	// Differences are those of a stream that was there, by field.
	Differences []StreamDifference
}

// None says that the stream was there as described.
func (c StreamChange) None() bool { return !c.Missing && len(c.Differences) == 0 }

// StreamDifference is a field that is not as described.
type StreamDifference struct {
	// Field of StreamConfig.
	Field string
	// Have is what the server has, Want what was described.
	Have, Want string
}

// StreamMismatchError says that a stream is missing or differs, and that the
// mode allows nothing to be done about it.
type StreamMismatchError struct {
	Stream string
	StreamChange
}

// Error names each field.
func (e *StreamMismatchError) Error() string {
	if e.Missing {
		return fmt.Sprintf("nats: stream %q is missing", e.Stream)
	}
	texts := make([]string, len(e.Differences))
	for i, d := range e.Differences {
		texts[i] = fmt.Sprintf("%s is %s, want %s", d.Field, d.Have, d.Want)
	}
	return fmt.Sprintf("nats: stream %q differs: %s", e.Stream, strings.Join(texts, "; "))
}

// PlanStream says what ApplyStream with StreamUpdate would do: a dry run.
func (b *Broker) PlanStream(ctx context.Context, cfg StreamConfig) (StreamChange, error) {
	change, _, err := b.compareStream(ctx, cfg)
	return change, err
}

// ApplyStream brings a stream to be as described, as far as mode allows; else the
// error is a [*StreamMismatchError]. What the description does not speak of (its
// metadata, sources, placement) stays. The server refuses some changes, of storage
// for one: that is its own error. Streams that are topics are EnsureTopic's.
func (b *Broker) ApplyStream(ctx context.Context, cfg StreamConfig, mode StreamMode) (StreamChange, error) {
	change, have, err := b.compareStream(ctx, cfg)
	if err != nil || change.None() {
		return change, err
	}
	if mode == StreamCheck || mode == StreamCreate && !change.Missing {
		return change, &StreamMismatchError{Stream: cfg.Name, StreamChange: change}
	}
	if have.Metadata[partitionsKey] != "" {
		return change, fmt.Errorf("%w: stream %q is a topic", brokers.ErrInvalid, cfg.Name)
	}
	ctx, cancel := b.link.while(ctx, max(createTimeout, b.cfg.RequestTimeout))
	defer cancel()
	want := cfg.over(have)
	if change.Missing {
		_, err = b.js.CreateStream(ctx, want)
	} else {
		_, err = b.js.UpdateStream(ctx, want)
	}
	if err != nil {
		return change, fmt.Errorf("nats: stream %q: %w", cfg.Name, err)
	}
	return change, nil
}

func (b *Broker) compareStream(ctx context.Context, cfg StreamConfig) (StreamChange, jetstream.StreamConfig, error) {
	var none jetstream.StreamConfig
	if err := cfg.validate(); err != nil {
		return StreamChange{}, none, err
	}
	ctx, cancel := b.request(ctx)
	defer cancel()
	stream, err := b.js.Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return StreamChange{Missing: true}, none, nil
	}
	if err != nil {
		return StreamChange{}, none, fmt.Errorf("nats: stream %q: %w", cfg.Name, err)
	}
	have := stream.CachedInfo().Config
	return StreamChange{Differences: differences(have, cfg.over(have))}, have, nil
}

func (c StreamConfig) validate() error {
	if c.Name == "" || strings.ContainsAny(c.Name, " \t\r\n.*>/\\") {
		return fmt.Errorf("%w: StreamConfig.Name is no name of a stream: %q", brokers.ErrInvalid, c.Name)
	}
	if len(c.Subjects) == 0 {
		return fmt.Errorf("%w: StreamConfig.Subjects is empty", brokers.ErrInvalid)
	}
	for _, s := range c.Subjects {
		if !validSubject(s, true) {
			return fmt.Errorf("%w: StreamConfig.Subjects: no subject: %q", brokers.ErrInvalid, s)
		}
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxMessages", c.MaxMessages},
		{"MaxBytes", c.MaxBytes},
		{"MaxAge", int64(c.MaxAge)},
		{"MaxPerSubject", c.MaxPerSubject},
		{"MaxMessageBytes", int64(c.MaxMessageBytes)},
		{"Replicas", int64(c.Replicas)},
		{"DedupWindow", int64(c.DedupWindow)},
	} {
		if f.value < 0 {
			return fmt.Errorf("%w: StreamConfig.%s is %d", brokers.ErrInvalid, f.name, f.value)
		}
	}
	return nil
}

// over is have with all that c describes, as the server writes it.
func (c StreamConfig) over(have jetstream.StreamConfig) jetstream.StreamConfig {
	have.Name, have.Subjects = c.Name, slices.Clone(c.Subjects)
	have.Retention, have.Storage, have.Discard = c.Retention, c.Storage, c.Discard
	have.MaxMsgs, have.MaxBytes = maxBytes(c.MaxMessages), maxBytes(c.MaxBytes)
	have.MaxMsgsPerSubject, have.MaxMsgSize = maxBytes(c.MaxPerSubject), cmp.Or(c.MaxMessageBytes, -1)
	have.MaxAge, have.Replicas = c.MaxAge, cmp.Or(c.Replicas, 1)
	have.Duplicates, have.AllowMsgTTL = c.DedupWindow, c.MessageTTL
	have.AllowMsgSchedules = c.Schedules
	if have.Duplicates == 0 {
		have.Duplicates = 2 * time.Minute
		if c.MaxAge > 0 {
			have.Duplicates = min(have.Duplicates, c.MaxAge)
		}
	}
	return have
}

// differences compares what a StreamConfig describes.
func differences(have, want jetstream.StreamConfig) []StreamDifference {
	var found []StreamDifference
	for _, f := range []struct {
		name       string
		have, want any
	}{
		{"Subjects", slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects))},
		{"Retention", have.Retention, want.Retention},
		{"Storage", have.Storage, want.Storage},
		{"Discard", have.Discard, want.Discard},
		{"MaxMessages", have.MaxMsgs, want.MaxMsgs},
		{"MaxBytes", have.MaxBytes, want.MaxBytes},
		{"MaxAge", have.MaxAge, want.MaxAge},
		{"MaxPerSubject", have.MaxMsgsPerSubject, want.MaxMsgsPerSubject},
		{"MaxMessageBytes", have.MaxMsgSize, want.MaxMsgSize},
		{"Replicas", have.Replicas, want.Replicas},
		{"DedupWindow", have.Duplicates, want.Duplicates},
		{"MessageTTL", have.AllowMsgTTL, want.AllowMsgTTL},
		{"Schedules", have.AllowMsgSchedules, want.AllowMsgSchedules},
	} {
		if h, w := fmt.Sprint(f.have), fmt.Sprint(f.want); h != w {
			found = append(found, StreamDifference{Field: f.name, Have: h, Want: w})
		}
	}
	return found
}
