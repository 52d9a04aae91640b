package durable

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	contract "github.com/troupe-go/troupe/actors/durable"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/outbox"
	"github.com/troupe-go/troupe/outbox/postgres"
	"github.com/troupe-go/troupe/outbox/sqlite"
)

// ledger is a database of either kind, as the tests of both use it.
type ledger struct {
	contract.TxStore

	sources []outbox.Source
	inTx    func(ctx context.Context, f func(tx) error) error
	each    func(ctx context.Context, group, topic string, f func(key string, r contract.Record) error) error
	row     func(ctx context.Context, query string, to ...any) error
	exec    func(ctx context.Context, statement string) error
	listen  func(ctx context.Context) error // nil: there is nothing to listen to
	close   func() error
}

// tx is a transaction.
type tx struct {
	row    func(query string, to ...any) error // of a statement that returns one
	exec   func(statement string) error
	append func(messages ...brokers.Message) error
}

func openLedger(ctx context.Context, dsn string) (*ledger, error) {
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		s, err := sqlite.Open(ctx, path, sqlite.Config{})
		if err != nil {
			return nil, err
		}
		return &ledger{
			TxStore: s, sources: []outbox.Source{s}, each: s.Each, close: s.Close,
			exec: func(ctx context.Context, statement string) error {
				_, err := s.DB().ExecContext(ctx, statement)
				return err
			},
			row: func(ctx context.Context, query string, to ...any) error {
				return s.DB().QueryRowContext(ctx, query).Scan(to...)
			},
			inTx: func(ctx context.Context, f func(tx) error) error {
				return s.InTx(ctx, func(t *sql.Tx) error {
					return f(tx{
						row:    func(query string, to ...any) error { return t.QueryRowContext(ctx, query).Scan(to...) },
						exec:   func(statement string) error { _, err := t.ExecContext(ctx, statement); return err },
						append: func(messages ...brokers.Message) error { return s.Append(ctx, t, messages...) },
					})
				})
			},
		}, nil
	}
	s, err := postgres.Open(ctx, dsn, postgres.Config{Shards: 2, ClearAfter: 1000})
	if err != nil {
		return nil, err
	}
	l := &ledger{
		TxStore: s, each: s.Each, close: s.Close, listen: s.Listen,
		exec: func(ctx context.Context, statement string) error { _, err := s.Pool().Exec(ctx, statement); return err },
		row: func(ctx context.Context, query string, to ...any) error {
			return s.Pool().QueryRow(ctx, query).Scan(to...)
		},
		inTx: func(ctx context.Context, f func(tx) error) error {
			return s.InTx(ctx, func(t pgx.Tx) error {
				return f(tx{
					row:    func(query string, to ...any) error { return t.QueryRow(ctx, query).Scan(to...) },
					exec:   func(statement string) error { _, err := t.Exec(ctx, statement); return err },
					append: func(messages ...brokers.Message) error { return s.Append(ctx, t, messages...) },
				})
			})
		},
	}
	for _, shard := range s.Shards() {
		l.sources = append(l.sources, shard)
	}
	return l, nil
}

// relays are functions that run what publishes a ledger's messages.
func (l *ledger) relays(broker brokers.Broker, log *zap.Logger) (run []func(context.Context) error, err error) {
	for _, source := range l.sources {
		r, err := outbox.NewRelay(outbox.Config{Source: source, Broker: broker, Lease: leaseOf, Logger: log})
		if err != nil {
			return nil, err
		}
		run = append(run, r.Run)
	}
	if l.listen != nil {
		run = append(run, func(ctx context.Context) error {
			for ctx.Err() == nil {
				if err := l.listen(ctx); err != nil {
					log.Info("listening again", zap.Error(err))
				}
			}
			return nil
		})
	}
	return run, nil
}

// lag is what waits in all of a ledger's sources.
func (l *ledger) lag(ctx context.Context) (rows int64, err error) {
	for _, source := range l.sources {
		lag, err := source.Lag(ctx)
		if err != nil {
			return 0, fmt.Errorf("lag: %w", err)
		}
		rows += lag.Rows
	}
	return rows, nil
}
