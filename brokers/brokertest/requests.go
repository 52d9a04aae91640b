package brokertest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// requests is a connection's request and reply, or the test is skipped.
func (e *env) requests(b brokers.Broker) brokers.Requests {
	e.Helper()
	e.needs(e.features.RequestReply, "the broker has no request and reply")
	r, ok := b.(brokers.Requests)
	if !ok {
		e.Fatalf("Features.RequestReply of %T, which is no brokers.Requests", b)
	}
	return r
}

// respond answers requests, on a connection of its own, until the test ends.
func (e *env) respond(cfg brokers.RespondConfig, answer brokers.AnswerFunc) brokers.Responder {
	e.Helper()
	return e.respondOn(e.requests(e.open()), cfg, answer)
}

func (e *env) respondOn(by brokers.Requests, cfg brokers.RespondConfig, answer brokers.AnswerFunc) brokers.Responder {
	e.Helper()
	ctx := e.within()
	r, err := start("Respond", func() (brokers.Responder, error) { return by.Respond(ctx, cfg, answer) }).wait(e)
	e.ok(err, "Respond")
	e.Cleanup(func() {
		ctx := e.within()
		e.noErr(e.returns("Responder.Close", func() error { return r.Close(ctx) }), "Responder.Close")
	})
	return r
}

// ask sends a request, which must return within the harness's Wait.
func (e *env) ask(ctx context.Context, m brokers.Message) (brokers.Message, error) {
	e.Helper()
	by := e.requests(e.broker)
	return start("Request", func() (brokers.Message, error) { return by.Request(ctx, m) }).wait(e)
}

// echo answers with what was asked.
func echo(_ context.Context, m *brokers.Message) (brokers.Message, error) {
	return brokers.Message{Payload: m.Payload}, nil
}

func (e *env) lasting(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	e.Cleanup(cancel)
	return ctx
}

// Key, payload, headers and correlation reach the responder, and the reply's the
// asker; the time that the request has travels with it.
func requestReply(e *env) {
	topic := e.h.Name("topic") + " of.things"
	e.respond(brokers.RespondConfig{Topic: topic}, func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
		deadline, ok := ctx.Deadline()
		if left := time.Until(deadline); !ok || left > e.h.Wait || left < e.h.Wait/2 {
			e.Errorf("the handler has %v of the request's %v", left, e.h.Wait)
		}
		if m.Topic != topic || m.CorrelationID != "c-1" || m.ID != "id" || m.ContentType != "text/plain" {
			e.Errorf("the handler got %+v", m)
		}
		reply := brokers.Message{
			Payload: fmt.Appendf(nil, "%s of %s in %s", m.Payload, m.Key, m.Headers.Text("unit")),
			Headers: brokers.Headers{{Key: "as-of", Value: []byte("now")}},
		}
		if m.Headers.Text("own") != "" {
			reply.CorrelationID = "c-2"
		}
		return reply, nil
	})
	m := brokers.Message{
		Topic: topic, Key: []byte("ann"), Payload: []byte("sum"), CorrelationID: "c-1", ID: "id", ContentType: "text/plain", ReplyTo: "ignored",
		Headers: brokers.Headers{{Key: "unit", Value: []byte("pence")}},
	}
	reply, err := e.ask(e.within(), m)
	e.ok(err, "Request")
	if string(reply.Payload) != "sum of ann in pence" || reply.CorrelationID != "c-1" || reply.Headers.Text("as-of") != "now" || reply.Topic != topic {
		e.Errorf("reply %+v", reply)
	}
	m.Headers = append(m.Headers, brokers.Header{Key: "own", Value: []byte("yes")})
	reply, err = e.ask(e.within(), m)
	e.ok(err, "Request")
	if reply.CorrelationID != "c-2" {
		e.Errorf("reply with a correlation id of its own: %+v", reply)
	}
}

// A request that is nothing but a payload says how long it waits as well, be that
// more or less than what a responder assumes.
func requestTime(e *env) {
	topic, seen := e.h.Name("topic"), make(chan time.Duration, 1)
	e.respond(brokers.RespondConfig{Topic: topic}, func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
		deadline, _ := ctx.Deadline()
		seen <- time.Until(deadline)
		return brokers.Message{Payload: m.Payload}, nil
	})
	for _, waits := range []time.Duration{brokers.DefaultRequestTimeout / 2, 10 * brokers.DefaultRequestTimeout} {
		_, err := e.ask(e.lasting(waits), brokers.Message{Topic: topic, Payload: []byte("x")})
		e.ok(err, "Request")
		if left := <-seen; left > waits || left < waits/2 {
			e.Errorf("the handler has %v of the request's %v", left, waits)
		}
	}
}

// Many at a time, over one connection, each get their own reply.
func requestsTogether(e *env) {
	topic := e.h.Name("topic")
	e.respond(brokers.RespondConfig{Topic: topic}, echo)
	by, ctx := e.requests(e.broker), e.within()
	var asking sync.WaitGroup
	for i := range 100 {
		asking.Go(func() {
			want := fmt.Sprint("request ", i)
			reply, err := by.Request(ctx, brokers.Message{Topic: topic, Payload: []byte(want), CorrelationID: "the same"})
			if err != nil || string(reply.Payload) != want {
				e.Errorf("%q: reply %q, %v", want, reply.Payload, err)
			}
		})
	}
	asking.Wait()
}

// Errors travel beside the payload, with their codes.
func requestErrors(e *env) {
	topic := e.h.Name("topic")
	e.respond(brokers.RespondConfig{Topic: topic}, func(_ context.Context, m *brokers.Message) (brokers.Message, error) {
		switch string(m.Payload) {
		case "own":
			return brokers.Message{}, fmt.Errorf("ledger: %w", &brokers.ReplyError{Code: "no_account", Message: "there is no account"})
		case "panic":
			panic("secret state")
		case "late":
			return brokers.Message{}, context.DeadlineExceeded
		}
		return brokers.Message{Payload: []byte("a result with a payload that is dropped")}, errors.New("disk full")
	})
	for ask, want := range map[string]brokers.ReplyError{
		"own":   {Code: "no_account", Message: "there is no account"},
		"panic": {Code: brokers.CodeInternal, Message: "the handler panicked"},
		"late":  {Code: brokers.CodeDeadline, Message: context.DeadlineExceeded.Error()},
		"other": {Code: brokers.CodeInternal, Message: "disk full"},
	} {
		reply, err := e.ask(e.within(), brokers.Message{Topic: topic, Payload: []byte(ask)})
		var got *brokers.ReplyError
		if !errors.As(err, &got) || *got != want || reply.Payload != nil {
			e.Errorf("%s: %q, %v; want %v and no payload", ask, reply.Payload, err, want)
		}
	}
}

// A reply that the server does not take is an error to who asked.
func requestReplyTooLarge(e *env) {
	e.needs(e.h.RefusedBytes > 0, "the harness names no size that the server refuses")
	topic := e.h.Name("topic")
	e.respond(brokers.RespondConfig{Topic: topic}, func(context.Context, *brokers.Message) (brokers.Message, error) {
		return brokers.Message{Payload: make([]byte, e.h.RefusedBytes)}, nil
	})
	_, err := e.ask(e.within(), brokers.Message{Topic: topic})
	if got := (*brokers.ReplyError)(nil); !errors.As(err, &got) || got.Code != brokers.CodeInternal {
		e.Errorf("a reply over the limit: %v; want an error with %q", err, brokers.CodeInternal)
	}
	_, err = e.ask(e.within(), brokers.Message{Topic: topic, Payload: make([]byte, e.h.RefusedBytes)})
	e.is(err, brokers.ErrTooLarge, "a request over the limit")
}

// Nobody there is an error of its own, at once, before and after there was
// somebody.
func requestNoResponders(e *env) {
	topic := e.h.Name("topic")
	nobody := func(when string) {
		e.Helper()
		began := time.Now()
		_, err := e.ask(e.lasting(2*e.h.Wait), brokers.Message{Topic: topic, Payload: []byte{}})
		e.is(err, brokers.ErrNoResponders, "Request "+when)
		if took := time.Since(began); took > e.h.Wait/2 {
			e.Errorf("%s: ErrNoResponders after %v; want at once", when, took)
		}
	}
	nobody("before anybody responds")
	r := e.respond(brokers.RespondConfig{Topic: topic}, echo)
	_, err := e.ask(e.within(), brokers.Message{Topic: topic})
	e.ok(err, "Request")
	ctx := e.within()
	e.ok(e.returns("Responder.Close", func() error { return r.Close(ctx) }), "Responder.Close")
	nobody("after Close of the responder")
}

// A late reply is nobody's: not of the request that gave up, nor of the next.
func requestLate(e *env) {
	topic := e.h.Name("topic")
	release, late := make(chan struct{}), make(chan struct{})
	e.respond(brokers.RespondConfig{Topic: topic}, func(ctx context.Context, m *brokers.Message) (brokers.Message, error) {
		if string(m.Payload) == "slow" {
			<-ctx.Done()
			<-release
			defer close(late)
		}
		return brokers.Message{Payload: m.Payload}, nil
	})
	_, err := e.ask(e.quietly(), brokers.Message{Topic: topic, Payload: []byte("slow")})
	e.is(err, context.DeadlineExceeded, "Request whose reply is slow")
	close(release)
	e.happens(late, "the late reply")
	for i := range 20 {
		want := fmt.Sprint("quick ", i)
		reply, err := e.ask(e.within(), brokers.Message{Topic: topic, Payload: []byte(want)})
		if err != nil || string(reply.Payload) != want {
			e.Fatalf("%q, %v; want %q", reply.Payload, err, want)
		}
	}
}

// A request that is called off returns at once, with the cause.
func requestCancelled(e *env) {
	topic := e.h.Name("topic")
	started, release := make(chan struct{}), make(chan struct{})
	e.respond(brokers.RespondConfig{Topic: topic}, func(context.Context, *brokers.Message) (brokers.Message, error) {
		close(started)
		<-release
		return brokers.Message{}, nil
	})
	defer close(release)
	why := errors.New("nobody wants to know any more")
	ctx, cancel := context.WithCancelCause(e.within())
	by := e.requests(e.broker)
	asked := start("Request", func() (brokers.Message, error) { return by.Request(ctx, brokers.Message{Topic: topic}) })
	e.happens(started, "the handler's start")
	cancel(why)
	_, err := asked.wait(e)
	e.is(err, why, "Request that is called off")
}

// What is too much is refused at once; Close answers what was taken.
func requestOverload(e *env) {
	topic := e.h.Name("topic")
	started, release := make(chan struct{}, 3), make(chan struct{})
	r := e.respond(brokers.RespondConfig{Topic: topic, Concurrency: 1, MaxPending: 1},
		func(context.Context, *brokers.Message) (brokers.Message, error) {
			started <- struct{}{}
			<-release
			return brokers.Message{Payload: []byte("done")}, nil
		})
	by, ctx := e.requests(e.broker), e.within()
	results := make(chan error, 3)
	ask := func() {
		_, err := by.Request(ctx, brokers.Message{Topic: topic})
		results <- err
	}
	result := func() error {
		select {
		case err := <-results:
			return err
		case <-ctx.Done():
			return errors.New("brokertest: no result")
		}
	}
	go ask()
	select {
	case <-started: // one at work; of two more, one waits and one is too many
	case <-ctx.Done():
		e.Fatal("the first request was not handled")
	}
	go ask()
	go ask()
	var refused *brokers.ReplyError
	if err := result(); !errors.As(err, &refused) || refused.Code != brokers.CodeOverloaded {
		e.Errorf("%v; want code %q", err, brokers.CodeOverloaded)
	}
	closed := start("Responder.Close", func() (struct{}, error) { return struct{}{}, r.Close(ctx) })
	close(release)
	for range 2 {
		e.noErr(result(), "a request that was taken before Close")
	}
	_, err := closed.wait(e)
	e.ok(err, "Responder.Close")
}

// A handler that does not end is left behind by Close, and its context ends.
func responderCloseCancelled(e *env) {
	topic := e.h.Name("topic")
	started, ended := make(chan struct{}), make(chan struct{})
	by := e.requests(e.open())
	ctx := e.within()
	r, err := by.Respond(ctx, brokers.RespondConfig{Topic: topic}, func(ctx context.Context, _ *brokers.Message) (brokers.Message, error) {
		close(started)
		<-ctx.Done()
		close(ended)
		return brokers.Message{}, ctx.Err()
	})
	e.ok(err, "Respond")
	asker := e.requests(e.broker)
	asked := start("Request", func() (brokers.Message, error) { return asker.Request(ctx, brokers.Message{Topic: topic}) })
	e.happens(started, "the handler's start")
	quiet := e.quietly()
	e.is(e.returns("Responder.Close", func() error { return r.Close(quiet) }), context.DeadlineExceeded, "Responder.Close")
	e.happens(ended, "the end of the handler's context")
	if _, err := asked.wait(e); err == nil {
		e.Error("a handler that was called off has answered")
	}
	e.ok(e.returns("Responder.Close", func() error { return r.Close(ctx) }), "the second Responder.Close")
}

// Members of a group share the requests.
func requestGroupShares(e *env) {
	topic := e.h.Name("topic")
	var counts [2]atomic.Int32
	for i := range counts {
		e.respond(brokers.RespondConfig{Topic: topic}, func(context.Context, *brokers.Message) (brokers.Message, error) {
			counts[i].Add(1)
			return brokers.Message{}, nil
		})
	}
	for range 100 {
		_, err := e.ask(e.within(), brokers.Message{Topic: topic})
		e.ok(err, "Request")
	}
	if a, b := counts[0].Load(), counts[1].Load(); a+b != 100 || a == 0 || b == 0 {
		e.Errorf("members answered %d and %d; want 100 in all, and some each", a, b)
	}
}

// Of several groups each gets a request, and the first reply counts. Names that
// run into each other keep them apart.
func requestGroups(e *env) {
	topic := e.h.Name("topic")
	handled := make(chan string, 3)
	release := make(chan struct{})
	for _, group := range []string{"quick", "slow"} {
		e.respond(brokers.RespondConfig{Topic: topic, Group: group}, func(context.Context, *brokers.Message) (brokers.Message, error) {
			handled <- group
			if group == "slow" {
				<-release
			}
			return brokers.Message{Payload: []byte(group)}, nil
		})
	}
	e.respond(brokers.RespondConfig{Topic: topic + ".quick", Group: "x"}, echo)
	e.respond(brokers.RespondConfig{Topic: topic, Group: "quick.x"}, func(context.Context, *brokers.Message) (brokers.Message, error) {
		handled <- "quick.x"
		<-release
		return brokers.Message{}, nil
	})
	reply, err := e.ask(e.within(), brokers.Message{Topic: topic})
	e.ok(err, "Request")
	if string(reply.Payload) != "quick" {
		e.Errorf("reply %q; want that of the quick group", reply.Payload)
	}
	seen := map[string]int{}
	for ctx := e.within(); len(seen) < 3; {
		select {
		case group := <-handled:
			seen[group]++
		case <-ctx.Done():
			e.Fatalf("handled by %v; want each group once", seen)
		}
	}
	close(release)
}

func requestInvalid(e *env) {
	by, ctx := e.requests(e.broker), e.within()
	_, err := by.Request(ctx, brokers.Message{})
	e.is(err, brokers.ErrInvalid, "Request without a topic")
	for _, cfg := range []brokers.RespondConfig{{}, {Topic: "t", Concurrency: -1}, {Topic: "t", MaxPending: -1}} {
		_, err := by.Respond(ctx, cfg, echo)
		e.is(err, brokers.ErrInvalid, fmt.Sprintf("Respond with %+v", cfg))
	}
}

// Connections that are lost and come back answer again. What was asked meanwhile
// ends in time.
func requestsReconnect(e *env) {
	topic := e.h.Name("topic")
	responder := e.open()
	e.respondOn(e.requests(responder), brokers.RespondConfig{Topic: topic}, echo)
	for name, b := range map[string]brokers.Broker{"responder": responder, "asker": e.broker} {
		_, err := e.ask(e.within(), brokers.Message{Topic: topic})
		e.ok(err, "Request")
		reconnect := e.disconnect(b)
		if _, err := e.ask(e.quietly(), brokers.Message{Topic: topic}); err == nil {
			e.Errorf("a reply, while the %s has no connection", name)
		}
		e.ok(reconnect(), "reconnect")
		e.eventually("a reply after the "+name+" was cut off", func() bool {
			_, err := e.ask(e.lasting(e.h.Wait/10), brokers.Message{Topic: topic})
			return err == nil
		})
	}
}

// A broker that is closed ends what was asked by it, and asks no more.
func requestsBrokerCloses(e *env) {
	topic := e.h.Name("topic")
	started, release := make(chan struct{}), make(chan struct{})
	e.respond(brokers.RespondConfig{Topic: topic}, func(context.Context, *brokers.Message) (brokers.Message, error) {
		close(started)
		<-release
		return brokers.Message{}, nil
	})
	defer close(release)
	b := e.open()
	by, ctx := e.requests(b), e.within()
	asked := start("Request", func() (brokers.Message, error) { return by.Request(ctx, brokers.Message{Topic: topic}) })
	e.happens(started, "the handler's start")
	e.ok(e.returns("Broker.Close", b.Close), "Broker.Close")
	if _, err := asked.wait(e); err == nil {
		e.Error("a reply after Broker.Close")
	}
	_, err := by.Request(ctx, brokers.Message{Topic: topic})
	e.is(err, brokers.ErrClosed, "Request after Broker.Close")
	_, err = by.Respond(ctx, brokers.RespondConfig{Topic: topic}, echo)
	e.is(err, brokers.ErrClosed, "Respond after Broker.Close")
}
