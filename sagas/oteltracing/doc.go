// Package oteltracing makes OpenTelemetry spans of what happens to sagas.
//
//	runner, err := sagas.Open(ctx, sagas.Config[checkout]{Observe: oteltracing.Observe(oteltracing.Config{}), ...})
//
// The spans of an instance are one trace, whichever processes it ran in: its id is
// derived from the saga's name, the instance's id and when it began. There is a span
// for each action, from its first attempt to its result: "do reserve", "undo reserve",
// "query charge"; each attempt that failed is one, too, with status Error, and so is
// getting stuck. When the instance has ended there is one for the whole, with the
// saga's name. All have one parent, which is never exported. Attributes: troupe.saga.name, .id,
// .version, .status, .step, .verb, .attempt, and .reason.
//
// # Guarantee and order
//
// A span is made after the commit of the transition that ended what it tells of, by
// the runner that committed it. What a process that was killed had not exported is
// not exported by the next one.
package oteltracing
