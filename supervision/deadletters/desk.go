package deadletters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

// ErrConfig is wrapped by errors of [Open] that name a field. Mend the config.
var ErrConfig = errors.New("deadletters: config")

// Config says which letters a Desk is for.
type Config struct {
	// Broker where the letters lie. Required.
	Broker brokers.Broker
	// Topic of the letters: a policy's DeadLetter. Required.
	Topic string
	// Group that the desk reads as. Its acknowledgements are the marks. On a
	// broker that stores per group (RabbitMQ) it is one that the topic was made
	// with. Defaults to "deadletters".
	Group string
	// Mode is how the desk reads. [brokers.ModeCompeting] is for a queue that is no
	// topic's. Defaults to ModeOrdered.
	Mode brokers.Mode
	// Limit is how many letters of a partition to read at the most. Defaults to
	// 10,000.
	Limit int
	// Quiet is after how long without a letter there are no more. Defaults to 2 s.
	Quiet time.Duration
}

// Letter is a dead letter and the message in it.
type Letter struct {
	supervision.Letter

	// Original is the message as it was received. Its Topic and Key are where it
	// came from.
	Original brokers.Message
	// Partition and Offset are the letter's own place.
	Partition int32
	Offset    int64
	// Time is when the letter was written.
	Time time.Time
	// Err is why it cannot be decoded; the message is then as it lies.
	Err error

	raw brokers.Message
}

// Desk holds the letters of a topic that nobody has dealt with. Its methods may
// be called concurrently, but take turns.
type Desk struct {
	cfg       Config
	sub       brokers.Subscription
	publisher *brokers.Publisher

	mu    sync.Mutex
	piles []*pile
}

// pile is a partition's letters, by offset.
type pile struct {
	part    brokers.Partition
	letters []Letter
	settled []bool
	marked  int // so many from the front are acknowledged
}

// Open joins the group and reads the letters that lie there. It returns when no
// more have come for Config.Quiet. Close the desk to let others have them.
func Open(ctx context.Context, cfg Config) (*Desk, error) {
	cfg.Group = cmp.Or(cfg.Group, "deadletters")
	cfg.Limit = cmp.Or(cfg.Limit, 10_000)
	cfg.Quiet = cmp.Or(cfg.Quiet, 2*time.Second)
	switch {
	case cfg.Broker == nil:
		return nil, fmt.Errorf("%w: Broker is required", ErrConfig)
	case cfg.Topic == "":
		return nil, fmt.Errorf("%w: Topic is required", ErrConfig)
	case cfg.Limit < 0:
		return nil, fmt.Errorf("%w: Limit %d is negative", ErrConfig, cfg.Limit)
	case cfg.Quiet < 0:
		return nil, fmt.Errorf("%w: Quiet %v is negative", ErrConfig, cfg.Quiet)
	}
	publisher, err := cfg.Broker.Publisher(brokers.PublisherConfig{})
	if err != nil {
		return nil, err
	}
	sub, err := cfg.Broker.Subscribe(ctx, brokers.SubscriptionConfig{
		Group: cfg.Group, Topics: []string{cfg.Topic}, MaxUnsettled: cfg.Limit, Mode: cfg.Mode,
	})
	if err != nil {
		return nil, errors.Join(err, publisher.Close(ctx))
	}
	d := &Desk{cfg: cfg, sub: sub, publisher: publisher}
	if err := d.read(ctx); err != nil {
		return nil, errors.Join(err, d.Close(ctx))
	}
	return d, nil
}

// read accepts partitions and reads each, until nothing has come for a while.
func (d *Desk) read(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	quiet := time.AfterFunc(d.cfg.Quiet, stop)
	defer quiet.Stop()
	var readers sync.WaitGroup
	var failed error
	for {
		part, err := d.sub.Accept(reading)
		if err != nil {
			if reading.Err() == nil {
				failed = err
			}
			break
		}
		quiet.Reset(d.cfg.Quiet)
		p := &pile{part: part}
		d.piles = append(d.piles, p)
		readers.Go(func() {
			for len(p.letters) < d.cfg.Limit {
				messages, err := part.Fetch(reading, brokers.FetchLimit{Messages: d.cfg.Limit - len(p.letters)})
				if err != nil {
					return // quiet, or called off
				}
				quiet.Reset(d.cfg.Quiet)
				for i := range messages {
					p.letters = append(p.letters, open(messages[i]))
				}
			}
		})
	}
	stop()
	readers.Wait()
	slices.SortFunc(d.piles, func(a, b *pile) int { return cmp.Compare(a.part.ID(), b.part.ID()) })
	for _, p := range d.piles {
		p.settled = make([]bool, len(p.letters))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return failed
}

func open(m brokers.Message) Letter {
	l := Letter{Partition: m.Partition, Offset: m.Offset, Time: m.Time, raw: m}
	l.Original, l.Letter, l.Err = supervision.Decode(&m)
	if l.Err != nil {
		l.Original = m
	}
	return l
}

// Letters returns those that a filter lets through and that are not settled yet,
// by partition and offset.
func (d *Desk) Letters(f Filter) []Letter {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []Letter
	d.each(f, func(p *pile, i int) { found = append(found, p.letters[i]) })
	return found
}

func (d *Desk) each(f Filter, visit func(p *pile, i int)) {
	for _, p := range d.piles {
		for i := range p.letters {
			if !p.settled[i] && f.matches(&p.letters[i]) {
				visit(p, i)
			}
		}
	}
}

// mark acknowledges what is settled of a pile. It returns how many settled
// letters the broker cannot be told of, as one before them stays.
func (d *Desk) mark(p *pile) (unmarked int, err error) {
	ack := brokers.Ack{UpTo: brokers.NoOffset}
	for p.marked < len(p.letters) && p.settled[p.marked] {
		p.marked++
	}
	if p.marked > 0 {
		ack.UpTo = p.letters[p.marked-1].Offset
	}
	for i := p.marked; i < len(p.letters); i++ {
		if p.settled[i] {
			ack.Above = append(ack.Above, p.letters[i].Offset)
		}
	}
	if ack.UpTo == brokers.NoOffset && len(ack.Above) == 0 {
		return 0, nil
	}
	if !d.cfg.Broker.Features().IndividualAcks {
		unmarked = len(ack.Above)
	}
	return unmarked, p.part.Ack(ack)
}

// Close sends the marks and leaves the group. Letters without a mark are there
// for the next desk. An error means that marks may have been lost: those letters
// are listed again.
func (d *Desk) Close(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, p := range d.piles {
		errs = append(errs, p.part.Close(ctx))
	}
	d.piles = nil
	return errors.Join(append(errs, d.sub.Close(ctx), d.publisher.Close(ctx))...)
}

// Raw is the letter as it lies in its topic, envelope and all.
func (l *Letter) Raw() brokers.Message { return l.raw }
