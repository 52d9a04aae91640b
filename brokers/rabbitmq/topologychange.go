package rabbitmq

import (
	"fmt"
	"strings"
)

// TopologyChange is what a server lacks of a [Topology], and has otherwise. What
// is missing was made by ApplyTopology with TopologyDeclare.
type TopologyChange struct {
	// Missing are exchanges and queues that were not there.
	Missing []Missing
	// Differences are those of exchanges and queues that were there.
	Differences []TopologyDifference
	// Bindings are all of the topology: AMQP cannot ask for one, and making one
	// that is there changes nothing.
	Bindings []string
	// Unchecked are exchanges and queues that are there, and whose arguments the
	// user has no permission to compare.
	Unchecked []string
}

// Missing is an exchange or queue that is not there.
type Missing struct {
	// What it is: "exchange" or "queue".
	What string
	Name string
	// Foreign: it is never made.
	Foreign bool
}

// TopologyDifference is an argument that is not as described.
type TopologyDifference struct {
	// What it is: "exchange" or "queue".
	What string
	Name string
	// Argument as the server calls it: one of AMQP's arguments, "type",
	// "durable", "auto_delete" or "internal".
	Argument string
	// Have is what the server has, Want what was described; "none" is without.
	Have, Want string
}

// String says it in words.
func (d TopologyDifference) String() string {
	return fmt.Sprintf("%s %q: %s is %s, want %s", d.What, d.Name, d.Argument, d.Have, d.Want)
}

// None says that exchanges and queues are as described, as far as could be asked.
func (c TopologyChange) None() bool { return len(c.Missing) == 0 && len(c.Differences) == 0 }

// String is a line for each thing that would be done or stands in the way.
func (c TopologyChange) String() string {
	var b strings.Builder
	for _, m := range c.Missing {
		if m.Foreign {
			fmt.Fprintf(&b, "cannot: foreign %s %q is missing\n", m.What, m.Name)
			continue
		}
		fmt.Fprintf(&b, "make %s %q\n", m.What, m.Name)
	}
	for _, d := range c.Differences {
		fmt.Fprintf(&b, "cannot: %s\n", d)
	}
	for _, text := range c.Bindings {
		fmt.Fprintf(&b, "ensure %s\n", text)
	}
	for _, text := range c.Unchecked {
		fmt.Fprintf(&b, "unchecked: %s\n", text)
	}
	return b.String()
}

// refuses says whether mode does not allow to bring about what is missing.
func (c TopologyChange) refuses(mode TopologyMode) bool {
	if mode == TopologyCheck {
		return !c.None()
	}
	for _, m := range c.Missing {
		if m.Foreign {
			return true
		}
	}
	return len(c.Differences) > 0
}

// TopologyMismatchError says that exchanges or queues are missing or differ, and
// that nothing could be done about it. Nothing was made.
type TopologyMismatchError struct {
	TopologyChange
}

// Error names each.
func (e *TopologyMismatchError) Error() string {
	texts := make([]string, 0, len(e.Missing)+len(e.Differences))
	for _, m := range e.Missing {
		texts = append(texts, fmt.Sprintf("%s %q is missing", m.What, m.Name))
	}
	for _, d := range e.Differences {
		texts = append(texts, d.String())
	}
	return "rabbitmq: " + strings.Join(texts, "; ")
}
