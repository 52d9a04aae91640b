// Package oteltracing is the OpenTelemetry half of package actors: a span for
// each attempt and each publish, and the metrics of the messaging conventions.
//
// [Middleware] makes a CONSUMER span "process <topic>" around each attempt, with
// a link to the span that the message was published under (or that as its parent,
// by choice), and has what the handler publishes carry the attempt's trace.
// [Publisher] makes a PRODUCER span "send <topic>", whose trace travels in the
// headers traceparent, tracestate and baggage, on every broker. [Sink] measures
// messaging.process.duration and messaging.client.consumed.messages.
//
// Names and attributes are those of the semantic conventions 1.43.0. No attribute
// of a metric is a key or an id.
//
// # Guarantee and order
//
// None of its own: what fails to be exported is the exporter's matter, and
// changes nothing about messages. A retry, a dead letter and its replay keep the
// headers, so their spans link to the same publisher.
package oteltracing
