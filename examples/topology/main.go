// Command topology has a topic exchange of RabbitMQ give orders to queues by
// region, and shows what becomes of those that die: one that its handler refuses,
// and one that nobody fetches in time.
//
//	topology -broker amqp://host -plan
//	topology -broker amqp://host
//	topology -broker 'amqp://host?name=shop' -prefix test
//
// It needs a RabbitMQ: exchanges and queues of this kind are its own.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
)

func main() {
	dsn := flag.String("broker", "", "DSN of a RabbitMQ")
	prefix := flag.String("prefix", "shop", "what the names of exchanges and queues begin with")
	plan := flag.Bool("plan", false, "say what would be made, and do nothing")
	flag.Parse()
	if *dsn == "" {
		log.Fatal("topology needs a RabbitMQ: -broker amqp://user@host?password_env=AMQP_PASSWORD")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dsn, *prefix, *plan, os.Stdout); err != nil {
		stop()
		log.Fatal(err) //nolint:gocritic // stop was called
	}
}

func run(ctx context.Context, dsn, prefix string, planOnly bool, out io.Writer) (err error) {
	parsed, err := brokers.ParseDSN(dsn)
	if err != nil {
		return err
	}
	cfg, err := rabbitmq.ConfigFrom(parsed)
	if err != nil {
		return err
	}
	s := newShop(prefix)
	cfg.Queues = s.queues()
	broker, err := rabbitmq.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	plan, err := broker.PlanTopology(ctx, s.topology())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(out, plan); err != nil || planOnly {
		return err
	}
	if _, err := broker.ApplyTopology(ctx, s.topology(), rabbitmq.TopologyDeclare); err != nil {
		return err
	}
	return s.work(ctx, broker, out)
}
