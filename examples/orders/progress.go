package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/troupe-go/troupe/actors"
)

// errOtherRun says that a message is not of this run: on a broker that keeps its
// messages, one that was interrupted has left some.
var errOtherRun = errors.New("message of another run")

// messageID is the id of the message of a row. The run is in it because a broker
// that drops what it has had must not take this run's rows for the last one's.
func messageID(run string, row int) string { return run + "/" + strconv.Itoa(row) }

func parseID(id string) (run string, row int, ok bool) {
	run, number, found := strings.Cut(id, "/")
	row, err := strconv.Atoi(number)
	return run, row, found && err == nil
}

// progress knows which rows of the run each group has decided: handled,
// dead-lettered or discarded. A row that comes again counts once.
type progress struct {
	run       string
	prefix    string // of the groups' names
	rows      int
	published atomic.Int64
	journal   *journal
	groups    map[string]*decisions
	pending   atomic.Int32  // groups that are not through
	done      chan struct{} // closed when all are
}

// decisions are those of one group.
type decisions struct {
	rows  []atomic.Uint64 // a bit for each row
	count atomic.Int64

	mu      sync.Mutex
	tallies map[tally]int
}

// tally is what rows are counted by.
type tally struct {
	verdict string
	cause   error // nil where the handler was content
}

// String is verdict and cause.
func (t tally) String() string {
	if t.cause == nil {
		return t.verdict
	}
	return fmt.Sprintf("%s: %v", t.verdict, t.cause)
}

// The verdicts.
const (
	handled      = "handled"
	deadLettered = "dead-lettered"
	discarded    = "discarded"
)

func newProgress(run string, rows int, groups ...string) *progress {
	p := &progress{run: run, rows: rows, groups: make(map[string]*decisions), done: make(chan struct{})}
	for _, group := range groups {
		p.groups[group] = &decisions{rows: make([]atomic.Uint64, rows/64+1), tallies: make(map[tally]int)}
	}
	p.pending.Store(int32(len(groups)))
	if rows == 0 {
		close(p.done)
	}
	return p
}

// oursOnly refuses what is not of the run.
func (p *progress) oursOnly(next actors.Handler) actors.Handler {
	return actors.HandlerFunc(func(ctx *actors.Context) error {
		if !p.ours(ctx.Event().ID) {
			return errOtherRun
		}
		return next.Receive(ctx)
	})
}

// middleware refuses what is not of the run, and counts what is handled.
func (p *progress) middleware(next actors.Handler) actors.Handler {
	return p.oursOnly(actors.HandlerFunc(func(ctx *actors.Context) error {
		m := ctx.Event()
		err := next.Receive(ctx)
		if err == nil {
			p.decide(ctx.Group(), m.ID, m.Key, tally{verdict: handled})
		}
		return err
	}))
}

func (p *progress) ours(id string) bool {
	run, _, ok := parseID(id)
	return ok && run == p.run
}

// observe counts what the policies decide.
func (p *progress) observe(event actors.Event) {
	switch e := event.(type) {
	case actors.DeadLettered:
		p.decide(e.Group, e.ID, e.Key, tally{deadLettered, cause(e.Failure.Err)})
	case actors.Discarded:
		p.decide(e.Group, e.ID, e.Key, tally{discarded, cause(e.Failure.Err)})
	}
}

// errOther stands for all errors that no rule names; the log has them.
var errOther = errors.New("another error")

// cause is the error that a rule names.
func cause(err error) error {
	for _, known := range []error{errUnmatched, errNoSale, errBadLine, errOtherRun} {
		if errors.Is(err, known) {
			return known
		}
	}
	return errOther
}

func (p *progress) decide(group, id string, customer []byte, as tally) {
	group = strings.TrimPrefix(group, p.prefix)
	p.journal.decided(group, id, customer, as)
	_, row, _ := parseID(id)
	if !p.ours(id) {
		return
	}
	d := p.groups[group]
	bit := uint64(1) << (row % 64)
	if d.rows[row/64].Or(bit)&bit != 0 {
		return
	}
	d.mu.Lock()
	d.tallies[as]++
	d.mu.Unlock()
	if d.count.Add(1) == int64(p.rows) && p.pending.Add(-1) == 0 {
		close(p.done)
	}
}

// finish is for those who count otherwise.
func (p *progress) finish() {
	if !p.finished() {
		close(p.done)
	}
}

// finished says whether every group has decided every row.
func (p *progress) finished() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// counted is how many rows a group has decided so.
func (p *progress) counted(group string, as tally) int {
	d := p.groups[group]
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tallies[as]
}

// String is the progress on one line.
func (p *progress) String() string {
	return fmt.Sprintf("of %d rows %d published, %d through the ledger, %d through returns", p.rows,
		p.published.Load(), p.groups[ledgerGroup].count.Load(), p.groups[returnsGroup].count.Load())
}

// decided is how many messages the groups have decided.
func (p *progress) decided() (n int64) {
	for _, d := range p.groups {
		n += d.count.Load()
	}
	return n
}

// verdicts lists the decided rows by group, verdict and cause.
func (p *progress) verdicts() string {
	var b strings.Builder
	for _, group := range slices.Sorted(maps.Keys(p.groups)) {
		for _, line := range p.groups[group].lines() {
			fmt.Fprintf(&b, "%s: %s\n", group, line)
		}
	}
	return b.String()
}

func (d *decisions) lines() (lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for as, rows := range d.tallies {
		lines = append(lines, fmt.Sprintf("%d rows %v", rows, as))
	}
	slices.Sort(lines)
	return lines
}
