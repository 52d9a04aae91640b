package brokers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestHeaderAndMessageKey(t *testing.T) {
	m := Message{Key: []byte{}, Headers: Headers{
		{Key: "h", Value: []byte("first")},
		{Key: "h", Value: []byte("last")},
		{Key: "empty", Value: []byte{}},
		{Key: "nil"},
	}}
	for name, c := range map[string]struct {
		key  KeyFunc
		want string
		ok   bool
	}{
		"empty message key": {MessageKey, "", true},
		"last header":       {HeaderKey("h"), "last", true},
		"empty header":      {HeaderKey("empty"), "", true},
		"nil header":        {HeaderKey("nil"), "", false},
		"no header":         {HeaderKey("H"), "", false},
	} {
		if key, ok := c.key(&m); string(key) != c.want || ok != c.ok {
			t.Errorf("%s: %q, %v", name, key, ok)
		}
	}
	if _, ok := MessageKey(&Message{}); ok {
		t.Error("nil is a key")
	}
}

func TestJSONKey(t *testing.T) {
	const none = "\x00"
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct{ path, doc, want string }{
		{"id", `{"id":"x"}`, "x"},
		{"id", " {\n\t\"a\" : [1,{\"id\":2}] , \"id\" : \"x\" } ", "x"},
		{"id", `{"id":""}`, ""},
		{"id", `{"id":"a\"\\\u00e9\ud83d\ude00\n"}`, "a\"\\é😀\n"},
		{"id", "{\"id\":\"a\xffb\"}", "a\ufffdb"},
		{"id", `{"id":1}`, "1"},
		{"id", `{"id":-1.50E+2 }`, "-1.50E+2"},
		{"id", `{"id":9007199254740993}`, "9007199254740993"},
		{"id", `{"id":true}`, "true"},
		{"id", `{"id":false,"x":null}`, "false"},
		{"id", `{"id":null}`, none},
		{"id", `{"id":{}}`, none},
		{"id", `{"id":["x"]}`, none},
		{"id", `{"ID":"x"}`, none},
		{"id", `{"x":{"id":"x"}}`, none},
		{"id", `["id","x"]`, none},
		{"id", `"id"`, none},
		{"id", `17`, none},
		{"id", ``, none},
		{"id", `{"id":"x"`, none},
		{"id", `{"id":"x"}}`, none},
		{"id", `{"id":"x",}`, none},
		{"id", `{"\u0069d":"x"}`, "x"},
		{"id", `{"id":"x","id":"y"}`, "y"},
		{"id", `{"id":"x","id":null}`, none},
		{"a.b.c", `{"a":{"c":"w","b":{"b":"v","c":"x"}},"b":{"c":"y"}}`, "x"},
		{"a.b", `{"a":"b"}`, none},
		{"a.b", `{"a":[{"b":1}]}`, none},
		{"a.b", `{"a":{"b":1},"a":{}}`, none},
		{"a.b", `{"a":{"b":1},"a":2}`, none},
		{"a.b", `{"a.b":"x"}`, none},
		{"", `{"":"x"}`, "x"},
		{"id", `{"id":"x","y":` + deep(63) + `}`, "x"},
		{"id", `{"id":"x","y":` + deep(64) + `}`, none},
		{"id", deep(20_000), none},
	} {
		key, ok := JSONKey(c.path)(&Message{Payload: []byte(c.doc)})
		if want := c.want; ok != (want != none) || ok && (string(key) != want || key == nil) {
			t.Errorf("%s of %.60s: %q, %v", c.path, c.doc, key, ok)
		}
	}
}

// slowJSONKey is JSONKey by way of the whole tree.
func slowJSONKey(doc []byte, path []string) (string, bool) {
	var tree any
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil {
		return "", false
	}
	for _, name := range path {
		object, ok := tree.(map[string]any)
		if !ok {
			return "", false
		}
		tree = object[name]
	}
	switch v := tree.(type) {
	case string:
		return v, true
	case json.Number, bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

func drawJSON(t *rapid.T, depth int) any {
	most := 5
	if depth == 0 {
		most = 3
	}
	switch rapid.IntRange(0, most).Draw(t, "kind") {
	case 0:
		return rapid.String().Draw(t, "string")
	case 1:
		return json.Number(rapid.SampledFrom([]string{"0", "-1", "1.0", "2e9", "12345678901234567890"}).Draw(t, "number"))
	case 2:
		return rapid.Bool().Draw(t, "bool")
	case 3:
		return nil
	case 4:
		list := make([]any, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range list {
			list[i] = drawJSON(t, depth-1)
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 4).Draw(t, "members") {
		object[rapid.SampledFrom([]string{"a", "b", `"`, "}", ","}).Draw(t, "name")] = drawJSON(t, depth-1)
	}
	return object
}

func TestJSONKeyIsThatOfTheTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		doc, err := json.MarshalIndent(drawJSON(t, 4), "", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		if err != nil {
			t.Fatal(err)
		}
		path := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", `"`}), 1, 4).Draw(t, "path")
		want, wantOK := slowJSONKey(doc, path)
		got, ok := JSONKey(strings.Join(path, "."))(&Message{Payload: doc})
		if ok != wantOK || string(got) != want {
			t.Fatalf("%q of %s: %q, %v, want %q, %v", path, doc, got, ok, want, wantOK)
		}
	})
}

func FuzzJSONKey(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"x"},"a":1}`))
	f.Add([]byte(`{"a":{"b":"\u00e9\\"}}`))
	f.Add([]byte("{\"a\":{\"b\":\"\xff\"}}"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		got, ok := JSONKey("a.b")(&Message{Payload: doc})
		want, wantOK := slowJSONKey(doc, []string{"a", "b"})
		if !ok {
			return // too deep, or more than one document
		}
		if !wantOK || string(got) != want {
			t.Fatalf("%q, and the tree says %q, %v", got, want, wantOK)
		}
	})
}

func ExampleJSONKey() {
	m := Message{Payload: []byte(`{"customer": {"id": 17001, "name": "Ada"}}`)}
	key, ok := JSONKey("customer.id")(&m)
	fmt.Printf("%s %v\n", key, ok)
	// Output: 17001 true
}

func BenchmarkJSONKey(b *testing.B) {
	m := Message{Payload: []byte(`{"type":"OrderPlaced","order":{"lines":[{"sku":"a-1","n":2},{"sku":"b","n":1}],"total":12.5},"customer":{"id":17001,"name":"Ada"}}`)}
	key := JSONKey("customer.id")
	b.ReportAllocs()
	b.SetBytes(int64(len(m.Payload)))
	for b.Loop() {
		if _, ok := key(&m); !ok {
			b.Fatal("no key")
		}
	}
}
