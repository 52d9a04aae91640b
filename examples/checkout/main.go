// Command checkout takes a web shop's orders by sagas.
//
//	go run ./examples/checkout
//
// An order reserves stock, is charged, is packed, and is shipped when the season
// ends. Each of these is a command to a participant, which replies: the stock, the
// payments and the warehouse, each a group of durable actors, with an actor for
// each order. A cancellation that undoes the last of an order has the warehouse
// refuse to ship it, and the saga goes back: the charge is refunded, and the stock
// released. What undoes a part of an order, or of none, is booked without a saga.
//
// The input is the Online Retail data set (-data), or generated invoices. The broker
// is JetStream within this process and the store is SQLite, in a temporary directory,
// unless -broker and -store name others. If those stay, a run that was killed, at
// whatever point, can be followed by another one that ends its work.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal ends the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command with its surroundings. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stderr = zapcore.Lock(zapcore.AddSync(stderr))
	tell := log.New(stderr, "", 0)
	o, err := parseOptions(args, tell)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	if err := do(ctx, o, stdout, tell); err != nil {
		tell.Printf("checkout: %v", err)
		return exitFailed
	}
	return exitOK
}

// do runs the shop. Its totals go to stdout, and all else to tell.
func do(ctx context.Context, o options, stdout io.Writer, tell *log.Logger) (err error) {
	invoices, err := openInvoices(o)
	if err != nil {
		return err
	}
	s, err := openShop(ctx, o, invoices, newLogger(tell.Writer()))
	if err != nil {
		return err
	}
	begun := time.Now()
	tell.Printf("%d invoices, to the %s broker", len(invoices), s.broker.Name())
	t, err := s.work(ctx, tell)
	if err == nil {
		tell.Printf("%d orders in %v", t.orders(), time.Since(begun).Round(time.Millisecond))
		err = s.print(ctx, t, stdout)
	}
	return errors.Join(err, s.close())
}

// print writes the totals, and for people the timeline of an order.
func (s *shop) print(ctx context.Context, t *totals, stdout io.Writer) error {
	if s.options.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(t.named())
	}
	order := s.options.timeline
	if order == "" {
		order = t.example
	}
	if order == "" {
		_, err := io.WriteString(stdout, t.text())
		return err
	}
	timeline, err := s.timeline(ctx, order)
	if err != nil {
		return fmt.Errorf("order %q: %w", order, err)
	}
	_, err = io.WriteString(stdout, t.text()+"\n"+timeline)
	return err
}

// newLogger writes warnings and errors, one of a kind in a minute.
func newLogger(w io.Writer) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	core := zapcore.NewCore(encoder, zapcore.AddSync(w), zapcore.WarnLevel)
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0))
}
