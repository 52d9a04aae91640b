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
}

// settle notes what was settled. Tags that were not fetched are passed over.
func (a *acks) settle(upTo int64, above []int64) {
	a.upTo = max(a.upTo, min(upTo, a.fetched))
	a.due.Cut(a.upTo + 1)
	for _, tag := range above {
		if tag > a.upTo && tag <= a.fetched && !a.singles.Has(tag) {
			a.due.Add(tag)
		}
	}
}

// pending is how many messages are settled and not acknowledged, or more.
func (a *acks) pending() int { return int(a.upTo-a.sent) + a.due.Len() }

// plan returns what is to be acknowledged now: all that is outstanding up to a
// tag, if that is not 0, and single ones above it. They then count as
// acknowledged.
func (a *acks) plan() (multiple int64, single []int64) {
	for tag := a.upTo; tag > a.sent; tag-- {
		if !a.singles.Has(tag) {
			multiple = tag
			break
		}
	}
	single = slices.Collect(a.due.All())
	for _, tag := range single {
		a.due.Remove(tag)
		a.singles.Add(tag)
	}
	a.sent = a.singles.Gap(a.upTo+1) - 1
	a.upTo = a.sent
	a.singles.Cut(a.sent + 1)
	return multiple, single
}
