package supervision_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/supervision"
)

func TestOriginalID(t *testing.T) {
	tests := map[string]string{
		"":                        "",
		"m-1":                     "m-1",
		"m-1~replay-1":            "m-1",
		"m-1~replay-12":           "m-1",
		"m-1~replay-1~replay-2":   "m-1~replay-1",
		"~replay-1":               "",
		"m-1~replay-":             "m-1~replay-",
		"m-1~replay-0":            "m-1~replay-0",
		"m-1~replay-01":           "m-1~replay-01",
		"m-1~replay-+1":           "m-1~replay-+1",
		"m-1~replay--1":           "m-1~replay--1",
		"m-1~replay-1x":           "m-1~replay-1x",
		"m-1~replay-999999999999": "m-1~replay-999999999999",
	}
	for id, want := range tests {
		if got := supervision.OriginalID(id); got != want {
			t.Errorf("%q: got %q, want %q", id, got, want)
		}
	}
}

// deadLetter is the dead letter of the message of that id.
func deadLetter(id, group string) brokers.Message {
	m := brokers.Message{ID: id, Topic: "orders", Partition: 3}
	return supervision.Encode(&m, supervision.Letter{Group: group}, "dead")
}

func TestReplayIDs(t *testing.T) {
	longest := strings.Repeat("i", 255-len("~replay-1"))
	tests := map[string]string{
		"":             "",
		"m-1":          "m-1~replay-1",
		"m-1~replay-9": "m-1~replay-10",
		longest:        longest + "~replay-1",
		longest + "i":  longest + "i",
	}
	for id, want := range tests {
		dead := deadLetter(id, "billing")
		for range 2 {
			replay, err := supervision.Replay(&dead)
			if err != nil || replay.ID != want {
				t.Errorf("%q: got %q, %v, want %q", id, replay.ID, err, want)
			}
		}
	}
}

func TestReplaysAreCounted(t *testing.T) {
	m := brokers.Message{ID: "m-1~replay-3", Topic: "orders"}
	dead := supervision.Encode(&m, supervision.Letter{Replays: 99}, "dead")
	if _, l, err := supervision.Decode(&dead); err != nil || l.Replays != 3 {
		t.Errorf("%d replays, %v, want 3", l.Replays, err)
	}
}

func TestDeadLetterIDs(t *testing.T) {
	id := func(m brokers.Message, group string) string {
		return supervision.Encode(&m, supervision.Letter{Group: group}, "dead").ID
	}
	m := brokers.Message{ID: "m-1", Topic: "orders", Partition: 3, Offset: 7}
	again := m
	again.Offset, again.Epoch, again.DeliveryCount = 1, 2, 2
	if a, b := id(m, "billing"), id(again, "billing"); a == "" || a != b {
		t.Errorf("delivered twice: %q and %q", a, b)
	}
	if got := id(brokers.Message{Topic: "orders"}, "billing"); got != "" {
		t.Errorf("without an id: %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "ab", "a:b", "b:c", "", "c"})
		draw := func(n string) (brokers.Message, string) {
			return brokers.Message{
				ID:    "id" + part.Draw(t, "id"+n),
				Topic: part.Draw(t, "topic"+n), Partition: rapid.Int32Range(0, 2).Draw(t, "partition"+n),
			}, part.Draw(t, "group"+n)
		}
		m, group := draw("1")
		other, otherGroup := draw("2")
		same := sameMessage(m, other) && group == otherGroup
		if (id(m, group) == id(other, otherGroup)) != same {
			t.Fatalf("%+v of %q and %+v of %q: %q and %q", m, group, other, otherGroup, id(m, group), id(other, otherGroup))
		}
	})
}
