package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/troupe-go/troupe/brokers"
)

var (
	// ErrFenced says that another producer has the transactional id by now, or
	// that the cluster aborted the transaction as it took longer than its
	// time-out. Nothing of it counts, and the Transactor is of no use any more.
	ErrFenced = errors.New("kafka: fenced: the transactional id has another producer")
	// ErrAbortOnly says that something in the transaction failed: the text says
	// what. It can only be aborted.
	ErrAbortOnly = errors.New("kafka: the transaction can only be aborted")
	// ErrUndecided says that Commit or Abort was called off before the cluster had
	// answered: what it was told may or may not have come through. The Transactor
	// is of no use any more; the next one of the id waits for what becomes of the
	// transaction.
	ErrUndecided = errors.New("kafka: the end of the transaction is not known")
)

// TransactorConfig is how transactions are made.
type TransactorConfig struct {
	// Timeout is when the cluster aborts a transaction that has not ended.
	// Defaults to 60 s; clusters take up to 15 min by default.
	Timeout time.Duration
	// Partitioner chooses the partition. Defaults to ByKey(MessageKey).
	Partitioner brokers.Partitioner
	// MaxMessageBytes refuses larger messages, by Message.Size. Defaults to 1 MiB.
	MaxMessageBytes int
}

// Transactor publishes in transactions, one after the other: the messages of one,
// and the offsets that were sent with it, are visible to consumers that read what
// is committed as a whole or not at all.
//
// A transaction begins with the first Publish or SendOffsets and ends with Commit
// or Abort. A Transactor of the same id, here or elsewhere, fences the one before
// it and aborts its transaction.
//
// Its methods may be called concurrently, and go one at a time.
type Transactor struct {
	c   *client
	id  string
	cfg TransactorConfig

	mu        sync.Mutex
	encoder   encoder
	producer  producer
	sequences map[place]int32
	// Of the transaction.
	enlisted map[place]bool
	groups   map[string]bool
	broken   error // why it can only be aborted
	dead     error // why the Transactor is of no use
}

// Transactor makes a producer of transactions under a transactional id. It
// returns when no transaction of that id is open any more: what a former one had
// committed counts from then on, and what it had not is aborted.
func (b *Broker) Transactor(ctx context.Context, id string, cfg TransactorConfig) (*Transactor, error) {
	switch {
	case id == "":
		return nil, fmt.Errorf("%w: the transactional id is empty", brokers.ErrInvalid)
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("%w: TransactorConfig.Timeout is negative", brokers.ErrInvalid)
	case cfg.MaxMessageBytes < 0:
		return nil, fmt.Errorf("%w: TransactorConfig.MaxMessageBytes is negative", brokers.ErrInvalid)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Partitioner == nil {
		cfg.Partitioner = brokers.ByKey(brokers.MessageKey)
	}
	t := &Transactor{
		c: b.client, id: id, cfg: cfg, producer: noProducer,
		encoder: encoder{compression: b.client.cfg.Compression},
	}
	t.reset()
	if err := t.init(ctx); err != nil {
		return nil, err
	}
	return t, nil
}

// reset forgets the transaction.
func (t *Transactor) reset() {
	t.enlisted, t.groups, t.broken = map[place]bool{}, map[string]bool{}, nil
}

// init gets a producer, or the next epoch of the one that there is.
func (t *Transactor) init(ctx context.Context) error {
	t.sequences = map[place]int32{}
	return t.ask(ctx, transactionCoordinator, t.id, func() error {
		answer, err := t.c.api().InitProducerID(ctx, &kafkago.InitProducerIDRequest{
			TransactionalID:      t.id,
			TransactionTimeoutMs: int(t.cfg.Timeout / time.Millisecond),
			ProducerID:           int(t.producer.id),
			ProducerEpoch:        int(t.producer.epoch),
		})
		if err == nil {
			err = answer.Error
		}
		if err == nil {
			t.producer = producer{int64(answer.Producer.ProducerID), int16(answer.Producer.ProducerEpoch)}
		}
		return err
	})
}

// ask calls do, which asks a coordinator, until it succeeds, or fails for a reason
// that does not pass, or ctx ends. The end of a former transaction takes but a
// moment, so that is waited for in smaller steps.
func (t *Transactor) ask(ctx context.Context, kind coordinatorKind, name string, do func() error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, t.c.cfg.RetryMax) {
		concurrent := false
		err := t.c.atCoordinator(ctx, kind, name, func() error {
			err := do()
			if concurrent = errors.Is(err, kafkago.ConcurrentTransactions); concurrent {
				return nil
			}
			return err
		})
		if !concurrent {
			return t.failure(err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), kafkago.ConcurrentTransactions)
		}
	}
}

// failure is an error of the cluster as the contract has it.
func (t *Transactor) failure(err error) error {
	if errors.Is(err, kafkago.ProducerFenced) || errors.Is(err, kafkago.InvalidProducerEpoch) {
		t.dead = fmt.Errorf("%w: %q: %w", ErrFenced, t.id, err)
		return t.dead
	}
	return err
}

// begun returns why nothing can be added to the transaction.
func (t *Transactor) begun() error {
	if t.dead != nil {
		return t.dead
	}
	return t.broken
}

// fail notes why the transaction can only be aborted.
func (t *Transactor) fail(err error) error {
	if err == nil || t.dead != nil {
		return err
	}
	t.broken = fmt.Errorf("%w: %w", ErrAbortOnly, err)
	return t.broken
}

// Commit makes all of the transaction count. It returns when the cluster has
// promised so, which consumers see a moment later. Without a transaction it does
// nothing. An error that wraps ErrAbortOnly or ErrFenced says that nothing of it
// counts.
func (t *Transactor) Commit(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.begun(); err != nil {
		return err
	}
	return t.end(ctx, true)
}

// Abort has nothing of the transaction count. Without one it does nothing.
func (t *Transactor) Abort(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dead != nil {
		return t.dead
	}
	broken := t.broken != nil
	if err := t.end(ctx, false); err != nil || !broken {
		return err
	}
	// What failed may still be on its way: a new epoch keeps it out.
	if err := t.init(ctx); err != nil && t.dead == nil {
		t.dead = fmt.Errorf("kafka: transactional id %q: %w", t.id, err)
	}
	return t.dead
}

// end ends the transaction, if the cluster knows of one.
func (t *Transactor) end(ctx context.Context, commit bool) error {
	if len(t.enlisted)+len(t.groups) == 0 {
		t.reset()
		return nil
	}
	err := t.ask(ctx, transactionCoordinator, t.id, func() error {
		answer, err := t.c.api().EndTxn(ctx, &kafkago.EndTxnRequest{
			TransactionalID: t.id, ProducerID: int(t.producer.id), ProducerEpoch: int(t.producer.epoch), Committed: commit,
		})
		if err == nil {
			err = answer.Error
		}
		return err
	})
	switch {
	case err == nil:
		t.reset()
	case t.dead == nil:
		t.dead = fmt.Errorf("%w: %q: %w", ErrUndecided, t.id, err)
	}
	return t.dead
}
