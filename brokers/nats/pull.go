package nats

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// pinGroup is the priority group of all consumers of this driver.
const pinGroup = "owner"

const (
	// pullExpiry is how long a pull waits at the server.
	pullExpiry = 30 * time.Second
	// unbounded is a pull's bytes where only messages count. A pull of bytes is
	// one whose end the server always tells.
	unbounded = 1 << 30
)

// pulls are a feed's requests for messages. feed.mu guards it.
type pulls struct {
	open   map[uint64]pull
	number uint64 // of the last one
	out    int    // how many messages are to come
	size   int    // how large a message is, about
	large  bool   // the next message is larger than a pull's bytes
	seen   uint64 // consumer sequence at the last beat
	due    []pullRequest
}

// pull is a request that has not ended.
type pull struct {
	messages int
	until    time.Time // when the server has forgotten it
}

// delivered counts a message that came.
func (p *pulls) delivered() {
	p.out--
	if p.out <= 0 {
		p.forget()
	}
}

// forget gives up what was asked for, as after a lost connection.
func (p *pulls) forget() {
	clear(p.open)
	p.out = 0
}

// ended forgets a pull that has left messages to come.
func (p *pulls) ended(number uint64, left int) {
	delete(p.open, number)
	p.out -= left
	if len(p.open) == 0 || p.out < 0 {
		p.forget()
	}
}

// expire gives up pulls whose end was not heard.
func (p *pulls) expire(now time.Time) {
	for number, open := range p.open {
		if now.After(open.until) {
			p.ended(number, open.messages)
		}
	}
}

// pullRequest is the body of a pull.
type pullRequest struct {
	number   uint64
	messages int
	bytes    int
	expires  time.Duration
	pin      string // empty of a member that stands by
}

// body is the request as JSON.
func (r pullRequest) body() []byte {
	b := make([]byte, 0, 144)
	b = append(b, `{"batch":`...)
	b = strconv.AppendInt(b, int64(r.messages), 10)
	b = append(b, `,"max_bytes":`...)
	b = strconv.AppendInt(b, int64(r.bytes), 10)
	b = append(b, `,"expires":`...)
	b = strconv.AppendInt(b, int64(r.expires), 10)
	b = append(b, `,"group":"`...)
	b = append(b, pinGroup...)
	if r.pin != "" {
		b = append(b, `","id":"`...)
		b = append(b, r.pin...)
	}
	return append(b, `"}`...)
}

// pull asks for messages once f.mu is released. It needs f.mu.
func (f *feed) pull(messages, bytes int, expires time.Duration) {
	p := &f.pulls
	p.number++
	p.open[p.number] = pull{messages: messages, until: time.Now().Add(expires + expires/4)}
	p.out += messages
	p.due = append(p.due, pullRequest{number: p.number, messages: messages, bytes: bytes, expires: expires, pin: f.pin})
}

// request sends a pull.
func (f *feed) request(r pullRequest) {
	err := f.nc.PublishRequest(f.lane.next, f.inbox+strconv.FormatUint(r.number, 10), r.body())
	if err != nil {
		// No connection. When it is back the pulls begin anew.
		f.mu.Lock()
		f.pulls.ended(r.number, r.messages)
		f.mu.Unlock()
	}
}

// pullOnly asks for messages where nothing else is to come in.
func (f *feed) pullOnly(messages int, expires time.Duration) {
	f.mu.Lock()
	defer f.unlock()
	f.pulls.forget()
	f.pull(messages, unbounded, expires)
}

// refill keeps up to two pulls under way while the queue is less than half full.
// It needs f.mu.
func (f *feed) refill() {
	p := &f.pulls
	messages, bytes := f.lane.window()
	for f.flowing && f.err == nil && len(p.open) < 2 && f.queue.len()+p.out <= messages/2 && f.bytes <= bytes/2 {
		room := f.room()
		if room <= 0 {
			return
		}
		if p.large {
			p.large = false
			f.pull(1, unbounded, pullExpiry)
			continue
		}
		// If messages are as large as they were, the bytes suffice.
		n := min(messages/2, bytes/2/max(p.size, 1), room)
		f.pull(max(n, 1), bytes/2, pullExpiry)
	}
}

// room is how many messages more may be asked for. Where each is acknowledged
// the server sees to it.
func (f *feed) room() int {
	if !f.lane.prefix() {
		return math.MaxInt
	}
	return f.lane.sub.cfg.MaxUnsettled - f.ledger.len() - f.queue.len() - f.pulls.out
}

// pullEnded takes a pull's end. It needs f.mu.
func (f *feed) pullEnded(name string, m *nats.Msg) {
	status, text := m.Header.Get("Status"), m.Header.Get("Description")
	number, err := strconv.ParseUint(name, 10, 64)
	if err != nil || status == "100" {
		return
	}
	if open, ok := f.pulls.open[number]; ok {
		left, err := strconv.Atoi(m.Header.Get("Nats-Pending-Messages"))
		if err != nil {
			left = open.messages // not told; one pull too many does no harm
		}
		f.pulls.large = f.pulls.large || strings.HasPrefix(text, "Message Size Exceeds") && left == open.messages
		f.pulls.ended(number, left)
	}
	switch {
	case status == "423":
		f.fail(errPinLost)
	case status == "503" || text == "Consumer Deleted":
		f.fail(errGone)
	case status == "400":
		f.fail(fmt.Errorf("%w: %s", errRefused, text))
	default: // its time is over, it has what it wanted, or the server moves
		f.refill()
	}
	f.signal()
}
