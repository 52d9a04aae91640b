package kafka

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-go/troupe/brokers"
)

// recordedAnswers are of a cluster that keeps formats 1 and 2 side by side: see
// testdata/fetched. Each letter is a message.
var recordedAnswers = map[string]string{
	"v1-v1":       "abcd",
	"v1c-v1c":     "abcd",
	"v1c-v1-v1c":  "abcdef",
	"v2b-v1":      "abab",
	"v2bc-v1":     "abcd",
	"v2bc-v1c":    "abab",
	"v2bc-v1-v1c": "abcdef",
	"v1-v1c-v2-v2c-v2b-v2b-v2b-v2bc-v1b-v1bc": "ababcdcdefefghghghgh",
}

var recordedKeys = []string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"}

// Answers that were recorded from a cluster are read from each of their offsets on.
func TestDecodeRecordedAnswers(t *testing.T) {
	for name, letters := range recordedAnswers {
		t.Run(name, func(t *testing.T) {
			const version = 10
			got, err := readFetched(recordedAnswer(t, name), version, nil)
			if err != nil || len(got) != 1 {
				t.Fatalf("%d partitions, %v; want one", len(got), err)
			}
			if got[0].code != 0 || got[0].end != int64(len(letters)) {
				t.Fatalf("code %d, end %d; want 0, %d", got[0].code, got[0].end, len(letters))
			}
			for from := range int64(len(letters)) {
				wantRecorded(t, got[0], letters, from)
			}
		})
	}
}

func recordedAnswer(t *testing.T, name string) []byte {
	t.Helper()
	digits, err := os.ReadFile(filepath.Join("testdata", "fetched", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	frame, err := hex.DecodeString(strings.TrimSpace(string(digits)))
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// wantRecorded reads what was fetched, from an offset on.
func wantRecorded(t *testing.T, fetched fetched, letters string, from int64) {
	t.Helper()
	s := fetched.segment
	if end := s.scan(from); end != int64(len(letters)) {
		t.Fatalf("its batches end at %d; want %d", end, len(letters))
	}
	d := &decoder{topic: fetched.topic, next: from, maxInflated: 1 << 12}
	d.load(s)
	for offset := from; offset < int64(len(letters)); offset++ {
		var m brokers.Message
		if ok, err := d.read(&m); !ok || err != nil {
			t.Fatalf("from %d on, at %d: %v, %v", from, offset, ok, err)
		}
		letter := letters[offset]
		key := recordedKeys[letter-'a']
		value := fmt.Sprintf(`{"count":0,"filler":"%s"}`, strings.Repeat(string(letter), 10))
		if m.Offset != offset || string(m.Key) != key || string(m.Payload) != value {
			t.Errorf("from %d on: %q, %q at %d; want %q, %q at %d", from, m.Key, m.Payload, m.Offset, key, value, offset)
		}
		if year := m.Time.UTC().Year(); year != 2021 {
			t.Errorf("message %d has time %v; all were published in 2021", offset, m.Time)
		}
	}
	var m brokers.Message
	if ok, err := d.read(&m); ok || err != nil {
		t.Errorf("behind the last: %v, %v", ok, err)
	}
}
