package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/troupe-go/troupe/supervision/deadletters"
)

// options are the command line's.
type options struct {
	broker, topic, group string
	limit                int
	quiet                time.Duration
	command              string
	filter               deadletters.Filter
	replay               deadletters.Options
}

var commands = []string{"list", "show", "replay", "discard"}

func parseOptions(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("deadletters", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.broker, "broker", "", "`DSN` of the broker")
	flags.StringVar(&o.topic, "topic", "", "of the dead letters")
	flags.StringVar(&o.group, "group", "deadletters", "that reads them; its acknowledgements are the marks")
	flags.IntVar(&o.limit, "limit", 10_000, "how many letters of a partition to look at")
	flags.DurationVar(&o.quiet, "quiet", 2*time.Second, "after how long without a letter there are no more")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	o.command = flags.Arg(0)
	switch {
	case o.broker == "":
		return nil, errors.New("-broker is required")
	case o.topic == "":
		return nil, errors.New("-topic is required")
	case !slices.Contains(commands, o.command):
		return nil, fmt.Errorf("command %q is none of %s", o.command, strings.Join(commands, ", "))
	}
	return o, o.parseCommand(flags.Args()[1:], stderr)
}

// parseCommand reads what follows the command.
func (o *options) parseCommand(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("deadletters "+o.command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	f := &o.filter
	flags.StringVar(&f.Topic, "from", "", "only of messages from this `topic`")
	key := flags.String("key", "", "only of this key")
	flags.StringVar(&f.Reason, "reason", "", "only with this `text` in the reason")
	flags.StringVar(&f.Error, "error", "", "only with this `text` in the error")
	flags.StringVar(&f.ErrorType, "error-type", "", "only with this `text` in the error's Go type")
	flags.Func("since", "only of failures since this `time` (RFC 3339)", readTime(&f.Since))
	flags.Func("until", "only of failures before this `time` (RFC 3339)", readTime(&f.Until))
	at := flags.String("at", "", "only the letter at this `partition/offset`")
	if o.command == "replay" {
		flags.StringVar(&o.replay.To, "to", "", "replay to this `topic` rather than where the message came from")
		flags.Float64Var(&o.replay.Rate, "rate", 0, "letters a second at the most; 0 is no limit")
		flags.IntVar(&o.replay.MaxReplays, "max-replays", 3, "hold messages that were replayed so often; negative is no limit")
		flags.BoolVar(&o.replay.NewTime, "new-time", false, "have the broker stamp the replays")
	}
	if o.command == "replay" || o.command == "discard" {
		flags.BoolVar(&o.replay.DryRun, "dry-run", false, "only say what would be done")
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	flags.Visit(func(given *flag.Flag) {
		if given.Name == "key" {
			f.Key = []byte(*key)
		}
	})
	if *at == "" {
		return nil
	}
	f.At = &deadletters.Place{}
	if n, err := fmt.Sscanf(*at, "%d/%d", &f.At.Partition, &f.At.Offset); n != 2 {
		return fmt.Errorf("-at %q is not partition/offset: %w", *at, err)
	}
	return nil
}

func readTime(into *time.Time) func(string) error {
	return func(text string) (err error) {
		*into, err = time.Parse(time.RFC3339, text)
		return err
	}
}
