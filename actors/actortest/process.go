package actortest

import (
	"context"
	"errors"
	"testing/synctest"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// Stop drains the system as the end of Run's context does, and returns its
// report. It may be called again.
func (k *Kit) Stop() actors.Report {
	k.t.Helper()
	k.process.stop()
	if p := k.process; p.err != nil && !p.expected {
		p.expected = true // told once
		k.story.failed(nil, p.err.Error(), "a clean stop")
	}
	return k.process.report
}

func (p *process) stop() {
	p.cancel()
	<-p.ended
	synctest.Wait()
}

// ExpectStopped expects that a verdict stops the system.
func (k *Kit) ExpectStopped() *actors.StoppedError {
	k.t.Helper()
	end, e := take[ended](k.Scope)
	var stopped *actors.StoppedError
	if e == nil || !errors.As(end.err, &stopped) {
		k.story.fail(e, k.within, "the system stopped by a verdict")
	}
	k.process.expected = true
	return stopped
}

// close ends what the kit began, in the test's cleanup.
func (k *Kit) close() {
	k.process.stop()
	if err := k.process.err; err != nil && !k.process.expected {
		k.t.Errorf("actortest: the system ended with: %v", err)
	}
	k.process.disconnect(k.t)
	k.actors.Shutdown()
	pass(patience) // for handlers that ignore their context: a bubble waits for all, but not for time
}

// disconnect ends the process's connection.
func (p *process) disconnect(t TB) {
	if err := p.broker.Close(); err != nil {
		t.Errorf("actortest: close the connection: %v", err)
	}
}

// Crash ends the process without a drain, as the broker sees it, and starts
// another: what was not acknowledged is delivered again, and no key has state.
// Handlers that run are called off; their context's cause is brokers.ErrRevoked.
// One that ignores it is left behind after three virtual seconds.
//
// PIDs of keys are of the process that died: ask [Kit.PID] again. Probes and the
// test's own actors live on.
func (k *Kit) Crash() {
	k.t.Helper()
	k.story.add(entry{group: k.group, what: crashed{}})
	k.process.broker.Disconnect()
	k.process.stop() // its error says what the crash broke
	k.process.disconnect(k.t)
	k.actors.ProcessRegistry.RemoteHandlers = k.resolvers
	k.start()
}

// LosePartitions has the broker take all partitions away without a warning, as
// after a session time-out, and then give them again.
func (k *Kit) LosePartitions() {
	k.t.Helper()
	for _, m := range k.server.Members(k.group) {
		if m.Name != k.process.broker.member {
			continue
		}
		if err := k.server.Expel(k.group, m.Name); err != nil {
			k.t.Fatalf("actortest: %v", err)
		}
	}
	synctest.Wait()
}

// RebalanceAway has another member join the group and take the partition, after
// its drain; of several partitions, its even share. back lets that member leave,
// as it came: it handles nothing. Without back it leaves with the test.
func (k *Kit) RebalanceAway() (back func()) {
	k.t.Helper()
	conn := k.server.Connect()
	leave := func() {
		if err := conn.Close(); err != nil {
			k.t.Errorf("actortest: the other member: %v", err)
		}
		synctest.Wait()
	}
	k.t.Cleanup(leave)
	mode := brokers.ModeOrdered
	if k.sub.Unordered {
		mode = brokers.ModeCompeting
	}
	_, err := conn.Subscribe(context.Background(), brokers.SubscriptionConfig{
		Group: k.group, Topics: k.sub.Topics, Member: "other", Mode: mode,
	})
	if err != nil {
		k.t.Fatalf("actortest: the other member: %v", err)
	}
	synctest.Wait()
	k.server.Rebalance(k.group)
	synctest.Wait()
	return leave
}
