// Command deadletters looks after a topic of dead letters.
//
//	deadletters -broker nats://host -topic ledger.dead list -error "nothing to undo"
//	deadletters -broker nats://host -topic ledger.dead show -at 0/17
//	deadletters -broker nats://host -topic ledger.dead replay -key 12346 -dry-run
//	deadletters -broker nats://host -topic ledger.dead replay -key 12346 -rate 10
//	deadletters -broker nats://host -topic ledger.dead discard -reason void
//
// A letter is gone once its replay is confirmed and stored, or when it is
// discarded. Nobody else can have the letters while the command runs.
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

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/kafka"
	"github.com/troupe-go/troupe/brokers/nats"
	"github.com/troupe-go/troupe/brokers/nats/embedded"
	"github.com/troupe-go/troupe/brokers/rabbitmq"
	"github.com/troupe-go/troupe/supervision/deadletters"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // also if a letter was held
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr)) //nolint:gocritic // the process ends here
}

func drivers() []brokers.Driver {
	return []brokers.Driver{nats.Driver, embedded.Driver, kafka.Driver, rabbitmq.Driver}
}

// run is the command with its surroundings. It returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	tell := log.New(stderr, "deadletters: ", 0)
	o, err := parseOptions(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		tell.Print(err)
		return exitUsage
	}
	if err := do(ctx, o, stdout); err != nil {
		tell.Print(err)
		return exitFailed
	}
	return exitOK
}

func do(ctx context.Context, o *options, stdout io.Writer) (err error) {
	broker, err := brokers.Open(ctx, o.broker, drivers()...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	desk, err := deadletters.Open(ctx, deadletters.Config{Broker: broker, Topic: o.topic, Group: o.group, Limit: o.limit, Quiet: o.quiet})
	if err != nil {
		return err
	}
	defer func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, desk.Close(limit))
	}()
	switch o.command {
	case "list":
		return list(desk.Letters(o.filter), stdout)
	case "show":
		return show(desk.Letters(o.filter), stdout)
	case "discard":
		report, err := desk.Discard(o.filter, o.replay.DryRun)
		return errors.Join(err, tellOf(report, stdout))
	}
	report, err := desk.Replay(ctx, o.filter, o.replay)
	return errors.Join(err, tellOf(report, stdout))
}

func list(letters []deadletters.Letter, to io.Writer) error {
	for _, l := range letters {
		cause := l.ErrorMessage
		if l.Err != nil {
			cause = l.Err.Error()
		}
		_, err := fmt.Fprintf(to, "%d/%d\t%s\t%s\t%q\t%d attempts\t%s\t%s\n", l.Partition, l.Offset, l.LastFailure.Format(time.RFC3339),
			l.Original.Topic, l.Original.Key, l.Attempts, l.ErrorType, cause)
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(to, "%d letters\n", len(letters))
	return err
}

// shown is a letter as JSON.
type shown struct {
	At         string
	Letter     any
	Topic      string
	Key        string
	ID         string
	Time       time.Time
	Headers    []string
	Payload    string
	Unreadable string `json:",omitempty"`
}

func show(letters []deadletters.Letter, to io.Writer) error {
	encoder := json.NewEncoder(to)
	encoder.SetIndent("", "  ")
	for _, l := range letters {
		m := &l.Original
		s := shown{
			At: fmt.Sprintf("%d/%d", l.Partition, l.Offset), Letter: l.Letter,
			Topic: m.Topic, Key: string(m.Key), ID: m.ID, Time: m.Time, Payload: string(m.Payload),
		}
		for _, h := range m.Headers {
			s.Headers = append(s.Headers, fmt.Sprintf("%s: %q", h.Key, h.Value))
		}
		if l.Err != nil {
			s.Unreadable = l.Err.Error()
		}
		if err := encoder.Encode(s); err != nil {
			return err
		}
	}
	return nil
}

// tellOf prints a report. Letters that were held are an error.
func tellOf(r deadletters.Report, to io.Writer) error {
	_, err := fmt.Fprintln(to, r)
	for _, h := range r.Held {
		err = errors.Join(err, fmt.Errorf("letter %d/%d stays: %w", h.Letter.Partition, h.Letter.Offset, h.Err))
	}
	return err
}
