package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
)

// options are the command line's.
type options struct {
	data       string
	seed       uint64
	rows       int
	faults     float64
	json       bool
	broker     string
	journal    string
	store      string
	prefix     string
	partitions int
}

// parseOptions reads the arguments. It has told of the error that it returns.
func parseOptions(args []string, tell *log.Logger) (o options, err error) {
	flags := flag.NewFlagSet("orders", flag.ContinueOnError)
	flags.SetOutput(tell.Writer())
	flags.StringVar(&o.data, "data", "", "read this `file`, .csv or .csv.gz; without it a stream is generated")
	flags.Uint64Var(&o.seed, "seed", 1, "of the generated stream and of the faults")
	flags.IntVar(&o.rows, "rows", 100_000, "how many rows to generate")
	flags.Float64Var(&o.faults, "faults", 0, "`rate` of messages of which the first attempts fail, 0 to 1")
	flags.BoolVar(&o.json, "json", false, "print the totals as one JSON object, and nothing else, to stdout")
	flags.StringVar(&o.broker, "broker", "", "`DSN` of the broker; without it JetStream in this process, in a temporary directory")
	flags.StringVar(&o.journal, "journal", "", "append to this `file` what was confirmed and decided, row by row")
	flags.StringVar(&o.store, "store", "", "keep the totals in this `database`, sqlite:FILE or postgres://..., and go on where the last run on it ended")
	flags.StringVar(&o.prefix, "prefix", "", "put this `text` before the names of topics and groups")
	flags.IntVar(&o.partitions, "partitions", 12, "of the topic")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if err := o.check(flags); err != nil {
		tell.Printf("orders: %v", err)
		return o, err
	}
	return o, nil
}

func (o *options) check(flags *flag.FlagSet) error {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	switch {
	case flags.NArg() > 0:
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	case given["data"] && given["rows"]:
		return errors.New("-rows is for the generated stream, and -data names a file")
	case o.rows < 0:
		return fmt.Errorf("-rows %d is negative", o.rows)
	case !(o.faults >= 0 && o.faults <= 1): // nor NaN
		return fmt.Errorf("-faults %v is not within 0 and 1", o.faults)
	case o.partitions < 1:
		return fmt.Errorf("-partitions %d is less than 1", o.partitions)
	}
	return nil
}
