package rabbitmq

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/troupe-go/troupe/brokers/internal/balance"
)

// joinDelay is how long a member that comes listens before it attaches to
// anything.
const joinDelay = 100 * time.Millisecond

// membersExchange is where the members of a group tell each other what they have.
func membersExchange(group string) string { return "troupe.members." + group }

// hear listens to the group, over each connection anew, until the subscription is
// closed. It is the connection that consumes which matters: a member without it
// owns nothing.
func (s *subscription) hear() {
	for failures := 0; s.ctx.Err() == nil; failures++ {
		notices, ch, err := s.tuneIn()
		s.tuned(err)
		if err == nil {
			failures = 0
			s.hearAll(notices)
			s.tuned(errCut)
			_ = s.b.control.release(s.life, ch)
		}
		if permanent(err) {
			s.fail(err)
		}
		s.b.control.pause(s.ctx, failures)
	}
}

// tuneIn makes a queue of this connection's own, for what the members say.
func (s *subscription) tuneIn() (notices <-chan amqp.Delivery, ch *amqp.Channel, err error) {
	conn, err := s.b.control.wait(s.ctx)
	if err != nil {
		return nil, nil, err
	}
	exchange := membersExchange(s.cfg.Group)
	ch, err = s.b.control.channel(s.ctx, conn, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclare(exchange, amqp.ExchangeFanout, false, true, false, false, nil); err != nil {
			return err
		}
		q, err := ch.QueueDeclare("", false, true, true, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeClassic})
		if err != nil {
			return err
		}
		if err := ch.QueueBind(q.Name, "", exchange, false, nil); err != nil {
			return err
		}
		notices, err = ch.Consume(q.Name, s.tag(), true, true, false, false, nil)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("rabbitmq: exchange %q: %w", exchange, err)
	}
	return notices, ch, nil
}

// tuned notes whether the group can be heard. What the others said before was
// not heard.
func (s *subscription) tuned(err error) {
	s.mu.Lock()
	s.hears = err == nil
	if s.ctx.Err() == nil {
		s.deaf = err
	}
	if s.hears {
		now := time.Now()
		s.tracker.Refresh(now)
		s.listen = now.Add(joinDelay)
		s.greet = true
	}
	s.mu.Unlock()
	signal(s.poke)
}

// hearAll takes notices until the connection is lost or the subscription closed.
func (s *subscription) hearAll(notices <-chan amqp.Delivery) {
	for {
		select {
		case d, ok := <-notices:
			if !ok {
				return
			}
			s.heard(d.Body)
		case <-s.ctx.Done():
			return
		}
	}
}

// heard takes another member's notice.
func (s *subscription) heard(body []byte) {
	var n balance.Notice
	if err := json.Unmarshal(body, &n); err != nil || n.ID == s.id || n.ID == "" {
		return // ours, or not of our kind
	}
	s.mu.Lock()
	if n.Bye {
		s.tracker.Left(n.ID)
	} else {
		s.tracker.Heard(time.Now(), n.Member())
	}
	s.asked = s.asked || n.Hello
	s.mu.Unlock()
	signal(s.poke)
}

// speak tells the group what this member has when the manager wants it, and at
// the end that it goes. It does so over the connection that publishes: the server
// blocks one that has published when it runs out of memory, and acknowledgements
// are to go on then.
func (s *subscription) speak() {
	var v voice
	for {
		select {
		case <-s.voice:
			s.say(&v, false)
		case <-s.ctx.Done():
			s.say(&v, true)
			if v.ch != nil {
				_ = s.b.publish.release(s.life, v.ch)
			}
			return
		}
	}
}

// voice is a channel to publish notices on.
type voice struct {
	conn *connection
	ch   *amqp.Channel
}

// say tells the group what this member has, or that it goes. If that is not
// possible now it is said again at the next interval.
func (s *subscription) say(v *voice, bye bool) {
	if s.b.publish.blockage() != nil || !v.open(s, bye) {
		return
	}
	s.mu.Lock()
	self, hello := s.selfLocked(), s.greet && !bye
	s.mu.Unlock()
	n := self.Notice()
	n.Hello, n.Bye = hello, bye
	body, err := json.Marshal(n)
	if err == nil {
		err = v.ch.Publish(membersExchange(s.cfg.Group), "", false, false, amqp.Publishing{Body: body})
	}
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said, s.asked = self, false
	if hello {
		s.greet = false
	}
}

// open says whether there is a channel. One that goes opens none.
func (v *voice) open(s *subscription, bye bool) bool {
	conn, _, _ := s.b.publish.state()
	if conn == nil {
		return false
	}
	if v.conn == conn && !v.ch.IsClosed() {
		return true
	}
	if bye {
		return false
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.b.cfg.RequestTimeout)
	defer cancel()
	ch, err := s.b.publish.channel(ctx, conn, func(*amqp.Channel) error { return nil })
	if err != nil {
		return false
	}
	v.conn, v.ch = conn, ch
	return true
}
