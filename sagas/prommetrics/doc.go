// Package prommetrics is the Prometheus sink of package sagas.
//
//	sink, err := prommetrics.New(prommetrics.Config{})
//	runner, err := sagas.Open(ctx, sagas.Config[checkout]{Observe: sink.Observe, ...})
//
// The metrics, with the namespace "troupe" unless Config says otherwise:
//
//	troupe_sagas_started_total{saga}
//	troupe_sagas_ended_total{saga,status}                completed, compensated
//	troupe_sagas_duration_seconds{saga,status}           from the start to the end, a histogram
//	troupe_sagas_steps_total{saga,step,verb,outcome}     done, undone, rejected, failed (an attempt), unknown, passed over, left
//	troupe_sagas_step_duration_seconds{saga,step,verb}   from the first attempt to success, a histogram
//	troupe_sagas_stuck_total{saga,step}                  times that one got stuck
//
// # Guarantee and order
//
// The counters are of this process and begin at 0 with it: a transition is counted
// by the runner that committed it, after the commit. How many are stuck now is a
// question to the store: Runner.Instances.
package prommetrics
