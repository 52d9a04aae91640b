package brokertest_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/brokers"
	"github.com/troupe-go/troupe/brokers/brokertest"
	"github.com/troupe-go/troupe/brokers/memory"
)

// mutantEnv names the mutation that TestSubject is to run the suite on, in a
// process that TestMutants started.
const mutantEnv = "BROKERTEST_MUTANT"

// TestMutants has the suite fail on each broken driver, in the test that is
// meant for what is broken.
func TestMutants(t *testing.T) {
	if os.Getenv(mutantEnv) != "" {
		t.Skip("a mutant's process")
	}
	for _, m := range mutations {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			out, err := runSuite(t, m.name, m.test)
			if err == nil {
				t.Fatalf("the suite passed a driver that %s:\n%s", m.name, out)
			}
			if !strings.Contains(out, "--- FAIL: TestSubject/") || !strings.Contains(out, "/"+m.test+" (") {
				t.Fatalf("%s did not fail:\n%s", m.test, out)
			}
			says := func(part string) bool { return strings.Contains(out, part) }
			if !slices.ContainsFunc(strings.Split(m.says, "|"), says) {
				t.Errorf("%s failed, but did not say %q:\n%s", m.test, m.says, out)
			}
		})
	}
}

// runSuite runs one test of the suite on a mutant in a process of its own.
func runSuite(t *testing.T, mutant, test string) (output string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pattern := "-test.run=^TestSubject$/" + pathOf(test)
	cmd := exec.CommandContext(t.Context(), self, pattern, "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), mutantEnv+"="+mutant)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// pathOf is the pattern that selects one test: those that run alone are not
// under All.
func pathOf(test string) string {
	path := "^" + strings.ReplaceAll(test, "/", "$/^") + "$"
	if test == "Close/Goroutines" {
		return path
	}
	return "^All$/" + path
}

// TestSubject runs the suite on the mutant that TestMutants named, or on the
// driver as it is, under the same short waits.
func TestSubject(t *testing.T) {
	subject := mutation{}
	for _, m := range mutations {
		if m.name == os.Getenv(mutantEnv) {
			subject = m
		}
	}
	brokertest.Run(t, harness(subject))
}

func harness(m mutation) brokertest.Harness {
	server := memory.New(m.cfg).Server()
	h := brokertest.Harness{
		Open: func(context.Context) (brokers.Broker, error) {
			return newMutant(server.Connect(), m.hooks), nil
		},
		CreatesTopics: true,
		Wait:          1500 * time.Millisecond,
		Quiet:         50 * time.Millisecond,
		BalanceWithin: time.Second,
		Kill:          func(b brokers.Broker) error { b.(*mutant).Disconnect(); return nil },
		Disconnect: func(b brokers.Broker) (func() error, error) {
			b.(*mutant).Disconnect()
			return func() error { b.(*mutant).Reconnect(); return nil }, nil
		},
	}
	if m.cfg.MaxMessageBytes > 0 {
		h.RefusedBytes = m.cfg.MaxMessageBytes + 1
	}
	return h
}
