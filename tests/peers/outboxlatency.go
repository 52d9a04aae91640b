package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
)

const (
	latencyRate = 1000 // transactions a second
	foreignTime = 4 * time.Second
)

// latencyTable is how long it takes from a commit to the publication, alone and
// beside a transaction of somebody else that has written and stays open.
func (d *database) latencyTable(o *options) (table, error) {
	t := table{Title: fmt.Sprintf("Commit to publish, PostgreSQL, %d transactions a second", latencyRate)}
	for _, foreign := range []bool{false, true} {
		n := o.messages(8 * latencyRate)
		all, err := d.latencies(n, foreign)
		if err != nil {
			return table{}, err
		}
		name := "alone"
		if foreign {
			name = fmt.Sprintf("beside a foreign transaction of %v", foreignTime)
		}
		t.Notes = append(t.Notes, fmt.Sprintf("%s: p50 %v, p99 %v, at most %v, of %d, from the call of commit on", name,
			percentile(all, 50).Round(10*time.Microsecond), percentile(all, 99).Round(10*time.Microsecond), percentile(all, 100).Round(10*time.Microsecond), n))
	}
	return t, d.clear()
}

// latencies measures n transactions.
func (d *database) latencies(n int, foreign bool) (all []time.Duration, err error) {
	var mu sync.Mutex
	committing := make(map[string]time.Time, n)
	c := newCountdown(n, nil)
	broker := newNowhere(func(m *brokers.Message) {
		mu.Lock()
		all = append(all, time.Since(committing[m.ID]))
		mu.Unlock()
		c.handled()
	})
	defer func() { err = errors.Join(err, broker.Close()) }()
	relay, err := outbox.NewRelay(outbox.Config{Source: d.store.Shards()[0], Broker: broker})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-ended) }()
	if foreign {
		began := make(chan error, 1)
		over := make(chan error, 1)
		go func() { over <- d.stayOpen(ctx, began) }()
		if err := <-began; err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, <-over) }()
	}
	err = paced(n, latencyRate, func(i int) error {
		m := d.message(i)
		return d.store.InTx(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, updateAccount, i%rowKeys); err != nil {
				return err
			}
			if err := d.store.Append(ctx, tx, m); err != nil {
				return err
			}
			mu.Lock()
			committing[m.ID] = time.Now()
			mu.Unlock()
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return all, c.await()
}

// stayOpen has a transaction with an id be open for a while.
func (d *database) stayOpen(ctx context.Context, began chan<- error) error {
	tx, err := d.pool.Begin(ctx)
	if err == nil {
		_, err = tx.Exec(ctx, `SELECT pg_current_xact_id()`)
	}
	began <- err
	if err != nil {
		return nil // it was told
	}
	_, err = tx.Exec(ctx, `SELECT pg_sleep($1)`, foreignTime.Seconds())
	return errors.Join(err, tx.Commit(ctx))
}

// paced makes n calls, so many a second, in as many goroutines as there are
// connections.
func paced(n, rate int, call func(i int) error) error {
	began := time.Now()
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range n {
			if due := time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))); due > 0 {
				time.Sleep(due)
			}
			next <- i
		}
	}()
	var callers sync.WaitGroup
	failed := make(chan error, n)
	for range connections {
		callers.Go(func() {
			for i := range next {
				if err := call(i); err != nil {
					failed <- err
				}
			}
		})
	}
	callers.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}
