// Package prommetrics is the Prometheus sink of package actors: it counts what
// happens to messages, and shows at each scrape what a system is doing.
//
// The metrics, with the namespace "troupe" unless Config says otherwise:
//
//	troupe_messages_processed_total{group,topic,outcome}   attempts that ended handled, retried, parked, dead_lettered, discarded
//	troupe_process_duration_seconds{group,topic}           time of an attempt, a histogram
//	troupe_partitions_total{group,topic,change}            partitions assigned, revoked, lost
//	troupe_given_back_total{group,topic}                   messages unsettled at the end of an epoch, delivered again
//	troupe_suspensions_total{group}                        pauses for a fault of the infrastructure
//	troupe_overflows_total{group,topic,limit}              partitions that came to a limit
//	troupe_consumer_lag{group,topic,partition}             messages that wait in the broker, if it says
//	troupe_mailbox_depth{group,topic,partition}            messages here that are not settled
//	troupe_in_flight{group,topic,partition}                of these, those that no failed key holds
//	troupe_parked_keys{group,topic,partition}              keys that wait, parked
//	troupe_gap_messages{group,topic,partition}             settled above the low-water mark
//	troupe_gap_age_seconds{group,topic,partition}          how long that mark has stood still below a gap
//	troupe_suspended{group}                                1 while the breaker is not closed
//
// No label is a key, an id or a text of an error, so their number is that of
// groups, topics and partitions.
//
// # Guarantee and order
//
// The counters are of this process and begin at 0 with it. Events are counted as
// they happen, in the goroutines where they happen.
package prommetrics
