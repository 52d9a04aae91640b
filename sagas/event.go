package sagas

import "time"

// Event is what an instance is told: [Replied], [TimerFired], [CancelAsked] or
// [OperatorActed].
type Event interface{ event() }

// Replied is the result of an action: a participant's reply, or what a [Call]
// returned.
type Replied[S any] struct {
	Reply

	// State is the one that a Call returned with Accepted; nil from others.
	State *S
}

// TimerFired is the end of a timer. One that is not the instance's latest of its
// kind changes nothing.
type TimerFired struct{ Timer Timer }

// CancelAsked wants the instance to go back.
type CancelAsked struct{ Reason string }

// OperatorActed is what a person decided about a stuck instance.
type OperatorActed struct {
	Operation Operation
	// Who, and why. Both are logged.
	Who, Reason string
}

func (Replied[S]) event()    {}
func (TimerFired) event()    {}
func (CancelAsked) event()   {}
func (OperatorActed) event() {}

// Operation is what an operator does to a stuck instance.
type Operation uint8

const (
	// Retry tries the action again, from its first attempt.
	Retry Operation = iota + 1
	// Resolve takes it as done: the step, or its compensation, was seen to
	// otherwise.
	Resolve
	// Skip takes it as not done, and to be left so: a retriable step is passed
	// over, a pivot counts as rejected, and what a compensation would have undone
	// stays.
	Skip
)

// String returns the operation in lower case.
func (o Operation) String() string {
	switch o {
	case Retry:
		return "retry"
	case Resolve:
		return "resolve"
	case Skip:
		return "skip"
	}
	return "no operation"
}

// Timer wakes an instance.
type Timer struct {
	// Token tells it from others of the instance. That of the deadline is 0.
	Token uint64
	At    time.Time
}

// Transition is what an event leads to. It is to be stored, and carried out
// after that.
type Transition[S any] struct {
	Instance Instance[S]
	// Commands are to be sent, at least once each.
	Commands []Message
	// Calls are to be made, and their results told as [Replied].
	Calls []Request
	// Timers are to be set. They replace the one before, except the deadline.
	Timers []Timer
	// Log is what happened, for people.
	Log []Entry
}

// Message is a command with what correlates its reply.
type Message struct {
	Command

	// IdempotencyKey is the same for each attempt.
	IdempotencyKey string
	Attempt        int
}

// Request is a [Call] to be made.
type Request struct {
	Step    int
	Verb    Verb
	Key     string
	Timeout time.Duration
}

// Entry is a line of an instance's timeline.
type Entry struct {
	At time.Time
	// What happened.
	What Happening
	// Step by its name; empty for what concerns the whole.
	Step    string
	Verb    Verb
	Attempt int
	// Took is the time since the first attempt of the Verb.
	Took time.Duration
	// Reason, and who gave it, if a person did.
	Reason, Who string
}

// Happening is what an [Entry] tells of.
type Happening string

// The happenings.
const (
	Started       Happening = "started"
	StepBegun     Happening = "step begun"
	StepDone      Happening = "step done"
	StepNotDone   Happening = "step rejected"
	StepSkipped   Happening = "step passed over"
	AttemptFailed Happening = "attempt failed"
	OutcomeLost   Happening = "outcome unknown"
	GoingBack     Happening = "compensating"
	StepUndone    Happening = "step undone"
	StepLeft      Happening = "compensation skipped"
	GotStuck      Happening = "stuck"
	Acted         Happening = "operator"
	CancelNoted   Happening = "cancelled"
	CancelRefused Happening = "cancel refused"
	ReplyIgnored  Happening = "reply ignored"
	AllDone       Happening = "completed"
	AllUndone     Happening = "compensated"
)
