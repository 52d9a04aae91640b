package brokers

import (
	"errors"
	"reflect"
	"slices"
	"testing"
)

func TestHeadersOfTheTrace(t *testing.T) {
	h := Headers{{Key: "tracestate", Value: []byte("s")}, {Key: "a"}, {Key: "traceparent", Value: []byte("1")}, {Key: "traceparent", Value: []byte("2")}}
	trace := h.Trace()
	if len(trace) != 2 || trace.Text("traceparent") != "2" || trace.Text("tracestate") != "s" {
		t.Errorf("trace %+v of %+v", trace, h)
	}
	trace[0].Value[0] = 'x'
	if h.Text("traceparent") != "2" {
		t.Error("it is no copy")
	}
	if trace := (Headers{{Key: "a"}}).Trace(); trace != nil {
		t.Errorf("trace %+v of none", trace)
	}
}

func TestHeaders(t *testing.T) {
	h := Headers{{Key: "a", Value: []byte("1")}, {Key: "A", Value: []byte("2")}, {Key: "a", Value: []byte("3")}}
	if v, ok := h.Get("a"); !ok || string(v) != "3" {
		t.Errorf("Get: %q, %v", v, ok)
	}
	if v, ok := h.Get("b"); ok || v != nil || h.Text("b") != "" || h.Text("A") != "2" {
		t.Errorf("Get of none: %q, %v", v, ok)
	}
	before := h.Clone()
	with := h.With("a", []byte("4"))
	if want := (Headers{{Key: "A", Value: []byte("2")}, {Key: "a", Value: []byte("4")}}); !reflect.DeepEqual(with, want) {
		t.Errorf("With: %v", with)
	}
	if !reflect.DeepEqual(h, before) {
		t.Error("With changed its receiver")
	}
}

func TestCloneSharesNothing(t *testing.T) {
	m := Message{Key: []byte("k"), Payload: []byte("p"), Headers: Headers{{Key: "a", Value: []byte("v")}, {Key: "nil"}, {Key: "empty", Value: []byte{}}}}
	c := m.Clone()
	if !reflect.DeepEqual(c, m) {
		t.Fatalf("%+v", c)
	}
	m.Key[0], m.Payload[0], m.Headers[0].Value[0], m.Headers[0].Key = 'x', 'x', 'x', "x"
	if string(c.Key) != "k" || string(c.Payload) != "p" || string(c.Headers[0].Value) != "v" || c.Headers[0].Key != "a" {
		t.Errorf("%+v", c)
	}
	var none Message
	if c := none.Clone(); c.Key != nil || c.Payload != nil || c.Headers != nil {
		t.Errorf("%+v", c)
	}
}

func TestPublishErrorNamesTheFirst(t *testing.T) {
	e := &PublishError{Of: 9}
	for i := range 5 {
		e.Failures = append(e.Failures, PublishFailure{Index: i, SendError: SendError{Outcome: Outcome(i % 3), Err: errBroken}})
	}
	const want = "brokers: 5 of 9 messages not confirmed; #0 not sent: broken; #1 outcome unknown: broken; #2 refused: broken; ..."
	if e.Error() != want || !errors.Is(e, errBroken) {
		t.Errorf("%v", e)
	}
	var retryable []int
	for i := range e.Failures {
		if e.Failures[i].Retryable() {
			retryable = append(retryable, i)
		}
	}
	if !slices.Equal(retryable, []int{0, 1, 3, 4}) {
		t.Errorf("retryable: %v", retryable)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Outcome(9).String(): "invalid outcome", SubscriptionState(9).String(): "unknown",
		StateConnecting.String(): "connecting", StateNoPartitions.String(): "no partitions", StateStandby.String(): "standby",
		StateOwning.String(): "owning", StateClosed.String(): "closed",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
