package prommetrics

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-go/troupe/actors"
)

// scrapeTimeout bounds how long brokers may take to tell their lags.
const scrapeTimeout = 2 * time.Second

// Watch adds the gauges of a system, read by its Snapshot at each scrape. The
// error is the registerer's. What it returns ends it.
func (s *Sink) Watch(sys *actors.System) (stop func(), err error) {
	g := s.newGauges(sys)
	if err := s.registerer.Register(g); err != nil {
		return nil, err
	}
	return func() { s.registerer.Unregister(g) }, nil
}

// gauge is one of a partition.
type gauge struct {
	desc  *prometheus.Desc
	value func(*actors.PartitionSnapshot) (float64, bool)
}

type gauges struct {
	sys       *actors.System
	partition []gauge
	suspended *prometheus.Desc
}

func (s *Sink) newGauges(sys *actors.System) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(s.namespace, "", name), help, labels, nil)
	}
	g := &gauges{sys: sys, suspended: desc("suspended", "1 while a fault of the infrastructure pauses the subscription.", "group")}
	add := func(name, help string, value func(*actors.PartitionSnapshot) (float64, bool)) {
		g.partition = append(g.partition, gauge{desc(name, help, "group", "topic", "partition"), value})
	}
	add("consumer_lag", "Messages that wait in the broker.", func(p *actors.PartitionSnapshot) (float64, bool) { return float64(p.Lag), p.Lag >= 0 })
	add("mailbox_depth", "Messages here that are not settled.", func(p *actors.PartitionSnapshot) (float64, bool) { return float64(p.Unsettled), true })
	add("in_flight", "Messages here that no failed key holds.", func(p *actors.PartitionSnapshot) (float64, bool) { return float64(p.InFlight), true })
	add("parked_keys", "Keys that wait, parked.", func(p *actors.PartitionSnapshot) (float64, bool) { return float64(p.Parked), true })
	add("gap_messages", "Messages settled above the low-water mark.", func(p *actors.PartitionSnapshot) (float64, bool) { return float64(p.Gap), true })
	add("gap_age_seconds", "How long the low-water mark has stood still below a gap.", func(p *actors.PartitionSnapshot) (float64, bool) { return p.GapAge.Seconds(), true })
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(to chan<- *prometheus.Desc) {
	to <- g.suspended
	for i := range g.partition {
		to <- g.partition[i].desc
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	for _, s := range g.sys.Snapshot(ctx).Subscriptions {
		suspended := 0.0
		if s.Fault != "" {
			suspended = 1
		}
		to <- prometheus.MustNewConstMetric(g.suspended, prometheus.GaugeValue, suspended, s.Group)
		for i := range s.Partitions {
			p := &s.Partitions[i]
			for _, one := range g.partition {
				if v, known := one.value(p); known {
					to <- prometheus.MustNewConstMetric(one.desc, prometheus.GaugeValue, v, s.Group, p.Topic, strconv.Itoa(int(p.Partition)))
				}
			}
		}
	}
}
