package sagas

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/troupe-go/troupe/brokers"
)

// fill sets each field of a struct, so that one that is added is not forgotten by
// what encodes it.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case time.Time:
			f.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5+i, 6000, time.UTC)))
		case brokers.Headers:
			f.Set(reflect.ValueOf(brokers.Headers{{Key: "traceparent", Value: []byte("00-1")}}))
		case []Outcome:
			f.Set(reflect.ValueOf([]Outcome{Done, Untouched, Intended}))
		case json.RawMessage:
			f.Set(reflect.ValueOf(json.RawMessage(`{"a":"<b>"}`)))
		default:
			switch f.Kind() {
			case reflect.Struct:
				fill(t, f)
			case reflect.String:
				f.SetString("text " + v.Type().Field(i).Name)
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Int, reflect.Int64:
				f.SetInt(int64(7 + i))
			case reflect.Uint8, reflect.Uint64:
				f.SetUint(uint64(i + 1))
			default:
				t.Fatalf("field %s: a test is missing for its type", v.Type().Field(i).Name)
			}
		}
	}
}

func decoded[V any](t interface{ Fatalf(string, ...any) }, data []byte) (v V) {
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return v
}

// What is stored is read as it was, with all of its fields and with none.
func TestEncode(t *testing.T) {
	for name, full := range map[string]bool{"full": true, "zero": false} {
		t.Run(name, func(t *testing.T) {
			var e Entry
			in := Instance[json.RawMessage]{State: json.RawMessage(`null`)}
			if full {
				fill(t, reflect.ValueOf(&e).Elem())
				fill(t, reflect.ValueOf(&in).Elem())
			}
			log, err := EncodeLog([]Entry{e, e})
			if err != nil || !reflect.DeepEqual(decoded[[]Entry](t, log), []Entry{e, e}) {
				t.Errorf("%+v became %s, %v", e, log, err)
			}
			data, err := in.encode()
			if err != nil || !reflect.DeepEqual(decoded[Instance[any]](t, data), decoded[Instance[any]](t, must(json.Marshal(in)))) {
				t.Errorf("%+v became %s, %v", in, data, err)
			}
		})
	}
}

func must(data []byte, _ error) []byte { return data }

// Any text is read as encoding/json would have written it.
func TestEncodeTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Entry{Step: rapid.String().Draw(t, "step"), Reason: string(rapid.SliceOf(rapid.Byte()).Draw(t, "reason"))}
		in := Instance[string]{ID: e.Reason, Cancelled: e.Step, State: e.Reason}
		log, err := EncodeLog([]Entry{e})
		if err != nil || !reflect.DeepEqual(decoded[[]Entry](t, log), decoded[[]Entry](t, must(json.Marshal([]Entry{e})))) {
			t.Fatalf("%+v became %s, %v", e, log, err)
		}
		data, err := in.encode()
		if err != nil || !reflect.DeepEqual(decoded[Instance[string]](t, data), decoded[Instance[string]](t, must(json.Marshal(in)))) {
			t.Fatalf("%+v became %s, %v", in, data, err)
		}
	})
}

// A time that JSON has no form of is refused.
func TestEncodeTime(t *testing.T) {
	late := time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, err := EncodeLog([]Entry{{At: late}}); err == nil {
		t.Error("the log took the year 10,000")
	}
	in := Instance[int]{Began: late}
	if _, err := in.encode(); err == nil {
		t.Error("the instance took the year 10,000")
	}
}

func BenchmarkEncode(b *testing.B) {
	now := time.Now()
	in := Instance[struct{ N int }]{
		ID: "order-7", Definition: "checkout", Version: 1, Status: Running, Outcomes: []Outcome{Done, Intended, 0},
		Work: Work{Step: 1, Attempt: 1, Since: now, Awaiting: true}, Token: 2, Began: now,
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := in.encode(); err != nil {
			b.Fatal(err)
		}
	}
}
