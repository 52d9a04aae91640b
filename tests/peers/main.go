package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime/pprof"
	"slices"
	"strings"
)

func main() {
	log := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	if err := run(os.Args[1:], log); err != nil {
		log("peers: %v", err)
		os.Exit(1)
	}
}

// options are the command line's.
type options struct {
	rounds int
	scale  float64
	only   *regexp.Regexp
	log    func(string, ...any)
}

// messages scales a default number of messages.
func (o *options) messages(n int) int { return max(1, int(float64(n)*o.scale)) }

// tables are what can be measured.
var tables = []struct {
	name string
	run  func(*options) ([]table, error)
}{
	{"runtime", runtimeTables},
	{"idle", idleTables},
	{"nats", natsTables},
	{"nats-core", natsCoreTables},
	{"sqlite-append", onSQLite((*lite).appendTable)},
	{"outbox-append", onPostgres((*database).appendTable)},
	{"outbox-drain", onPostgres((*database).drainFew, (*database).drainMany)},
	{"outbox-latency", onPostgres((*database).latencyTable)},
	{"durable", onPostgres((*database).durableTable)},
	{"sqlite-durable", onSQLite((*lite).durableTable)},
	{"sagas", onPostgres(sagaTables((*database).sagaTable)...)},
	{"sqlite-sagas", onSQLite(sagaTables((*lite).sagaTable)...)},
	{"kafka-consume", onKafka((*kafkaBench).consumeLarge, (*kafkaBench).consumeSmall)},
	{"kafka-publish", onKafka((*kafkaBench).publishLarge, (*kafkaBench).publishSmall)},
	{"rabbitmq-publish", onRabbitMQ((*rabbitBench).publishQuorum, (*rabbitBench).publishClassic)},
	{"rabbitmq-consume", onRabbitMQ((*rabbitBench).consumeOrdered, (*rabbitBench).consumeQuorum, (*rabbitBench).consumeClassic)},
	{"kafka-transactions", onKafka((*kafkaBench).transactLarge, (*kafkaBench).transactSmall)},
	{"kafka-keys", onKafka((*kafkaBench).onePartitionTable, (*kafkaBench).commitTable)},
}

// errNoServer says that a table needs a server that is not there. The table is left
// out, unless REQUIRE_BROKERS is 1.
var errNoServer = errors.New("no server")

func run(args []string, log func(string, ...any)) error {
	o := &options{log: log}
	var names []string
	for _, t := range tables {
		names = append(names, t.name)
	}
	flags := flag.NewFlagSet("peers", flag.ContinueOnError)
	which := flags.String("table", strings.Join(names, ","), "which `tables`, separated by commas")
	asJSON := flags.Bool("json", false, "print JSON")
	readme := flags.String("readme", "", "put the tables into this `file`, too")
	flags.IntVar(&o.rounds, "rounds", 5, "how often each contender runs")
	flags.Float64Var(&o.scale, "scale", 1, "`factor` to the numbers of messages")
	only := flags.String("only", "", "run the contenders alone whose names match this `expression`")
	profile := flags.String("cpuprofile", "", "write a CPU profile of all that is measured to this `file`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.rounds < 1 || !(o.scale > 0) {
		return fmt.Errorf("-rounds %d and -scale %v must be positive", o.rounds, o.scale)
	}
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if *profile != "" {
		stop, err := profileTo(*profile)
		if err != nil {
			return err
		}
		defer stop()
	}
	chosen := strings.Split(*which, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no table %q; there are %s", name, strings.Join(names, ", "))
		}
	}
	var all []table
	for _, t := range tables {
		if !slices.Contains(chosen, t.name) {
			continue
		}
		made, err := t.run(o)
		if errors.Is(err, errNoServer) && os.Getenv("REQUIRE_BROKERS") != "1" {
			log("table %s is left out: %v", t.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("table %s: %w", t.name, err)
		}
		all = append(all, made...)
		if *readme == "" {
			continue
		}
		if err := writeReadme(*readme, t.name, made); err != nil {
			return err
		}
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(all)
	}
	for _, t := range all {
		fmt.Println(t.text())
	}
	return nil
}

// profileTo profiles until stop.
func profileTo(path string) (stop func(), err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		if err := f.Close(); err != nil {
			fmt.Fprintf(os.Stderr, "peers: -cpuprofile: %v\n", err)
		}
	}, nil
}
