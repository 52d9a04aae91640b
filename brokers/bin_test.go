package brokers

import (
	"bytes"
	"encoding/base64"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func drawBytes(t *rapid.T, label string) []byte {
	if rapid.Bool().Draw(t, label+" is nil") {
		return nil
	}
	return rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, label)
}

func drawHeaders(t *rapid.T, label string) Headers {
	var hs Headers
	for range rapid.IntRange(0, 6).Draw(t, label) {
		hs = append(hs, Header{
			Key:   rapid.SampledFrom([]string{"", "a", "b", "A", "tab\t", "line\r\nbreak", "\xff"}).Draw(t, "name"),
			Value: drawBytes(t, "value"),
			Kind:  Kind(rapid.IntRange(0, int(KindTime)).Draw(t, "kind")),
		})
	}
	return hs
}

func TestBinRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Message{Key: drawBytes(t, "key"), Payload: drawBytes(t, "payload"), Headers: drawHeaders(t, "headers")}
		native := drawHeaders(t, "native")
		text := EncodeBin(native, &m)

		// A broker returns the keys in any order, and nil as empty.
		back := native.Clone()
		rand.Shuffle(len(back), func(i, j int) {
			if back[i].Key != back[j].Key {
				back[i], back[j] = back[j], back[i]
			}
		})
		sameOrderOfEachKey(native, back)
		got := Message{Payload: m.Payload, Headers: back}
		if len(m.Payload) == 0 {
			got.Payload = []byte{}
		}
		ok, err := DecodeBin(text, back, &got)
		if !ok || err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%v, %v: got %#v, want %#v", ok, err, got, m)
		}
	})
}

// sameOrderOfEachKey gives each key of back its values in the order of native.
func sameOrderOfEachKey(native, back Headers) {
	next := map[string]int{}
	for i := range back {
		key := back[i].Key
		for native[next[key]].Key != key {
			next[key]++
		}
		back[i].Value = bytes.Clone(native[next[key]].Value)
		next[key]++
	}
}

func TestBinYieldsToWhatSomebodyChanged(t *testing.T) {
	native := Headers{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b"}}
	m := Message{Key: []byte("k"), Headers: Headers{{Key: "x\n", Value: []byte("y")}}}
	text := EncodeBin(native, &m)
	for name, changed := range map[string]Headers{
		"value":      {{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("3")}, {Key: "b"}},
		"swapped":    {{Key: "a", Value: []byte("2")}, {Key: "a", Value: []byte("1")}, {Key: "b"}},
		"added":      {{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "b"}, {Key: "c"}},
		"removed":    {{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
		"key":        {{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "c"}},
		"other case": {{Key: "a", Value: []byte("1")}, {Key: "A", Value: []byte("2")}, {Key: "b"}},
		"moved byte": {{Key: "a1"}, {Key: "a", Value: []byte("2")}, {Key: "b"}},
	} {
		got := Message{Headers: changed, Payload: []byte("p")}
		ok, err := DecodeBin(text, changed, &got)
		if ok || err != nil || !reflect.DeepEqual(got.Headers, changed) {
			t.Errorf("%s: %v, %v, headers %v", name, ok, err, got.Headers)
		}
		if string(got.Key) != "k" || string(got.Payload) != "p" {
			t.Errorf("%s: key %q, payload %q", name, got.Key, got.Payload)
		}
	}
}

func TestBinLeavesANativeKeyAlone(t *testing.T) {
	m := Message{Key: []byte("old")}
	got := Message{Key: []byte("new")}
	if _, err := DecodeBin(EncodeBin(nil, &m), nil, &got); err != nil || string(got.Key) != "new" {
		t.Errorf("key %q, %v", got.Key, err)
	}
}

func TestBinOfTheLargestMessageCanBeRead(t *testing.T) {
	m := Message{Topic: "t", Key: make([]byte, MaxKeyBytes), Headers: make(Headers, MaxHeaders)}
	for i := range m.Headers {
		m.Headers[i].Value = make([]byte, MaxHeaderBytes/MaxHeaders)
	}
	if err := Check(&m, 0); err != nil {
		t.Fatal(err)
	}
	var got Message
	if ok, err := DecodeBin(EncodeBin(nil, &m), nil, &got); !ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestMalformedBin(t *testing.T) {
	raw := func(b ...byte) string { return base64.RawStdEncoding.EncodeToString(b) }
	sum := make([]byte, 8)
	body := func(b ...byte) string { return raw(append(append([]byte{binVersion, 0}, sum...), b...)...) }
	for name, text := range map[string]string{
		"empty":             "",
		"not base64":        "*",
		"other version":     raw(2, 0),
		"short":             raw(binVersion),
		"no key":            body(),
		"key too long":      body(5, 'k'),
		"length overflows":  body(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f),
		"too many headers":  body(0, 0xff, 0xff, 0x7f),
		"no value":          body(0, 1, 0, 0),
		"unknown kind":      body(0, 1, 9, 0, 0),
		"nil with bytes":    body(0, 1, binNil, 0, 1, 'v'),
		"more than it says": body(0, 0, 0),
		"huge":              strings.Repeat("A", maxBinText+1),
	} {
		m := Message{Key: []byte("k"), Payload: []byte{}}
		ok, err := DecodeBin(text, nil, &m)
		if ok || err == nil || string(m.Key) != "k" || m.Payload == nil || m.Headers != nil {
			t.Errorf("%s: %v, %v, %+v", name, ok, err, m)
		}
	}
}

func FuzzDecodeBin(f *testing.F) {
	f.Add("", "a", []byte("1"))
	m := Message{Key: []byte("k"), Headers: Headers{{Key: "a", Value: nil, Kind: KindInt}, {Key: "a", Value: []byte{}}}}
	f.Add(EncodeBin([]Header{{Key: "a", Value: []byte("1")}}, &m), "a", []byte("1"))
	f.Fuzz(func(t *testing.T, text, key string, value []byte) {
		native := []Header{{Key: key, Value: value}}
		var got Message
		ok, err := DecodeBin(text, native, &got)
		if err != nil && (ok || got.Headers != nil || got.Key != nil) {
			t.Fatalf("an error, and %+v", got)
		}
		if !ok {
			return
		}
		var again Message
		if ok, err := DecodeBin(EncodeBin(native, &got), native, &again); !ok || err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%v, %v: %+v, then %+v", ok, err, got, again)
		}
	})
}
