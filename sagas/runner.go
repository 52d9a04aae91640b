package sagas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/brokers"
)

// ErrConfig is wrapped by errors of [Open], which name the field.
var ErrConfig = errors.New("sagas: config")

// VersionError says that instances are in flight whose version this program
// neither has nor can migrate. Deploy one that can.
type VersionError struct {
	Definition string
	Version    int
	// Instances is how many there are.
	Instances int64
	// IDs are the first of them, in order, up to 5.
	IDs []string
}

// maxNamed is how many instances a VersionError names.
const maxNamed = 5

// Error names the definition, the version and the IDs.
func (e *VersionError) Error() string {
	names := make([]string, len(e.IDs))
	for i, id := range e.IDs {
		names[i] = strconv.Quote(id)
	}
	named := strings.Join(names, ", ")
	if more := e.Instances - int64(len(names)); more > 0 {
		named += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("sagas: %d instances of %q are in flight at version %d, of which there is neither a definition nor a migration: %s",
		e.Instances, e.Definition, e.Version, named)
}

// Config of a Runner.
type Config[S any] struct {
	// Definitions are the versions of one saga. New instances begin with the
	// latest; the others go on with theirs. Required.
	Definitions []*Definition[S]
	// Migrate brings an instance from the version that is the key to the next one,
	// when it is loaded and there is no definition of its version. Its Outcomes and
	// Work must be those of the next version's steps.
	Migrate map[int]func(Instance[S]) (Instance[S], error)
	// Store keeps the instances. Required.
	Store Store
	// Name tells runners of one store apart. A runner that starts again under its
	// name resumes at once what it was at, and one that still runs under it can do
	// nothing more ([ErrFenced]), so those that run at the same time need names of
	// their own. Defaults to the host's name.
	Name string
	// Replies is the topic to which participants reply. Required if a step is a
	// Send. Read it with [Runner.Subscription].
	Replies string
	// DeadLetters is the topic for replies that nobody waits for. Required with
	// Replies.
	DeadLetters string
	// Events is the topic for what happens to instances, as [Lifecycle] in JSON.
	// Defaults to none.
	Events string
	// Observe is told the same after each commit. It must be quick. Defaults to
	// none.
	Observe func(Lifecycle)
	// Trace is asked by Start, whose ctx it is given, for the headers that have the
	// commands, the replies made by [Answer] and the Events of an instance belong
	// to one trace. It may be called concurrently, and for a start that is none as
	// the id was started before. Defaults to none.
	Trace func(ctx context.Context, definition, id string) brokers.Headers
	// MaxEarly is how many replies are kept that come before their instance was
	// started, and EarlyFor how long. Default to 10,000 and 5 min.
	MaxEarly int
	EarlyFor time.Duration
	// Calls is how many Calls may run at once. Defaults to 1,024.
	Calls int
	// Retention is how long instances are kept after their end, with their log;
	// after that their ids may be started again. Defaults to 7 days.
	Retention time.Duration
	// Poll is how often the store is asked for timers that others have set, and
	// for early replies. Defaults to 500 ms.
	Poll time.Duration
	// Logger gets a line for each failure, each instance that goes back or is stuck,
	// and what operators do. Defaults to none.
	Logger *zap.Logger
}

func (c Config[S]) withDefaults() Config[S] {
	if c.Name == "" {
		c.Name, _ = os.Hostname() // validate refuses an empty one
	}
	c.MaxEarly = cmp.Or(c.MaxEarly, 10_000)
	c.EarlyFor = cmp.Or(c.EarlyFor, 5*time.Minute)
	c.Calls = cmp.Or(c.Calls, 1024)
	c.Retention = cmp.Or(c.Retention, 7*24*time.Hour)
	c.Poll = cmp.Or(c.Poll, 500*time.Millisecond)
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

func (c *Config[S]) validate() error {
	var errs []error
	fault := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
	}
	if len(c.Definitions) == 0 {
		fault("Definitions is empty")
	}
	sends := false
	versions := make(map[int]bool)
	for _, d := range c.Definitions {
		if err := d.Validate(); err != nil {
			fault("Definitions: %w", err)
		}
		if d.Name != c.Definitions[0].Name {
			fault("Definitions: %q is another saga than %q", d.Name, c.Definitions[0].Name)
		}
		if versions[d.Version] {
			fault("Definitions: version %d is there twice", d.Version)
		}
		versions[d.Version] = true
		sends = sends || d.sends()
	}
	if c.Store == nil {
		fault("Store is required")
	}
	if c.Name == "" {
		fault("Name is empty, and the host has none")
	}
	if sends && c.Replies == "" {
		fault("Replies is required: a step sends a command")
	}
	if c.Replies != "" && (c.DeadLetters == "" || c.DeadLetters == c.Replies) {
		fault("DeadLetters is required with Replies, and another topic")
	}
	for name, n := range map[string]int64{
		"MaxEarly": int64(c.MaxEarly), "EarlyFor": int64(c.EarlyFor), "Calls": int64(c.Calls),
		"Retention": int64(c.Retention), "Poll": int64(c.Poll),
	} {
		if n < 0 {
			fault("%s is negative", name)
		}
	}
	return errors.Join(errs...)
}

// sends says whether a step sends commands.
func (d *Definition[S]) sends() bool {
	return slices.ContainsFunc(d.Steps, func(s Step[S]) bool {
		return s.Do.command != nil || s.Undo.command != nil || s.Query.command != nil
	})
}

// Runner runs the sagas of one name. Several may run those of one store, in one
// process or many. All methods may be called concurrently.
type Runner[S any] struct {
	cfg     Config[S]
	name    string // of the saga
	latest  *Definition[S]
	byVer   map[int]*Definition[S]
	log     *zap.Logger
	commits committer

	ctx    context.Context // ends when the runner does; the cause says why
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	slots  chan struct{} // one for each Call that runs
	due    chan struct{} // a timer may be due earlier than was thought

	mu      sync.Mutex
	over    error // why it has ended; nil while it runs
	nextDue time.Time
	cells   map[string]*cell[S]
	waiters map[string]*waiter[S]
}

// Open checks the config, refuses to begin if instances are in flight that it
// cannot go on with ([*VersionError]), takes the name from a runner that still has
// it, and resumes what that was at. Close it.
func Open[S any](ctx context.Context, cfg Config[S]) (*Runner[S], error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Runner[S]{
		cfg: cfg, name: cfg.Definitions[0].Name, byVer: make(map[int]*Definition[S]), log: cfg.Logger.With(zap.String("saga", cfg.Definitions[0].Name)),
		slots: make(chan struct{}, cfg.Calls), due: make(chan struct{}, 1),
		cells: make(map[string]*cell[S]), waiters: make(map[string]*waiter[S]),
	}
	for _, d := range cfg.Definitions {
		r.byVer[d.Version] = d
	}
	r.latest = r.byVer[slices.Max(slices.Collect(maps.Keys(r.byVer)))]
	if err := r.checkVersions(ctx); err != nil {
		return nil, err
	}
	seat, err := cfg.Store.Sit(ctx, r.name, cfg.Name)
	if err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	r.commits.store, r.commits.seat, r.commits.lost = cfg.Store, seat, r.fenced
	r.commits.atOnce = min(maxAtOnce, cfg.Store.Writers())
	if err := r.resume(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	r.wg.Go(r.keepTime)
	r.wg.Go(r.keepHouse)
	return r, nil
}

// checkVersions looks for instances that nobody can go on with.
func (r *Runner[S]) checkVersions(ctx context.Context) error {
	counts, err := r.cfg.Store.InFlight(ctx, r.name)
	if err != nil {
		return err
	}
	var errs []error
	for _, version := range slices.Sorted(maps.Keys(counts)) {
		if _, ok := r.target(version); !ok {
			errs = append(errs, r.refusal(ctx, version, counts[version]))
		}
	}
	return errors.Join(errs...)
}

// refusal names the instances of a version that nobody can go on with.
func (r *Runner[S]) refusal(ctx context.Context, version int, n int64) error {
	q := Selection{Statuses: []Status{Running, Compensating, Stuck}, Versions: []int{version}, Limit: maxNamed}
	records, err := r.cfg.Store.List(ctx, r.name, q)
	if err != nil {
		return err
	}
	refused := &VersionError{Definition: r.name, Version: version, Instances: n}
	for i := range records {
		refused.IDs = append(refused.IDs, records[i].ID)
	}
	return refused
}

// target is the version to which instances of another are migrated: their own, if
// there is a definition of it.
func (r *Runner[S]) target(version int) (int, bool) {
	for r.byVer[version] == nil {
		if r.cfg.Migrate[version] == nil {
			return 0, false
		}
		version++
	}
	return version, true
}

// resume makes the Calls again that were under way.
func (r *Runner[S]) resume(ctx context.Context) error {
	q := Selection{Statuses: []Status{Running, Compensating}, Owner: r.cfg.Name, Limit: 1000}
	for {
		records, err := r.cfg.Store.List(ctx, r.name, q)
		if err != nil {
			return err
		}
		for i := range records {
			c := r.enter(records[i].ID)
			if err := c.take(r, records[i]); err != nil {
				r.leave(c)
				return err
			}
			calls := c.def.Resume(c.in)
			r.carryOut(c, calls)
			r.leave(c)
		}
		if len(records) < q.Limit {
			return nil
		}
		q.After = records[len(records)-1].ID
	}
}

// begin counts something that Close waits for. The error is why nothing more may
// begin.
func (r *Runner[S]) begin() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over == nil {
		r.wg.Add(1)
	}
	return r.over
}

// end has the runner begin nothing more. It returns false if it had ended before.
func (r *Runner[S]) end(why error) bool {
	r.mu.Lock()
	first := r.over == nil
	if first {
		r.over = why
	}
	r.mu.Unlock()
	r.cancel(why)
	return first
}

// fenced ends it because another one has its name.
func (r *Runner[S]) fenced() {
	if r.end(ErrFenced) {
		r.log.Error("saga: runner ended: another one has begun under its name", zap.String("name", r.cfg.Name))
	}
}

// Done is closed when the runner has ended: it was closed, or, as [Runner.Err] says,
// it was fenced.
func (r *Runner[S]) Done() <-chan struct{} { return r.ctx.Done() }

// Err is why the runner has ended: [ErrClosed] or [ErrFenced]; nil while it runs.
func (r *Runner[S]) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// Close ends the contexts of Calls that run, waits for them, and for what is being
// committed. What they did not get to say is asked again by the next runner. Stop
// the system that reads the replies before.
func (r *Runner[S]) Close() error {
	r.end(ErrClosed)
	r.wg.Wait()
	r.commits.wg.Wait()
	return nil
}
