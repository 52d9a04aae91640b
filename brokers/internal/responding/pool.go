// Package responding is what drivers with [brokers.Requests] share on the side of
// responders: what waits is bounded, handlers run, and what comes of them is
// answered.
package responding

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// Config is what a driver does with its requests, of type R. The functions are
// called concurrently.
type Config[R any] struct {
	brokers.RespondConfig

	// Open is a request as the handler gets it, and how long it is waited for; 0
	// if it does not say. Topic is filled in.
	Open func(R) (brokers.Message, time.Duration)
	// Reply sends an answer. If it fails, its error is sent in its place.
	Reply func(R, *brokers.Message) error
	// Refuse sends an error. That it could not be sent is the driver's to tell.
	Refuse func(R, *brokers.ReplyError)
	// Panicked is told of a handler that did, while its stack is there.
	Panicked func(v any)
}

// Pool handles the requests to one topic.
type Pool[R any] struct {
	cfg     Config[R]
	answer  brokers.AnswerFunc
	queue   chan taken[R]
	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
	end     sync.Once
	done    chan struct{}
}

type taken[R any] struct {
	request R
	at      time.Time
}

// Start returns a pool at work. Contexts of handlers end with life.
func Start[R any](life context.Context, cfg Config[R], answer brokers.AnswerFunc) *Pool[R] {
	p := &Pool[R]{cfg: cfg, answer: answer, queue: make(chan taken[R], cfg.MaxPending), done: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(life)
	for range cfg.Concurrency {
		p.workers.Go(p.work)
	}
	go func() {
		p.workers.Wait()
		p.cancel()
		close(p.done)
	}()
	return p
}

// Take queues a request, or refuses it at once. It must not be called after End.
func (p *Pool[R]) Take(request R) {
	select {
	case p.queue <- taken[R]{request, time.Now()}:
	default:
		p.refuse(request, brokers.CodeOverloaded, fmt.Sprintf("%d requests wait", p.cfg.MaxPending))
	}
}

// End says that no more come. It may be called again.
func (p *Pool[R]) End() { p.end.Do(func() { close(p.queue) }) }

// Done is closed when all that was taken before End is answered.
func (p *Pool[R]) Done() <-chan struct{} { return p.done }

// Cancel ends the contexts of handlers, and has what waits refused.
func (p *Pool[R]) Cancel() { p.cancel() }

func (p *Pool[R]) work() {
	for t := range p.queue {
		p.handle(t)
	}
}

func (p *Pool[R]) handle(t taken[R]) {
	if p.ctx.Err() != nil {
		p.refuse(t.request, brokers.CodeOverloaded, "the responder is closing")
		return
	}
	m, left := p.cfg.Open(t.request)
	if left <= 0 {
		left = brokers.DefaultRequestTimeout // of another client
	}
	ctx := within(p.ctx, t.at.Add(left))
	defer ctx.end()
	if ctx.Err() != nil {
		p.refuse(t.request, brokers.CodeDeadline, fmt.Sprintf("it waited here for %v", time.Since(t.at)))
		return
	}
	m.Topic = p.cfg.Topic
	out, err := p.call(ctx, &m)
	if err == nil {
		if out.ReplyTo = ""; out.CorrelationID == "" {
			out.CorrelationID = m.CorrelationID
		}
		err = p.cfg.Reply(t.request, &out)
	}
	if err != nil {
		e := brokers.ReplyErrorOf(err)
		p.refuse(t.request, e.Code, e.Message)
	}
}

func (p *Pool[R]) refuse(request R, code, message string) {
	if code == "" {
		code = brokers.CodeInternal
	}
	p.cfg.Refuse(request, &brokers.ReplyError{Code: code, Message: message})
}

// call is where a handler's panic ends.
func (p *Pool[R]) call(ctx context.Context, m *brokers.Message) (out brokers.Message, err error) {
	defer func() {
		if v := recover(); v != nil {
			p.cfg.Panicked(v)
			err = &brokers.ReplyError{Code: brokers.CodeInternal, Message: "the handler panicked"}
		}
	}()
	return p.answer(ctx, m)
}
