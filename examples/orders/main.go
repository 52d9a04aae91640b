// Command orders is troupe's main job: it books a web shop's invoice lines.
//
//	go run ./examples/orders
//
// Every line is published under its customer, and two groups read the one
// stream, with an actor for each customer. The ledger books revenue. Returns
// finds what each cancellation undoes: what undoes nothing becomes a dead
// letter, and what is no sale is discarded, by rules of a supervision policy.
// With -faults some attempts fail and are made again; no total changes.
//
// The input is the Online Retail data set (-data), or a generated stream of the
// same shape. The broker is JetStream within this process, or what -broker
// names. If that keeps its messages, a run that was killed can be followed by
// another on them: what the first had published is decided, and not counted. With
// -store the totals are kept in a database, by durable actors, and the next run on
// it goes on where the one before was killed; each order is an event, published by
// a relay. On SIGINT or SIGTERM the work is drained and reported; a second one ends
// the process.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/troupe-go/troupe/actors"
)

// The exit statuses.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells have it for SIGINT
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal ends the process
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run is the command with its surroundings. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stderr = zapcore.Lock(zapcore.AddSync(stderr)) // progress and log share it
	tell := log.New(stderr, "", 0)
	o, err := parseOptions(args, tell)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	err = do(ctx, o, stdout, tell)
	if err != nil {
		tell.Printf("orders: %v", err)
	}
	switch {
	case errors.Is(err, errInterrupted), ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case err != nil:
		return exitFailed
	}
	return exitOK
}

// do runs the job. Its totals go to stdout, and all else to tell.
func do(ctx context.Context, o options, stdout io.Writer, tell *log.Logger) error {
	in, err := openInput(o)
	if err != nil {
		return err
	}
	journal, err := openJournal(o.journal)
	if err != nil {
		return err
	}
	broker, err := openBroker(ctx, o.broker)
	if err != nil {
		return errors.Join(err, journal.close())
	}
	tell.Printf("%s: %d rows, to the %s broker", in.name, in.rows, broker.Name())
	j := newJob(o, in, broker)
	j.progress.journal = journal
	if j.vault, err = openVault(ctx, j); err != nil {
		return errors.Join(err, broker.Close(), journal.close())
	}
	begun := time.Now()
	report, err := j.work(ctx, newLogger(tell.Writer()), tell)
	tell.Print(j.summary(report, time.Since(begun)))
	if err == nil {
		err = j.print(context.WithoutCancel(ctx), stdout)
	}
	return errors.Join(err, j.vault.close(), broker.Close(), journal.close())
}

// print writes the totals.
func (j *job) print(ctx context.Context, stdout io.Writer) error {
	t, err := j.totals(ctx)
	if err != nil {
		return err
	}
	if !j.options.json {
		_, err := io.WriteString(stdout, t.text())
		return err
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(t.named())
}

// summary says what became of the rows, and the messages that they were.
func (j *job) summary(report actors.Report, took time.Duration) string {
	var b strings.Builder
	b.WriteString(j.progress.verdicts())
	decided := j.progress.decided()
	fmt.Fprintf(&b, "%d messages in %v, %.0f a second\n", decided, took.Round(time.Millisecond), float64(decided)/took.Seconds())
	fmt.Fprintf(&b, "report: %v\n", report)
	for _, group := range slices.Sorted(maps.Keys(report.Groups)) {
		fmt.Fprintf(&b, "  %s: %v\n", group, report.Groups[group])
	}
	return b.String()
}

// newLogger writes warnings and errors, one of a kind in a minute: each dead
// letter is a warning, and progress must still be seen.
func newLogger(w io.Writer) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	core := zapcore.NewCore(encoder, zapcore.AddSync(w), zapcore.WarnLevel)
	return zap.New(zapcore.NewSamplerWithOptions(core, time.Minute, 1, 0))
}
