package deadletters

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

var (
	// ErrLoop is why a letter was held: its message was replayed so often and came
	// back. Mend what it fails on, then replay it with a higher MaxReplays.
	ErrLoop = errors.New("deadletters: replayed too often")
	// ErrSwallowed is why a letter was held: the broker confirmed its replay as a
	// duplicate of a message that it had before, and stored nothing. Wait until the
	// broker's deduplication window is over, and replay it again.
	ErrSwallowed = errors.New("deadletters: replay was taken for a duplicate")
)

// Options vary a replay.
type Options struct {
	// To is the topic to replay to. Defaults to where the message came from.
	To string
	// MaxReplays holds back messages that were replayed so often already. Defaults
	// to 3; negative is no limit.
	MaxReplays int
	// Rate is how many letters a second at the most. Defaults to no limit.
	Rate float64
	// DryRun only reports what would be done.
	DryRun bool
	// NewTime has the broker stamp the replays, where the topic would drop old
	// messages. Otherwise they have the time of the original.
	NewTime bool
	// Change may alter a message before it is replayed; an error holds the letter.
	Change func(*brokers.Message) error
}

// Report is what became of the letters that were meant.
type Report struct {
	// Matched letters are the sum of the others.
	Matched, Done int
	// Held letters stay, each for a reason.
	Held []Held
	// Unmarked are letters that were done and will be listed again, as the broker
	// acknowledges prefixes only and one before them stays.
	Unmarked int
	// DryRun: nothing was done; Done is what would have been.
	DryRun bool
}

// Held is a letter that stays, and why.
type Held struct {
	Letter Letter
	Err    error
}

// String is the report on one line.
func (r Report) String() string {
	would := ""
	if r.DryRun {
		would = "dry run: "
	}
	return fmt.Sprintf("%smatched %d, done %d, held %d, unmarked %d", would, r.Matched, r.Done, len(r.Held), r.Unmarked)
}

// Replay publishes the messages of the letters that a filter lets through, and
// marks each letter when its replay is confirmed and stored. It goes on after a
// letter that is held. If ctx ends the rest is not touched; the report is true in
// each case.
func (d *Desk) Replay(ctx context.Context, f Filter, o Options) (Report, error) {
	if o.Rate < 0 {
		return Report{}, fmt.Errorf("%w: Options.Rate %v is negative", ErrConfig, o.Rate)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &replay{desk: d, options: o, report: Report{DryRun: o.DryRun}}
	if o.MaxReplays == 0 {
		r.options.MaxReplays = 3
	}
	var pace <-chan time.Time
	if o.Rate > 0 {
		ticker := time.NewTicker(time.Duration(float64(time.Second) / o.Rate))
		defer ticker.Stop()
		pace = ticker.C
	}
	d.each(f, func(p *pile, i int) {
		if pace != nil && !o.DryRun {
			select {
			case <-pace:
			case <-ctx.Done():
			}
		}
		if ctx.Err() == nil {
			r.one(ctx, p, i)
		}
	})
	r.flying.Wait()
	return d.finish(ctx, r)
}

// replay is one call of Replay.
type replay struct {
	desk    *Desk
	options Options
	flying  sync.WaitGroup

	mu     sync.Mutex // callbacks of the publisher come beside
	report Report
	done   []place
}

type place struct {
	pile  *pile
	index int
}

func (r *replay) one(ctx context.Context, p *pile, i int) {
	r.mu.Lock()
	r.report.Matched++
	r.mu.Unlock()
	l := &p.letters[i]
	m, err := r.message(l)
	if err != nil {
		r.hold(l, err)
		return
	}
	if r.options.DryRun {
		r.mu.Lock()
		r.report.Done++
		r.mu.Unlock()
		return
	}
	r.flying.Add(1)
	same := m.ID != "" && m.ID == l.Original.ID
	err = r.desk.publisher.PublishAsync(ctx, m, func(receipt brokers.Receipt, err error) {
		defer r.flying.Done()
		if err == nil && receipt.Duplicate && same {
			err = ErrSwallowed
		}
		if err != nil {
			r.hold(l, err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.report.Done++
		r.done = append(r.done, place{p, i})
	})
	if err != nil {
		r.flying.Done()
		r.hold(l, err)
	}
}

// message is what is to be published for a letter.
func (r *replay) message(l *Letter) (brokers.Message, error) {
	if l.Err != nil {
		return brokers.Message{}, l.Err
	}
	if limit := r.options.MaxReplays; limit >= 0 && l.Replays >= limit {
		return brokers.Message{}, fmt.Errorf("%w: %d times", ErrLoop, l.Replays)
	}
	m, err := supervision.Replay(&l.raw)
	if err != nil {
		return m, err
	}
	m = m.Clone()
	m.Partition = 0
	if r.options.To != "" {
		m.Topic = r.options.To
	}
	if r.options.NewTime {
		m.Time = time.Time{}
	}
	if r.options.Change != nil {
		err = r.options.Change(&m)
	}
	return m, err
}

func (r *replay) hold(l *Letter, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Held = append(r.report.Held, Held{*l, err})
}

// finish marks what was done.
func (d *Desk) finish(ctx context.Context, r *replay) (Report, error) {
	for _, at := range r.done {
		at.pile.settled[at.index] = true
	}
	err := d.markAll(&r.report)
	if ctx.Err() != nil {
		err = errors.Join(err, context.Cause(ctx))
	}
	return r.report, err
}

func (d *Desk) markAll(report *Report) error {
	var errs []error
	for _, p := range d.piles {
		unmarked, err := d.mark(p)
		report.Unmarked += unmarked
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Discard marks letters without replaying them.
func (d *Desk) Discard(f Filter, dryRun bool) (Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	report := Report{DryRun: dryRun}
	d.each(f, func(p *pile, i int) {
		report.Matched++
		report.Done++
		if !dryRun {
			p.settled[i] = true
		}
	})
	if dryRun {
		return report, nil
	}
	return report, d.markAll(&report)
}
