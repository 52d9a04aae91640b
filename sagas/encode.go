package sagas

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// EncodeLog returns what is logged of a transition as JSON, for stores: the same as
// encoding/json makes of it, which reads it, but for fields that are zero.
func EncodeLog(log []Entry) ([]byte, error) {
	o := object{buf: make([]byte, 0, 160*len(log)+2)}
	o.buf = append(o.buf, '[')
	for i := range log {
		if i > 0 {
			o.buf = append(o.buf, ',')
		}
		e := &log[i]
		o.open()
		o.time("At", e.At)
		o.text("What", string(e.What))
		o.text("Step", e.Step)
		o.number("Verb", uint64(e.Verb))
		o.integer("Attempt", int64(e.Attempt))
		o.integer("Took", int64(e.Took))
		o.text("Reason", e.Reason)
		o.text("Who", e.Who)
		o.close()
	}
	return append(o.buf, ']'), o.err
}

// encode is the instance as JSON, without fields that are zero. Each transition is
// encoded, and encoding/json would allocate for each of its times.
func (i *Instance[S]) encode() ([]byte, error) {
	state, err := json.Marshal(i.State)
	if err != nil {
		return nil, err
	}
	o := object{buf: make([]byte, 0, 320+len(i.ID)+len(i.Definition)+len(state))}
	o.open()
	o.text("ID", i.ID)
	o.text("Definition", i.Definition)
	o.integer("Version", int64(i.Version))
	o.number("Status", uint64(i.Status))
	o.raw("State", state)
	o.outcomes("Outcomes", i.Outcomes)
	o.work("Work", &i.Work)
	o.text("Reason", i.Reason)
	o.text("Cancelled", i.Cancelled)
	o.integer("Queries", int64(i.Queries))
	o.number("Token", i.Token)
	if len(i.Trace) > 0 {
		o.value("Trace", i.Trace)
	}
	o.time("Began", i.Began)
	o.time("Deadline", i.Deadline)
	o.close()
	return o.buf, o.err
}

// object appends JSON objects, and leaves out what is zero.
type object struct {
	buf []byte
	err error
}

func (o *object) open()  { o.buf = append(o.buf, '{') }
func (o *object) close() { o.buf = append(o.buf, '}') }

func (o *object) name(name string) {
	if o.buf[len(o.buf)-1] != '{' {
		o.buf = append(o.buf, ',')
	}
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
}

func (o *object) raw(name string, data []byte) {
	o.name(name)
	o.buf = append(o.buf, data...)
}

func (o *object) value(name string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		o.err = err
		return
	}
	o.raw(name, data)
}

func (o *object) text(name, s string) {
	switch {
	case s == "":
	case !plain(s):
		o.value(name, s)
	default:
		o.name(name)
		o.buf = append(append(append(o.buf, '"'), s...), '"')
	}
}

// plain says whether a text is the same in JSON.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (o *object) integer(name string, n int64) {
	if n != 0 {
		o.name(name)
		o.buf = strconv.AppendInt(o.buf, n, 10)
	}
}

func (o *object) number(name string, n uint64) {
	if n != 0 {
		o.name(name)
		o.buf = strconv.AppendUint(o.buf, n, 10)
	}
}

func (o *object) time(name string, t time.Time) {
	if t.IsZero() {
		return
	}
	o.name(name)
	var err error
	if o.buf, err = t.AppendText(append(o.buf, '"')); err != nil {
		o.err = err
	}
	o.buf = append(o.buf, '"')
}

// outcomes are bytes, as encoding/json has them.
func (o *object) outcomes(name string, all []Outcome) {
	if all == nil {
		return
	}
	var few [32]byte
	data := few[:0]
	for _, outcome := range all {
		data = append(data, byte(outcome))
	}
	o.name(name)
	o.buf = append(base64.StdEncoding.AppendEncode(append(o.buf, '"'), data), '"')
}

func (o *object) work(name string, w *Work) {
	o.name(name)
	o.open()
	o.integer("Step", int64(w.Step))
	o.number("Verb", uint64(w.Verb))
	o.integer("Attempt", int64(w.Attempt))
	o.time("Since", w.Since)
	if w.Awaiting {
		o.raw("Awaiting", []byte("true"))
	}
	o.close()
}
