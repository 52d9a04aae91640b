package supervision_test

import (
	"testing"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

func BenchmarkDecide(b *testing.B) {
	policy := supervision.Policy{Rules: []supervision.Rule{
		supervision.On(errVoid).Discard(),
		supervision.OnType[statusError]().Infrastructure(),
	}}
	f := failure(errBoom, 1)
	b.ReportAllocs()
	for b.Loop() {
		policy.Decide(f)
	}
}

func BenchmarkEncode(b *testing.B) {
	m := brokers.Message{ID: "orders/0/7", Topic: "orders", Key: []byte("c-17"), Payload: make([]byte, 1024)}
	l := supervision.NewLetter(failure(recovered(explode), 5), supervision.Verdict{Reason: "5 attempts failed"})
	l.Group, l.Broker = "billing", "kafka"
	b.ReportAllocs()
	for b.Loop() {
		supervision.Encode(&m, l, "orders.dead")
	}
}
