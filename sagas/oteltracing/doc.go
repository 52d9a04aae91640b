// Package oteltracing makes OpenTelemetry spans of what happens to sagas.
//
//	tracing := oteltracing.New(oteltracing.Config{})
//	runner, err := sagas.Open(ctx, sagas.Config[checkout]{Trace: tracing.Begin, Observe: tracing.Observe, ...})
//
// The spans of an instance are of one trace, whichever processes it ran in: that of
// the context of its Start, or a new one. Its first span, "start checkout", is
// exported at once, and is the parent of all others. There is a span for each action,
// from its first attempt to its result: "do reserve", "undo reserve", "query charge";
// each attempt that failed is one, too, with status Error, and so is getting stuck.
// When the instance has ended there is one for the whole, with the saga's name.
// Attributes: troupe.saga.name, .id, .version, .status, .step, .verb, .attempt, and
// .reason.
//
// The commands carry the trace in the headers traceparent, tracestate and baggage,
// through the outbox and on every broker, and so do the replies: what participants
// and the handling of replies are traced by (actors/oteltracing, with Parent, or else
// by links) is in it.
//
// # Guarantee and order
//
// A span is made after the commit of the transition that ended what it tells of, by
// the runner that committed it; the first before that of the start, also if the saga
// was started before. What a process that was killed had not exported is not exported
// by the next one. Instances that were started without Trace have no parent for
// their spans.
package oteltracing
