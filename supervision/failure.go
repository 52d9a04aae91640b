package supervision

import (
	"errors"
	"time"

	"github.com/troupe-go/troupe/brokers"
)

// ErrTooManyDeliveries is the error of a message that the broker delivered
// Policy.MaxDeliveries times and that never came to a verdict: it is likely to
// end the process. It gets no retries. Look at what the message does to the
// process before replaying it.
var ErrTooManyDeliveries = errors.New("supervision: delivered too often without a verdict")

// Failure is one failed attempt to handle a message.
type Failure struct {
	// Err is what the handler returned, or a *PanicError. Never nil.
	Err error
	// Message is what was handled. Nil for messages between actors, which no
	// broker can take back.
	Message *brokers.Message
	// Attempt counts the attempts that burned, this one included: 1 is the
	// first.
	Attempt int
	// FirstAt is when the first attempt failed, At when this one did.
	FirstAt, At time.Time
	// Delivery is how often the message was delivered, this time included; 0
	// where nobody counts.
	Delivery int
	// Cancelled is the cause (context.Cause) with which the runtime ended the
	// handler's context for a drain or a revocation. Nil while the context
	// lives, and when it ended by Policy.Timeout.
	Cancelled error
}

// givenBack says whether the attempt was called off rather than failed.
func (f *Failure) givenBack() bool {
	return f.Cancelled != nil || errors.Is(f.Err, brokers.ErrRevoked)
}

// seed spreads the jitter of different messages, and is the same for every
// attempt of one.
func (f *Failure) seed() uint64 {
	m := f.Message
	if m == nil {
		return hashInt(hashStart, f.FirstAt.UnixNano())
	}
	h := hashText(hashStart, m.Topic)
	h = hashInt(h, int64(m.Partition))
	h = hashInt(h, m.Offset)
	h = hashText(h, m.ID)
	return hashText(h, m.Key)
}

// FNV-1a, written out because the same failure must hash alike in every
// process, which hash/maphash does not promise.
const (
	hashStart uint64 = 14695981039346656037
	hashPrime uint64 = 1099511628211
)

func hashText[T string | []byte](h uint64, s T) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * hashPrime
	}
	return hashInt(h, int64(len(s)))
}

func hashInt(h uint64, v int64) uint64 {
	for shift := 0; shift < 64; shift += 8 {
		h = (h ^ uint64(byte(v>>shift))) * hashPrime
	}
	return h
}
