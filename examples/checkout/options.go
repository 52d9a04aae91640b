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
	invoices   int
	json       bool
	timeline   string
	broker     string
	store      string
	prefix     string
	journal    string
	partitions int
}

// parseOptions reads the arguments. It has told of the error that it returns.
func parseOptions(args []string, tell *log.Logger) (o options, err error) {
	flags := flag.NewFlagSet("checkout", flag.ContinueOnError)
	flags.SetOutput(tell.Writer())
	flags.StringVar(&o.data, "data", "", "read this `file`, .csv or .csv.gz; without it invoices are generated")
	flags.Uint64Var(&o.seed, "seed", 1, "of the generated invoices")
	flags.IntVar(&o.invoices, "invoices", 1000, "how many to generate")
	flags.BoolVar(&o.json, "json", false, "print the totals as one JSON object, and nothing else, to stdout")
	flags.StringVar(&o.timeline, "timeline", "", "print that of this `order`; without it, of the first one that was cancelled")
	flags.StringVar(&o.broker, "broker", "", "`DSN` of the broker; without it JetStream in this process, in a temporary directory")
	flags.StringVar(&o.store, "store", "", "a `file` for SQLite, or postgres://...; without it SQLite in a temporary directory")
	flags.StringVar(&o.prefix, "prefix", "checkout.", "of the names of topics and groups")
	flags.StringVar(&o.journal, "journal", "", "append to this `file` what happens to sagas, a line each")
	flags.IntVar(&o.partitions, "partitions", 4, "of the topics")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if err := o.check(flags); err != nil {
		tell.Printf("checkout: %v", err)
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
	case given["data"] && given["invoices"]:
		return errors.New("-invoices is for generated ones, and -data names a file")
	case o.invoices < 0:
		return fmt.Errorf("-invoices %d is negative", o.invoices)
	case o.partitions < 1:
		return fmt.Errorf("-partitions %d is less than 1", o.partitions)
	}
	return nil
}
