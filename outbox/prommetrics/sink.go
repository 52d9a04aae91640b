package prommetrics

import (
	"cmp"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/outbox"
)

// Config of a Sink. The zero value is a sound one.
type Config struct {
	// Namespace is the metrics' first word. Defaults to "troupe".
	Namespace string
	// Registerer has the metrics. Defaults to prometheus.DefaultRegisterer.
	Registerer prometheus.Registerer
	// Buckets of the delay, in seconds. Defaults to fourteen from 1 ms to 27 min or
	// so, each three times the last.
	Buckets []float64
}

// Sink counts events of relays. Its methods may be called concurrently.
type Sink struct {
	published *prometheus.CounterVec
	delay     *prometheus.HistogramVec
	failures  *prometheus.CounterVec
	lags      *lags
}

// New registers the metrics. An error is the registerer's: they are registered
// already, or the namespace is no name.
func New(cfg Config) (*Sink, error) {
	namespace := cmp.Or(cfg.Namespace, "troupe")
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.DefaultRegisterer
	}
	if cfg.Buckets == nil {
		cfg.Buckets = prometheus.ExponentialBuckets(0.001, 3, 14)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "outbox", Name: name, Help: help}, labels)
	}
	s := &Sink{
		published: counter("published_total", "Messages that the broker has confirmed.", "source"),
		failures:  counter("failures_total", "Messages that could not be published, by what became of them.", "source", "outcome"),
		delay: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "outbox", Name: "publish_delay_seconds",
			Help: "From the storing of a batch's first message to its confirmation.", Buckets: cfg.Buckets,
		}, []string{"source"}),
		lags: newLags(namespace),
	}
	var errs []error
	for _, c := range []prometheus.Collector{s.published, s.failures, s.delay, s.lags} {
		errs = append(errs, cfg.Registerer.Register(c))
	}
	return s, errors.Join(errs...)
}

// Observe is for outbox.Config.Observe of the relay of a source, under a name such
// as that of its database and shard.
func (s *Sink) Observe(source string) func(outbox.Event) {
	published, delay := s.published.WithLabelValues(source), s.delay.WithLabelValues(source)
	failed := func(outcome string) { s.failures.WithLabelValues(source, outcome).Inc() }
	return func(event outbox.Event) {
		switch e := event.(type) {
		case outbox.Published:
			published.Add(float64(e.Messages))
			delay.Observe(e.Waited.Seconds())
		case outbox.Parked:
			failed("parked")
		case outbox.DeadLettered:
			failed("dead_lettered")
		case outbox.Discarded:
			failed("discarded")
		case outbox.Overflowed:
			failed("overflowed")
		case outbox.Lagging:
			s.lags.set(source, e.Lag)
		case outbox.StoodDown:
			s.lags.forget(source)
		}
	}
}

// lags are what waits, by source.
type lags struct {
	rows, aside, gaps, age *prometheus.Desc

	mu   sync.Mutex
	last map[string]outbox.Lag
}

func newLags(namespace string) *lags {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "outbox", name), help, []string{"source"}, nil)
	}
	return &lags{
		rows:  desc("rows", "Messages that wait to be published."),
		aside: desc("aside_rows", "Messages that wait for one that cannot be published."),
		gaps:  desc("gaps", "Numbers with neither a row nor a rollback."),
		age:   desc("oldest_age_seconds", "Since when the oldest message waits."),
		last:  make(map[string]outbox.Lag),
	}
}

func (l *lags) set(source string, lag outbox.Lag) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[source] = lag
}

func (l *lags) forget(source string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, source)
}

// Describe implements prometheus.Collector.
func (l *lags) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{l.rows, l.aside, l.gaps, l.age} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (l *lags) Collect(to chan<- prometheus.Metric) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for source, lag := range l.last {
		show := func(d *prometheus.Desc, v float64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, source)
		}
		show(l.rows, float64(lag.Rows))
		show(l.aside, float64(lag.Aside))
		show(l.gaps, float64(lag.Gaps))
		age := 0.0
		if !lag.Oldest.IsZero() {
			age = time.Since(lag.Oldest).Seconds()
		}
		show(l.age, age)
	}
}
