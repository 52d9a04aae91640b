package prommetrics

import (
	"cmp"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/sagas"
)

// Config of a Sink. The zero value is a sound one.
type Config struct {
	// Namespace is the metrics' first word. Defaults to "troupe".
	Namespace string
	// Registerer has the metrics. Defaults to prometheus.DefaultRegisterer.
	Registerer prometheus.Registerer
	// Buckets of the durations, in seconds. Defaults to sixteen from 1 ms to 4 h or
	// so, each three times the last.
	Buckets []float64
}

// Sink counts what happens to sagas. Its methods may be called concurrently.
type Sink struct {
	started, ended, steps, stuck *prometheus.CounterVec
	took, stepTook               *prometheus.HistogramVec
}

// New registers the metrics. An error is the registerer's: they are registered
// already, or the namespace is no name.
func New(cfg Config) (*Sink, error) {
	namespace := cmp.Or(cfg.Namespace, "troupe")
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.DefaultRegisterer
	}
	if cfg.Buckets == nil {
		cfg.Buckets = prometheus.ExponentialBuckets(0.001, 3, 16)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: "sagas", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "sagas", Name: name, Help: help, Buckets: cfg.Buckets,
		}, labels)
	}
	s := &Sink{
		started:  counter("started_total", "Sagas that were started.", "saga"),
		ended:    counter("ended_total", "Sagas that have ended, by how.", "saga", "status"),
		steps:    counter("steps_total", "What became of steps, and attempts that failed.", "saga", "step", "verb", "outcome"),
		stuck:    counter("stuck_total", "Times that a saga got stuck.", "saga", "step"),
		took:     histogram("duration_seconds", "From the start of a saga to its end.", "saga", "status"),
		stepTook: histogram("step_duration_seconds", "From the first attempt at a step to its success.", "saga", "step", "verb"),
	}
	var errs []error
	for _, c := range []prometheus.Collector{s.started, s.ended, s.steps, s.stuck, s.took, s.stepTook} {
		errs = append(errs, cfg.Registerer.Register(c))
	}
	return s, errors.Join(errs...)
}

// outcomes are the values of the label.
var outcomes = map[sagas.Happening]string{
	sagas.StepDone: "done", sagas.StepUndone: "undone", sagas.StepNotDone: "rejected", sagas.AttemptFailed: "failed",
	sagas.OutcomeLost: "unknown", sagas.StepSkipped: "passed over", sagas.StepLeft: "left",
}

// Observe is for sagas.Config.Observe.
func (s *Sink) Observe(l sagas.Lifecycle) {
	if outcome, ok := outcomes[l.What]; ok {
		s.steps.WithLabelValues(l.Definition, l.Step, l.Verb.String(), outcome).Inc()
	}
	switch l.What {
	case sagas.Started:
		s.started.WithLabelValues(l.Definition).Inc()
	case sagas.StepDone, sagas.StepUndone:
		s.stepTook.WithLabelValues(l.Definition, l.Step, l.Verb.String()).Observe(l.Took.Seconds())
	case sagas.GotStuck:
		s.stuck.WithLabelValues(l.Definition, l.Step).Inc()
	case sagas.AllDone, sagas.AllUndone:
		status := l.Status.String()
		s.ended.WithLabelValues(l.Definition, status).Inc()
		s.took.WithLabelValues(l.Definition, status).Observe(l.At.Sub(l.Began).Seconds())
	}
}
