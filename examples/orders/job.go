package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/troupe-go/troupe/actors"
	"github.com/troupe-go/troupe/brokers"
)

// errInterrupted says that the work was told to end before it was done.
var errInterrupted = errors.New("interrupted")

// job is one run: a stream of lines, and two groups that read it.
type job struct {
	options   options
	input     input
	broker    brokers.Broker
	vault     *vault // nil: in this process's memory
	accounts  *book[account]
	customers *book[customer]
	progress  *progress
}

func newJob(o options, in input, broker brokers.Broker) *job {
	j := &job{
		options: o, input: in, broker: broker,
		accounts: newBook(newAccount), customers: newBook(newCustomer),
		progress: newProgress(rand.Text()[:8], in.rows, ledgerGroup, returnsGroup),
	}
	j.progress.prefix = o.prefix
	return j
}

// ensureTopics makes the topics where they are missing. The dead letters are
// kept for a group that reads them later.
func (j *job) ensureTopics(ctx context.Context) error {
	prefix := j.options.prefix
	topics := []brokers.TopicConfig{
		{Name: prefix + linesTopic, Partitions: j.options.partitions, Groups: []string{prefix + ledgerGroup, prefix + returnsGroup}},
		{Name: prefix + ledgerDead, Partitions: 1, Groups: []string{prefix + "review"}},
		{Name: prefix + returnsDead, Partitions: 1, Groups: []string{prefix + "review"}},
	}
	if j.vault != nil {
		topics = append(topics, brokers.TopicConfig{Name: prefix + ordersTopic, Partitions: 1, Groups: []string{prefix + "shipping"}})
	}
	for _, topic := range topics {
		if err := j.broker.EnsureTopic(ctx, topic); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) system(logger *zap.Logger) (*actors.System, error) {
	if j.vault != nil {
		return j.vault.system(j, logger)
	}
	through := []actors.Middleware{j.progress.middleware}
	if j.options.faults > 0 {
		through = append(through, flaky(j.options.faults, j.options.seed))
	}
	prefix := j.options.prefix
	topics := []string{prefix + linesTopic}
	return actors.NewSystem(
		actors.Config{Logger: logger, Observe: j.progress.observe},
		actors.Subscription{
			Group: prefix + ledgerGroup, Broker: j.broker, Topics: topics, Middleware: through,
			Actor: newLedger(j.accounts), Policy: ledgerPolicy(prefix),
		},
		actors.Subscription{
			Group: prefix + returnsGroup, Broker: j.broker, Topics: topics, Middleware: through,
			Actor: newReturns(j.customers), Policy: returnsPolicy(prefix),
		},
	)
}

// work publishes the lines and handles them, until both groups have decided
// every one or ctx ends; then it drains. It tells every second how far it has come. The report is true in each case.
func (j *job) work(ctx context.Context, logger *zap.Logger, tell *log.Logger) (actors.Report, error) {
	if err := j.ensureTopics(ctx); err != nil {
		return actors.Report{}, err
	}
	system, err := j.system(logger)
	if err != nil {
		return actors.Report{}, err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var published error
	var beside sync.WaitGroup
	sent := make(chan struct{})
	beside.Go(func() {
		defer close(sent)
		if published = j.publish(running); published != nil {
			stop()
		}
	})
	beside.Go(func() {
		defer stop()
		j.await(running, sent, tell)
	})
	var stored error
	if j.vault != nil {
		beside.Go(func() {
			if stored = j.vault.work(running, j); stored != nil {
				stop()
			}
		})
	}
	report, err := system.Run(running)
	stop()
	beside.Wait()
	return report, j.outcome(errors.Join(err, stored), published)
}

// await returns when the work is done or ctx ends. A confirmation can come later
// than the message.
func (j *job) await(ctx context.Context, sent <-chan struct{}, tell *log.Logger) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-second.C:
			tell.Print(j.progress)
		case <-j.progress.done:
			select {
			case <-sent:
			case <-ctx.Done():
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

// outcome is what the user needs to know of how the work ended. That it was
// cancelled is the consequence of something else.
func (j *job) outcome(run, published error) error {
	if errors.Is(published, context.Canceled) {
		published = nil
	}
	if err := errors.Join(run, published); err != nil {
		return err
	}
	if !j.progress.finished() {
		return fmt.Errorf("%w: %v", errInterrupted, j.progress)
	}
	return nil
}
