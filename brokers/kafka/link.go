package kafka

import (
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
)

// link is what is known of the connection to the cluster: whether it can be
// reached, and since when. It logs each change once.
type link struct {
	log *zap.Logger

	mu    sync.Mutex
	up    bool
	since time.Time
	err   error
}

func newLink(log *zap.Logger) *link { return &link{log: log, up: true, since: time.Now()} }

// note says that the cluster answered, or why not.
func (l *link) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	up := err == nil
	l.err = err
	if l.up == up {
		return
	}
	was := time.Since(l.since)
	l.up, l.since = up, time.Now()
	if up {
		l.log.Info("kafka: connection restored", zap.Duration("after", was))
		return
	}
	l.log.Warn("kafka: connection lost", zap.Error(err))
}

// state returns what Health reports.
func (l *link) state() (up bool, since time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up, l.since, l.err
}

// watch keeps a connection to the cluster, to see when it is lost, and refreshes
// the metadata. It returns when the client is closed.
func (b *Broker) watch() {
	failures := 0
	for b.client.ctx.Err() == nil {
		err := b.watchOne(&failures)
		if b.client.ctx.Err() == nil {
			b.link.note(err)
			b.client.pause(b.client.ctx, failures)
			failures++
		}
	}
}

// watchOne watches one connection. It returns when the cluster cannot be reached
// by it. A connection that only ends, as a node is stopped, is made up for by
// another before that is said.
func (b *Broker) watchOne(failures *int) error {
	home, err := b.client.connect(b.client.ctx, anyNode)
	if err != nil {
		return err
	}
	defer b.client.drop(home)
	refresh := time.NewTicker(b.client.cfg.MetadataInterval)
	defer refresh.Stop()
	for {
		if err := b.client.metadata.refreshOn(b.client.ctx, home); err != nil {
			return err
		}
		*failures = 0
		b.link.note(nil)
		select {
		case <-refresh.C:
		case <-home.done:
			return b.reachable(home.failed())
		}
	}
}

// reachable returns nil if the cluster answers though a connection was lost.
func (b *Broker) reachable(lost error) error {
	if errs := b.client.metadata.refresh(b.client.ctx); errs[""] != nil {
		return errors.Join(lost, errs[""])
	}
	return nil
}
