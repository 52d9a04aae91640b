package prommetrics

import (
	"cmp"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/actors"
)

// Config of a Sink. The zero value is a sound one.
type Config struct {
	// Namespace is the metrics' first word. Defaults to "troupe".
	Namespace string
	// Registerer has the metrics. Defaults to prometheus.DefaultRegisterer.
	Registerer prometheus.Registerer
	// Buckets of the attempts' time, in seconds. Defaults to twelve from 100 us to
	// 100 s or so, each three times the last.
	Buckets []float64
}

// Sink counts events. Its methods may be called concurrently.
type Sink struct {
	namespace  string
	registerer prometheus.Registerer

	processed  *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	partitions *prometheus.CounterVec
	givenBack  *prometheus.CounterVec
	suspended  *prometheus.CounterVec
	overflows  *prometheus.CounterVec

	sources sync.Map                 // source to *counters: looking labels up costs more
	last    atomic.Pointer[counters] // most events come from the source of the last
}

type source struct{ group, topic string }

// counters are those of one source that each message touches.
type counters struct {
	source source

	handled, retried, parked, deadLettered, discarded prometheus.Counter

	duration prometheus.Observer
}

// New registers the metrics. An error is the registerer's: they are registered
// already, or the namespace is no name.
func New(cfg Config) (*Sink, error) {
	namespace := cmp.Or(cfg.Namespace, "troupe")
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.DefaultRegisterer
	}
	if cfg.Buckets == nil {
		cfg.Buckets = prometheus.ExponentialBuckets(0.0001, 3, 13)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	}
	s := &Sink{
		namespace: namespace, registerer: cfg.Registerer,
		processed:  counter("messages_processed_total", "Attempts to handle a message, by what became of it.", "group", "topic", "outcome"),
		partitions: counter("partitions_total", "Partitions that were assigned, revoked or lost.", "group", "topic", "change"),
		givenBack:  counter("given_back_total", "Messages unsettled at the end of an epoch, which are delivered again.", "group", "topic"),
		suspended:  counter("suspensions_total", "Pauses for a fault of the infrastructure.", "group"),
		overflows:  counter("overflows_total", "Partitions that came to a limit because of a parked key.", "group", "topic", "limit"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "process_duration_seconds", Help: "Time of an attempt to handle a message.", Buckets: cfg.Buckets,
		}, []string{"group", "topic"}),
	}
	var errs []error
	for _, c := range []prometheus.Collector{s.processed, s.duration, s.partitions, s.givenBack, s.suspended, s.overflows} {
		errs = append(errs, cfg.Registerer.Register(c))
	}
	return s, errors.Join(errs...)
}

func (s *Sink) of(p *actors.Place) *counters {
	at := source{p.Group, p.Topic}
	if c := s.last.Load(); c != nil && c.source == at {
		return c
	}
	if c, ok := s.sources.Load(at); ok {
		s.last.Store(c.(*counters))
		return c.(*counters)
	}
	outcome := func(name string) prometheus.Counter { return s.processed.WithLabelValues(p.Group, p.Topic, name) }
	c, _ := s.sources.LoadOrStore(at, &counters{
		source:  at,
		handled: outcome("handled"), retried: outcome("retried"), parked: outcome("parked"),
		deadLettered: outcome("dead_lettered"), discarded: outcome("discarded"),
		duration: s.duration.WithLabelValues(p.Group, p.Topic),
	})
	return c.(*counters)
}

// Observe counts an event: it is for actors.Config.Observe.
func (s *Sink) Observe(event actors.Event) {
	switch e := event.(type) {
	case actors.Handled:
		c := s.of(&e.Place)
		c.ended(c.handled, e.Took)
	case actors.Retried:
		c := s.of(&e.Place)
		c.ended(c.retried, e.Took)
	case actors.Parked:
		c := s.of(&e.Place)
		c.ended(c.parked, e.Took)
	case actors.DeadLettered:
		c := s.of(&e.Place)
		c.ended(c.deadLettered, e.Took)
	case actors.Discarded:
		c := s.of(&e.Place)
		c.ended(c.discarded, e.Took)
	case actors.PartitionAssigned:
		s.partitions.WithLabelValues(e.Group, e.Topic, "assigned").Inc()
	case actors.PartitionRevoked:
		s.partitions.WithLabelValues(e.Group, e.Topic, "revoked").Inc()
		s.givenBack.WithLabelValues(e.Group, e.Topic).Add(float64(e.GivenBack))
	case actors.PartitionLost:
		s.partitions.WithLabelValues(e.Group, e.Topic, "lost").Inc()
		s.givenBack.WithLabelValues(e.Group, e.Topic).Add(float64(e.GivenBack))
	case actors.Suspended:
		s.suspended.WithLabelValues(e.Group).Inc()
	case actors.Overflowed:
		s.overflows.WithLabelValues(e.Group, e.Topic, e.Limit).Inc()
	}
}

func (c *counters) ended(as prometheus.Counter, took time.Duration) {
	as.Inc()
	c.duration.Observe(took.Seconds())
}
