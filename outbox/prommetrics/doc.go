// Package prommetrics is the Prometheus sink of package outbox.
//
// The metrics, with the namespace "troupe" unless Config says otherwise; source is
// the name that [Sink.Observe] was given:
//
//	troupe_outbox_rows{source}                     messages that wait to be published, aside included
//	troupe_outbox_aside_rows{source}               of these, those that wait for one that cannot be published
//	troupe_outbox_gaps{source}                     numbers with neither a row nor a rollback: high beside a writer that takes long
//	troupe_outbox_oldest_age_seconds{source}       since when the oldest waits, at the time of the scrape
//	troupe_outbox_published_total{source}          messages that the broker has confirmed
//	troupe_outbox_publish_delay_seconds{source}    from the storing of a batch's first message to its confirmation, a histogram
//	troupe_outbox_failures_total{source,outcome}   parked, dead_lettered, discarded, overflowed
//
// The first four are shown by the process whose relay leads, and by no other.
//
// # Guarantee and order
//
// The counters are of this process and begin at 0 with it. What waits is as old as
// the relay's last look, outbox.Config.LagEvery.
package prommetrics
