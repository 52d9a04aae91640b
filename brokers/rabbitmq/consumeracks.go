package rabbitmq

import (
	"slices"

	"github.com/troupe-go/troupe/brokers/internal/offsets"
)

// acks are what was settled of the messages of one channel, whose delivery tags
// are 1, 2, 3 and so on. The server closes a channel that acknowledges what is
// not outstanding, and takes an acknowledgement of many only if its own tag is.
type acks struct {
	fetched int64       // the last tag that may be acknowledged
	upTo    int64       // all up to here is settled
	sent    int64       // and all up to here is acknowledged
	singles offsets.Set // above sent: those that are acknowledged
	due     offsets.Set // above upTo: those that are settled, and not in singles
	refuse  []int64     // in singles: those that are to be rejected
}

// settle notes what was settled, and what of that is to be rejected. Tags that were
// not fetched are passed over.
func (a *acks) settle(upTo int64, above, rejected []int64) {
	for _, tag := range rejected {
		if tag > a.sent && tag <= a.fetched && !a.singles.Has(tag) {
			a.singles.Add(tag)
			a.due.Remove(tag)
			a.refuse = append(a.refuse, tag)
		}
	}
	a.upTo = max(a.upTo, min(upTo, a.fetched))
	a.due.Cut(a.upTo + 1)
	for _, tag := range above {
		if tag > a.upTo && tag <= a.fetched && !a.singles.Has(tag) {
			a.due.Add(tag)
		}
	}
}

// pending is how many messages are settled and not acknowledged, or more.
func (a *acks) pending() int { return int(a.upTo-a.sent) + a.due.Len() + len(a.refuse) }

// verdicts are what the server is to be told, in this order.
type verdicts struct {
	rejected []int64
	multiple int64   // all that is outstanding up to here is acknowledged, if it is not 0
	single   []int64 // acknowledged, above that
}

// plan returns what the server is to be told now, and then counts as told.
func (a *acks) plan() (v verdicts) {
	v.rejected, a.refuse = a.refuse, nil
	for tag := a.upTo; tag > a.sent; tag-- {
		if !a.singles.Has(tag) {
			v.multiple = tag
			break
		}
	}
	v.single = slices.Collect(a.due.All())
	for _, tag := range v.single {
		a.due.Remove(tag)
		a.singles.Add(tag)
	}
	a.sent = a.singles.Gap(a.upTo+1) - 1
	a.upTo = a.sent
	a.singles.Cut(a.sent + 1)
	return v
}
