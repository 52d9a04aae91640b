package chaos

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Limits are what a broker may do that is not a fault. The zero value is the
// strictest.
type Limits struct {
	// AckLag is how long acknowledgements may be on their way: a message that
	// was handled longer than this before anything was broken may not be handled
	// again. Where only a prefix is acknowledged it includes the longest time
	// for which a key holds back the others.
	AckLag time.Duration
	// Slack is how long handlers of a lost epoch may go on beside the next
	// owner's. A broker that leaves an owner time to notice its loss needs none.
	Slack time.Duration
	// Doubles: a message whose confirmation got lost may be stored twice.
	Doubles bool
}

// Verdict is what Check found.
type Verdict struct {
	// Confirmed, Unknown and NotSent count messages by what was known of them.
	Confirmed, Unknown, NotSent int
	// Handled counts messages that were handled at least once, Repeats how often
	// one was handled that had been before.
	Handled, Repeats int
	// Failed and Cancelled count handlings that ended so.
	Failed, Cancelled int
	// Tenures counts ownerships under which something was handled, Losses those
	// that ended without warning.
	Tenures, Losses int
	// Faults are broken guarantees, the first ones of each kind.
	Faults []string
	// Unsaid counts further faults.
	Unsaid int
}

// Err is nil if there are no faults.
func (v *Verdict) Err() error {
	if len(v.Faults) == 0 {
		return nil
	}
	text := strings.Join(v.Faults, "\n\t")
	if v.Unsaid > 0 {
		text += fmt.Sprintf("\n\tand %d more", v.Unsaid)
	}
	return errors.New(text)
}

// String is the verdict's counts on one line.
func (v *Verdict) String() string {
	return fmt.Sprintf("%d confirmed, %d unknown, %d not sent; %d handled, %d repeats, %d failed, %d cancelled; "+
		"%d tenures, %d lost", v.Confirmed, v.Unknown, v.NotSent, v.Handled, v.Repeats, v.Failed, v.Cancelled,
		v.Tenures, v.Losses)
}

// rule is a guarantee, as the first words of the faults against it.
type rule string

const (
	ruleLoss     rule = "lost"
	ruleOrder    rule = "reordered"
	ruleOverlap  rule = "overlap"
	ruleAck      rule = "acknowledged too soon"
	ruleRepeat   rule = "repeated"
	ruleFence    rule = "not fenced"
	ruleStranger rule = "never published"
	rulePlace    rule = "partition changed"
	ruleEffect   rule = "effects"
	ruleJournal  rule = "journal"
)

// faultsOfRule is how many faults of one rule are worth reading.
const faultsOfRule = 3

func (c *checker) fault(of rule, format string, args ...any) {
	c.faults[of]++
	if c.faults[of] > faultsOfRule {
		c.verdict.Unsaid++
		return
	}
	c.verdict.Faults = append(c.verdict.Faults, string(of)+": "+fmt.Sprintf(format, args...))
}
