package actortest

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"
	"testing/synctest"
)

// TB is what a kit needs of a test. *testing.T is one, and so are the T of
// property-testing libraries.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	// Fatalf does not return: it ends the goroutine.
	Fatalf(format string, args ...any)
	// Cleanup functions run in the bubble of the test, the last one first.
	Cleanup(f func())
}

// Run runs f in a bubble of virtual time, as synctest.Test does, where there is
// no *testing.T: in an Example. Its TB prints failures to standard output, where
// an Example's comparison finds them. It works in test binaries only.
func Run(f func(t TB)) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0)) // RunTests changes it for -cpu
	// The flags say how to run the tests of the package, of which this is none.
	defer setFlag("test.v", "false")()
	defer setFlag("test.run", "")()
	defer setFlag("test.skip", "")()
	defer setFlag("test.count", "1")()
	ran := false
	testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{
		Name: "Run",
		F: func(t *testing.T) {
			if !ran { // RunTests repeats for each value of -cpu
				ran = true
				synctest.Test(t, func(t *testing.T) { f(printing{t}) })
			}
		},
	}})
}

// setFlag changes a flag until restore is called.
func setFlag(name, value string) (restore func()) {
	set := func(value string) {
		if err := flag.Set(name, value); err != nil {
			panic(fmt.Sprintf("actortest: Run outside of a test binary: %v", err))
		}
	}
	old := flag.Lookup(name)
	if old == nil {
		panic("actortest: Run outside of a test binary")
	}
	was := old.Value.String()
	set(value)
	return func() { set(was) }
}

// printing is a TB that prints what fails. The test behind it always passes: the
// Example compares what was printed.
type printing struct{ t *testing.T }

func (p printing) Helper()          {}
func (p printing) Cleanup(f func()) { p.t.Cleanup(f) }

func (p printing) Errorf(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) // an Example compares what arrives
}

func (p printing) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	p.t.SkipNow()
}

// needBubble ends the test with advice if it has no virtual time.
func needBubble(t TB) {
	t.Helper()
	defer func() {
		if recover() != nil {
			t.Fatalf("actortest: no virtual time here: wrap the test in synctest.Test, or an Example in actortest.Run")
		}
	}()
	synctest.Wait()
}
