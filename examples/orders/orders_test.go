package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/memory"
	"github.com/troupe-go/troupe/supervision"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func generated(seed uint64, rows int) input {
	return input{"generated", rows, generate(seed, rows)}
}

func quiet() *log.Logger { return log.New(io.Discard, "", 0) }

func newBroker(t *testing.T, cfg memory.Config) *memory.Broker {
	t.Helper()
	broker := memory.New(cfg)
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
	})
	return broker
}

// work runs a job to its end.
func work(t *testing.T, o options, in input, broker brokers.Broker) (*job, actors.Report) {
	t.Helper()
	if o.partitions == 0 {
		o.partitions = 12
	}
	j := newJob(o, in, broker)
	report, err := j.work(t.Context(), zap.NewNop(), quiet())
	if err != nil {
		t.Fatal(err)
	}
	return j, report
}

// same compares totals by name.
func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	for name, value := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s, %q, should not be there", name, value)
		}
	}
}

func TestTotalsAreThoseOfASimpleSum(t *testing.T) {
	tests := map[string]struct {
		options options
		broker  memory.Config
		seed    uint64
		rows    int
	}{
		"plain":                     {seed: 1, rows: 10_000},
		"faults":                    {options: options{faults: 0.05, seed: 7}, seed: 2, rows: 10_000},
		"one partition":             {options: options{partitions: 1}, seed: 3, rows: 5000},
		"cumulative, faults":        {options: options{faults: 0.05}, broker: memory.Config{CumulativeOnly: true}, seed: 4, rows: 5000},
		"unsequenced":               {broker: memory.Config{Unsequenced: true}, seed: 5, rows: 5000},
		"forgets what is settled":   {broker: memory.Config{DropSettled: true}, seed: 6, rows: 5000},
		"one row":                   {seed: 7, rows: 1},
		"no row":                    {seed: 8, rows: 0},
		"more partitions than rows": {options: options{partitions: 50}, seed: 9, rows: 20},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in := generated(test.seed, test.rows)
			j, report := work(t, test.options, in, newBroker(t, test.broker))
			same(t, asPrinted(t, j.totals().named()), sum(t, in))
			if retried := report.Retried > 0; retried != (test.options.faults > 0) {
				t.Errorf("with faults %v: %v", test.options.faults, report)
			}
			if settled := report.Handled + report.DeadLettered + report.Discarded; settled != 2*int64(test.rows) || report.GivenBack != 0 {
				t.Errorf("of %d rows: %v", test.rows, report)
			}
		})
	}
}

// The data set is not part of the project: TEST_DATA_DIR says where it is.
func TestTotalsOfTheDataSet(t *testing.T) {
	tests := []struct {
		part   string
		faults float64
	}{
		{"_2010-12", 0},
		{"_2010-12", 0.01},
		{"", 0.01},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("online_retail%s, faults %v", test.part, test.faults), func(t *testing.T) {
			if test.part == "" && os.Getenv("TEST_FULL_DATA") != "1" && os.Getenv("CI") != "true" {
				t.Skip("takes long: set TEST_FULL_DATA=1")
			}
			in, want := dataSet(t, test.part)
			j, report := work(t, options{faults: test.faults}, in, newBroker(t, memory.Config{DropSettled: true}))
			same(t, asPrinted(t, j.totals().named()), want)
			t.Log(report)
		})
	}
}

// dataSet opens a part of the data set, and reads those of its totals that the
// program must find.
func dataSet(t *testing.T, part string) (input, map[string]string) {
	t.Helper()
	dir := os.Getenv("TEST_DATA_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			t.Skip("no data set: set TEST_DATA_DIR to the folder of online_retail.csv.gz")
		}
	}
	in, err := openFile(filepath.Join(dir, "online_retail"+part+".csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "totals"+part+".tsv"))
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if found(name) {
			want[name] = value
		}
	}
	return in, want
}

// found says whether a name of the data set's totals is one that the program
// finds.
func found(name string) bool {
	for _, prefix := range []string{"revenue_mils.month.", "revenue_mils.customer.", "cancel.", "orders."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return name == "rows" || name == "revenue_mils" || name == "order_digest.customer"
}

// at returns the input with f called before the given row is yielded.
func (in input) at(row int, f func()) input {
	lines := in.lines
	in.lines = func(yield func(line, error) bool) {
		for l, err := range lines {
			if l.Row == row {
				f()
			}
			if !yield(l, err) {
				return
			}
		}
	}
	return in
}

// A member that is thrown out loses its acknowledgements: what it has handled is
// delivered again, and counts once.
func TestRowsThatComeAgainCountOnce(t *testing.T) {
	const rows = 10_000
	synctest.Test(t, func(t *testing.T) {
		broker := newBroker(t, memory.Config{})
		server := broker.Server()
		release := server.HoldAcks()
		in := generated(1, rows).at(rows/2, func() {
			synctest.Wait() // until all that was published is handled
			for _, group := range []string{ledgerGroup, returnsGroup} {
				if err := server.Expel(group, server.Members(group)[0].Name); err != nil {
					t.Error(err)
				}
			}
			release()
		}).at(rows*3/4, func() {
			server.Rebalance(ledgerGroup)
			server.Rebalance(returnsGroup)
		})
		j, report := work(t, options{faults: 0.01}, in, broker)
		same(t, asPrinted(t, j.totals().named()), sum(t, generated(1, rows)))
		if again := report.Handled + report.Discarded + report.DeadLettered - 2*rows; again < rows/2 {
			t.Errorf("%d came again: %v", again, report)
		}
	})
}

// What an interrupted run has left behind is not the next one's, whose rows a
// broker that drops repeated ids must not take for repeats either.
func TestRunsOnOneBroker(t *testing.T) {
	const rows = 5000
	synctest.Test(t, func(t *testing.T) {
		broker := newBroker(t, memory.Config{DedupWindow: time.Hour})
		release := broker.Server().HoldDelivery()
		ctx, interrupt := context.WithCancel(t.Context())
		in := generated(1, rows).at(rows/2, func() {
			synctest.Wait()
			interrupt()
		})
		j := newJob(options{partitions: 12}, in, broker)
		report, err := j.work(ctx, zap.NewNop(), quiet())
		if !errors.Is(err, errInterrupted) || report.Handled != 0 {
			t.Fatalf("%v, %v", report, err)
		}
		release()

		in = generated(1, rows)
		j, report = work(t, options{}, in, broker)
		same(t, asPrinted(t, j.totals().named()), sum(t, in))
		if left := report.Handled + report.Discarded + report.DeadLettered - 2*rows; left != 2*(rows/2-1) {
			t.Errorf("%d of the first run: %v", left, report)
		}
	})
}

func TestInterruptedWorkIsDrained(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	in := generated(1, 10_000).at(5000, interrupt)
	j := newJob(options{partitions: 12}, in, newBroker(t, memory.Config{}))
	report, err := j.work(ctx, zap.NewNop(), quiet())
	if !errors.Is(err, errInterrupted) || !strings.Contains(err.Error(), "of 10000 rows") {
		t.Errorf("error %v", err)
	}
	if decided := report.Handled + report.DeadLettered + report.Discarded; decided == 2*10_000 {
		t.Errorf("all was done: %v", report)
	}
}

func TestRowsThatCannotBePublished(t *testing.T) {
	refused := errors.New("disk full")
	tests := map[string]struct {
		in   input
		want string
	}{
		"refused by the broker":   {generated(1, 1000), "publish row 500: "},
		"a row less than counted": {input{"shop.csv", 401, generate(1, 400)}, "shop.csv: had 401 rows"},
		"a row more than counted": {input{"shop.csv", 399, generate(1, 400)}, "shop.csv: had 399 rows"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			broker := newBroker(t, memory.Config{})
			broker.Server().OnPublish(func(m brokers.Message) error {
				if strings.HasSuffix(m.ID, "/500") {
					return refused
				}
				return nil
			})
			j := newJob(options{partitions: 12}, test.in, broker)
			_, err := j.work(t.Context(), zap.NewNop(), quiet())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q in it", err, test.want)
			}
		})
	}
}

// A field that cannot be read costs its row only, which the ledger keeps with
// the reason.
func TestBadRowsAreDeadLettered(t *testing.T) {
	good := line{1, "536365", "22423", "CAKE STAND", "2", "2010-12-01 08:26:00", "12.75", "17850", "France"}
	lines := []line{good}
	for i, spoil := range []func(l *line){
		func(l *line) { l.Quantity = "two" },
		func(l *line) { l.Price = "1.2345" },
		func(l *line) { l.Time = "1/12/2010" },
	} {
		l := good
		l.Row = i + 2
		spoil(&l)
		lines = append(lines, l)
	}
	broker := newBroker(t, memory.Config{})
	j, report := work(t, options{}, inputOf(lines...), broker)
	if got := j.totals(); got.revenue != 25_500 || got.orders != 1 {
		t.Errorf("revenue %v, %d orders", got.revenue, got.orders)
	}
	if got := report.Groups[returnsGroup]; got.Discarded != 3 {
		t.Errorf("returns: %v", got)
	}
	reasons := []string{
		`bad line: row 2, invoice "536365", Quantity: `,
		`bad line: row 3, invoice "536365", UnitPrice: "1.2345" `,
		`bad line: row 4, invoice "536365", InvoiceDate: `,
	}
	letters := broker.Server().Messages(ledgerDead)
	if len(letters) != len(reasons) {
		t.Fatalf("%d dead letters", len(letters))
	}
	for i := range letters {
		_, letter, err := supervision.Decode(&letters[i])
		if err != nil || !strings.HasPrefix(letter.ErrorMessage, reasons[i]) || letter.Attempts != 1 {
			t.Errorf("%v: %+v", err, letter)
		}
	}
}

func TestUnmatchedCancellationsAreDeadLettered(t *testing.T) {
	broker := newBroker(t, memory.Config{})
	j, _ := work(t, options{}, inputOf(
		line{1, "536365", "22423", "", "5", "2010-12-01 08:26:00", "12.75", "17850", ""},
		line{2, "C536366", "22423", "", "-7", "2010-12-01 08:27:00", "12.75", "17850", ""},
		line{3, "C536367", "22423", "", "-1", "2010-12-01 08:28:00", "12.75", "17850", ""},
	), broker)
	letters := broker.Server().Messages(returnsDead)
	if len(letters) != 1 {
		t.Fatalf("%d dead letters", len(letters))
	}
	original, letter, err := supervision.Decode(&letters[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `nothing to undo: row 3, invoice "C536367": customer 17850 has no open line of "22423" at 12.750`
	if letter.ErrorMessage != want || string(original.Key) != "17850" || !strings.HasSuffix(original.ID, "/3") {
		t.Errorf("%q, key %q, id %q", letter.ErrorMessage, original.Key, original.ID)
	}
	if got := j.totals(); got.partly != 1 || got.unfound != 1 || got.undone != (undone{5, 63_750}) || got.full != 1 {
		t.Errorf("%+v", got)
	}
}

func inputOf(lines ...line) input {
	return input{"lines", len(lines), func(yield func(line, error) bool) {
		for _, l := range lines {
			if !yield(l, nil) {
				return
			}
		}
	}}
}

func TestJSONIsAllThatGoesToStdout(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-rows", "2000", "-seed", "3", "-json"}, &stdout, &stderr); status != exitOK {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	same(t, decodeTotals(t, stdout.Bytes()), sum(t, generated(3, 2000)))
	if !strings.Contains(stderr.String(), "report: handled ") {
		t.Errorf("no report in %s", &stderr)
	}
}

func TestTextSaysWhatWasFound(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"-rows", "2000", "-faults", "0.1"}, &stdout, &stderr); status != exitOK {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	want := sum(t, generated(1, 2000))
	for _, text := range []string{"of 2000 rows", want["order_digest.customer"], "  2010-12 ", "  customer "} {
		if !strings.Contains(stdout.String(), text) {
			t.Errorf("no %q in\n%s", text, &stdout)
		}
	}
	for _, text := range []string{
		"ledger: 2000 rows handled", "rows dead-lettered: nothing to undo", "rows discarded: no sale",
		"4000 messages in ", "report: handled ",
	} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("no %q in\n%s", text, &stderr)
		}
	}
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.csv")
	ended, end := context.WithCancel(t.Context())
	end()
	tests := map[string]struct {
		ctx    context.Context
		args   []string
		status int
		want   string
	}{
		"unknown flag":      {t.Context(), []string{"-row", "1"}, exitUsage, "-row"},
		"unknown argument":  {t.Context(), []string{"shop.csv"}, exitUsage, `"shop.csv"`},
		"data and rows":     {t.Context(), []string{"-data", "shop.csv", "-rows", "5"}, exitUsage, "-rows"},
		"negative rows":     {t.Context(), []string{"-rows", "-1"}, exitUsage, "-rows"},
		"impossible faults": {t.Context(), []string{"-faults", "NaN"}, exitUsage, "-faults"},
		"no partition":      {t.Context(), []string{"-partitions", "0"}, exitUsage, "-partitions"},
		"help":              {t.Context(), []string{"-h"}, exitOK, "-partitions"},
		"missing file":      {t.Context(), []string{"-data", missing}, exitFailed, missing},
		"unknown broker":    {t.Context(), []string{"-broker", "carrier-pigeon://loft"}, exitFailed, "carrier-pigeon"},
		"told to end":       {ended, []string{"-rows", "10"}, exitInterrupted, "orders: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(test.ctx, test.args, &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("status %d, want %d, and %q in %s", status, test.status, test.want, &stderr)
			}
		})
	}
}
