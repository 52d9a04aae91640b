package chaos_test

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/troupe-go/troupe/tests/chaos"
)

// targets are all drivers that are tested. A member process finds its own here.
var targets = map[string]func() chaos.Target{
	"kafka":                kafkaTarget,
	"kafka transactional":  kafkaTransactional,
	"kafka3":               kafka3Target,
	"kafka3 transactional": kafka3Transactional,
	"memory":               memoryTarget,
	"memory transactional": memoryTransactional,
	"nats":                 natsTarget,
	"nats3":                nats3Target,
	"rabbitmq":             rabbitmqTarget,
	"rabbitmq4":            rabbitmq4Target,
}

func TestMain(m *testing.M) {
	if chaos.Member(targets) {
		os.Exit(0)
	}
	flag.Parse()
	// Each test waits for most of its time.
	if err := flag.Set("test.parallel", "4"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}
