package chaos

import "time"

// Outcome is what a publisher knows of a message.
type Outcome string

// The outcomes. A message that was refused counts as not sent.
const (
	Confirmed Outcome = "confirmed"
	Unknown   Outcome = "unknown"
	NotSent   Outcome = "not sent"
)

// History is what happened in a run.
type History struct {
	// Sent has the outcome of each key's messages, which are numbered from 0 in
	// the order of publishing.
	Sent map[string][]Outcome
	// Records are in the order in which they happened.
	Records []Record
	// Effects has the numbers of each key for which handlers have published
	// something, in the order in which the broker stored that.
	Effects map[string][]int
	// Once: they published in transactions, so that each number is there once if
	// its message is settled, and else not at all.
	Once bool
}

// Fresh is the member that reads what is left at the end. It publishes nothing.
const Fresh = "fresh"

// Kind is what a Record says.
type Kind string

// The kinds of records. Each handling has a Started and then, unless its member
// dies, one of Handled, Failed and Cancelled.
const (
	Started   Kind = "started"
	Handled   Kind = "handled"
	Failed    Kind = "failed"    // by an error of its own; it is to be tried again
	Cancelled Kind = "cancelled" // its context ended

	// Acked: the runtime told the driver that all up to Offset is settled.
	Acked Kind = "acked"
	// Lost: the member was told that the epoch had ended without warning.
	Lost Kind = "lost"
	// Died: the member's process was killed. Its Time is that of the blow, and
	// what was in its hands ended then.
	Died Kind = "died"
	// Struck and Mended: from one to the other something is broken, which Note
	// names. Acknowledgements of that time may get lost.
	Struck Kind = "struck"
	Mended Kind = "mended"
)

// Record is one line of the journal.
type Record struct {
	Kind Kind `json:"kind"`
	// Time is the wall clock in nanoseconds since 1970. Only durations of
	// tenths of seconds and more are told by it; order is that of the records.
	Time int64 `json:"time"`
	// Member is who wrote it; a name is never used twice in a run.
	Member string `json:"member,omitempty"`
	// Partition and Epoch are the ownership under which it happened.
	Partition int32  `json:"partition,omitempty"`
	Epoch     uint64 `json:"epoch,omitempty"`
	// Offset, Key and Number are those of the message.
	Offset int64  `json:"offset,omitempty"`
	Key    string `json:"key,omitempty"`
	Number int    `json:"number,omitempty"`
	// Note is for people: an error, or the name of a blow.
	Note string `json:"note,omitempty"`
}

// at is the record's time.
func (r *Record) at() time.Time { return time.Unix(0, r.Time) }

// tenure is the ownership of a partition by one member for one epoch.
type tenure struct {
	member    string
	partition int32
	epoch     uint64
}

func (r *Record) tenure() tenure { return tenure{r.Member, r.Partition, r.Epoch} }
