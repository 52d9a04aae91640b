package durable

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	contract "github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
)

// settle ends the writers, and waits until everything they did has arrived.
func (b *bank) settle() {
	for _, p := range b.processes[:writers] {
		b.kill(p)
	}
	b.foreign.Wait()
	ctx, cancel := context.WithTimeout(b.t.Context(), 3*time.Minute)
	defer cancel()
	for {
		entries, kept, lag, err := b.progress(ctx)
		if err == nil && entries == kept && lag == 0 {
			b.t.Logf("%d entries, through %v", entries, b.blows)
			return
		}
		if pause(ctx, 100*time.Millisecond); ctx.Err() != nil {
			for _, p := range b.processes[writers:] {
				b.t.Logf("%s %d: %s", p.role.Name, p.role.Number, &p.out)
			}
			b.t.Fatalf("%d entries, %d in the statements, %d in the outbox, %v", entries, kept, lag, err)
		}
	}
}

// progress is how many entries were made, how many the statements have, and how many
// wait to be published.
func (b *bank) progress(ctx context.Context) (entries, kept, lag int64, err error) {
	if err = b.ledger.row(ctx, `SELECT sum(n) FROM accounts`, &entries); err != nil {
		return
	}
	err = b.ledger.each(ctx, b.role.Group, b.role.Topic, func(_ string, r contract.Record) error {
		var s statement
		err := json.Unmarshal(r.State, &s)
		kept += int64(s.N)
		return err
	})
	if err == nil {
		lag, err = b.ledger.lag(ctx)
	}
	return
}

// check compares accounts, statements and what was published.
func (b *bank) check() {
	ctx, cancel := context.WithTimeout(b.t.Context(), 2*time.Minute)
	defer cancel()
	b.ended = append(b.ended, b.entries())
	var total int64
	for id := range accounts {
		var cents int64
		var n int
		b.must(b.ledger.row(ctx, fmt.Sprintf(`SELECT cents, n FROM accounts WHERE id = %d`, id), &cents, &n))
		total += cents
		record, err := b.ledger.Load(ctx, contract.Scope{Group: b.role.Group, Topic: b.role.Topic}, fmt.Sprint(id))
		b.must(err)
		s := newStatement("")
		if record.Revision > 0 {
			b.must(json.Unmarshal(record.State, s))
		}
		if s.Cents != cents || s.N != n || len(s.Faults) > 0 {
			b.t.Errorf("account %d has %d cents after %d entries, and its statement %d after %d; %q", id, cents, n, s.Cents, s.N, s.Faults)
		}
	}
	if total != accounts*opening {
		b.t.Errorf("there are %d cents, and there were %d", total, accounts*opening)
	}
	b.checkTopic(ctx)
}

// checkTopic reads the topic from its beginning: every entry is there, each account's
// are in order, and what is there twice has the same id.
func (b *bank) checkTopic(ctx context.Context) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	sub, err := b.broker.Subscribe(ctx, brokers.SubscriptionConfig{Group: b.role.Group + "-audit", Topics: []string{b.role.Topic}})
	b.must(err)
	arrived := make(chan brokers.Message)
	var reading sync.WaitGroup
	for range 4 {
		reading.Go(func() {
			for {
				part, err := sub.Accept(ctx)
				if err != nil {
					return // it is over
				}
				for {
					batch, err := part.Fetch(ctx, brokers.FetchLimit{Messages: 500})
					if err != nil {
						break
					}
					for _, m := range batch {
						select {
						case arrived <- m:
						case <-ctx.Done():
							return
						}
					}
					if len(batch) > 0 { // there would be no more
						err = part.Ack(brokers.Ack{UpTo: batch[len(batch)-1].Offset})
					}
					if err != nil {
						break
					}
				}
			}
		})
	}
	left, repeats := 0, 0
	for era := range b.ended {
		for key, n := range b.ended[era] {
			left += n - b.began[era][key]
		}
	}
	if left == 0 {
		b.t.Error("nothing was done")
	}
	seen, last, eras := make(map[string]bool), make(map[string]int), make(map[string]int)
	for left > 0 {
		select {
		case m := <-arrived:
			var e entry
			b.must(json.Unmarshal(m.Payload, &e))
			key := string(m.Key)
			if m.ID != e.id(b.role.Topic) {
				b.t.Errorf("%s has the id %q", e.id(b.role.Topic), m.ID)
			}
			if seen[m.ID] {
				repeats++
				continue
			}
			if e.Era > eras[key] { // it goes on from the backup
				eras[key], last[key] = e.Era, b.began[e.Era][key]
			}
			if e.N != last[key]+1 || e.Era != eras[key] {
				b.t.Errorf("account %s: entry %d of era %d after %d of era %d on the topic", key, e.N, e.Era, last[key], eras[key])
			}
			seen[m.ID], last[key] = true, e.N
			left--
		case <-ctx.Done():
			b.t.Fatalf("%d entries are not on the topic", left)
		}
	}
	b.t.Logf("%d entries on the topic, and %d repeats", len(seen), repeats)
	done()
	_ = sub.Close(ctx) // it is told not to wait
	reading.Wait()
}
