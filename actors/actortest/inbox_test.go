package actortest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/actors/actortest"
	"github.com/troupe-go/troupe/brokers"
)

// A clerk told "total" publishes a Total of 7 and then a payload that is raw.
func TestTopics(t *testing.T) {
	check(t, desk, []expectation{
		{"by value", orders("total"), func(k *actortest.Kit) {
			m := k.ExpectPublished("out", Total{7})
			if m.Topic != "out" || m.Offset != 0 || m.CorrelationID != "message-1" {
				panic(fmt.Sprintf("%+v", m))
			}
			k.ExpectPublished("out", []byte("raw"))
		}, nil},
		{"by pointer", orders("total"), func(k *actortest.Kit) { k.ExpectPublished("out", &Total{7}) }, nil},
		{
			"another value", orders("total"), func(k *actortest.Kit) { k.ExpectPublished("out", Total{8}) },
			[]string{`expected: actortest_test.Total {Sum:8} at topic "out"`, `got: published     out/0@0 "k": {"Sum":7}`},
		},
		{
			"another type", orders("total"), func(k *actortest.Kit) { k.ExpectPublished("out", OrderPlaced{}) },
			[]string{`expected: actortest_test.OrderPlaced`, "is a TotalChanged"},
		},
		{
			"another payload", orders("total", "total"), func(k *actortest.Kit) { k.Topic("out").Expect([]byte("raw")) },
			[]string{`expected: "raw" at topic "out"`, `{"Sum":7}`},
		},
		{
			"not JSON", orders("total"), func(k *actortest.Kit) {
				k.Topic("out").Receive(1)
				actortest.ExpectType[Total](k.Topic("out"))
			},
			[]string{"expected: a matching actortest_test.Total", `out/0@1 "k": raw`, "invalid character"},
		},
		{
			"another topic", orders("total"), func(k *actortest.Kit) { k.ExpectPublished("outer", Total{7}) },
			[]string{`at topic "outer"`, "nothing of the kind within 1h0m0s"},
		},
		{"of a key", orders("total"), func(k *actortest.Kit) { k.Key("k").ExpectPublished("out", Total{7}) }, nil},
		{
			"of another key", orders("total"), func(k *actortest.Kit) { k.Key("j").ExpectPublished("out", Total{7}) },
			[]string{"nothing of the kind"},
		},
		{"by type", orders("total"), func(k *actortest.Kit) {
			if actortest.ExpectType[Total](k.Topic("out")).Sum != 7 {
				panic("another total")
			}
		}, nil},
		{
			"not by type", orders("total"), func(k *actortest.Kit) { actortest.ExpectType[OrderPlaced](k.Topic("out")) },
			[]string{"expected: a matching actortest_test.OrderPlaced", "is a TotalChanged"},
		},
		{"by condition", orders("total"), func(k *actortest.Kit) {
			actortest.ExpectMatch(k.Topic("out"), func(t Total) bool { return t.Sum > 6 })
			actortest.ExpectMatch(k.Topic("out"), func(m brokers.Message) bool { return m.ID == "message-1>test#1" })
		}, nil},
		{
			"not by condition", orders("total"), func(k *actortest.Kit) {
				actortest.ExpectMatch(k.Topic("out"), func(t Total) bool { return t.Sum > 7 })
			},
			[]string{"a matching actortest_test.Total", `> 0s  published     out/0@0`},
		},
		{"fished", orders("fine", "total"), func(k *actortest.Kit) {
			raw := actortest.Fish(k.Topic("out"), func(b []byte) bool { return len(b) == 3 })
			if string(raw) != "raw" {
				panic(string(raw))
			}
			k.Topic("out").ExpectNone(time.Minute)
		}, nil},
		{
			"not fished", orders("total"), func(k *actortest.Kit) {
				actortest.Fish(k.Topic("out").Within(time.Minute), func(b []byte) bool { return len(b) == 4 })
			},
			[]string{"a matching []uint8, sooner or later, at topic \"out\"", "nothing of the kind within 1m0s", "- 0s  published     out/0@1"},
		},
		{"none", orders("slow"), func(k *actortest.Kit) { k.Topic("out").ExpectNone(time.Minute) }, nil},
		{
			"not none", orders("slow", "total"), func(k *actortest.Kit) { k.Topic("out").ExpectNone(time.Minute) },
			[]string{`nothing at topic "out" for 1m0s`, "> 1m0s  published     out/0@0"},
		},
		{
			"not none before", orders("total"), func(k *actortest.Kit) { k.Topic("out").ExpectNone(0) },
			[]string{`nothing at topic "out" for 0s`},
		},
		{"several", orders("total"), func(k *actortest.Kit) {
			if all := k.Topic("out").Receive(2); string(all[1].Value.(brokers.Message).Payload) != "raw" {
				panic(fmt.Sprint(all))
			}
		}, nil},
		{
			"fewer", orders("total"), func(k *actortest.Kit) { k.Topic("out").Within(time.Minute).Receive(3) },
			[]string{`expected: 3 at topic "out"`, "got: 2 within 1m0s"},
		},
	})
}

// CloudEvents name their types elsewhere than in the header "type".
func TestOtherCodecs(t *testing.T) {
	for _, codec := range []actors.CloudEvents{{Source: "/test"}, {Source: "/test", Structured: true}} {
		got := failure(t, func(t actortest.TB) {
			kit := actortest.New(t, actors.Subscription{
				Codec: codec,
				Actor: actors.Shared(actors.HandlerFunc(func(ctx *actors.Context) error { return ctx.Publish("out", Total{7}) })),
			})
			kit.Publish("k", Total{3})
			kit.ExpectPublished("in", Total{3})
			kit.ExpectPublished("out", Total{7})
			kit.Publish("k", Total{4})
			kit.ExpectPublished("out", OrderPlaced{})
		})
		mustFail(t, got, "is a TotalChanged")
	}
}
