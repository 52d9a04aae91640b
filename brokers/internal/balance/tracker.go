package balance

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Member is what a member of the group says of itself, again and again.
type Member struct {
	// ID is unique in the group.
	ID string
	// Topics are those it reads.
	Topics []string
	// Owns are the slots it owns, Waits those it is attached to and would own
	// next.
	Owns, Waits []Slot
}

// Config is what a Tracker waits for.
type Config struct {
	// Self is the id of the member that decides.
	Self string
	// MemberTTL is how long a member lives on after it was last heard. It is
	// several times the interval at which members speak.
	MemberTTL time.Duration
	// FailoverAfter is how long a slot must be seen neither owned nor waited for
	// until a member that it does not fall to attaches to it.
	FailoverAfter time.Duration
}

// Tracker keeps one member's view of its group. It is not safe for concurrent
// use.
type Tracker struct {
	cfg     Config
	slots   []Slot
	self    Member
	members map[string]*live
	// bare is since when slots were seen that nobody owns or waits for.
	bare map[Slot]time.Time
}

// live is a member that was heard.
type live struct {
	Member
	heard time.Time
}

// New returns a tracker that knows of no slot and no other member.
func New(cfg Config) *Tracker {
	return &Tracker{cfg: cfg, members: map[string]*live{}, bare: map[Slot]time.Time{}}
}

// SetSlots says which slots the member's topics have.
func (t *Tracker) SetSlots(slots []Slot) { t.slots = unique(slots, Slot.Compare) }

// SetSelf says what the member itself owns and is attached to. Its ID is not
// looked at.
func (t *Tracker) SetSelf(m Member) {
	m.ID = t.cfg.Self
	t.self = m
}

// Heard notes what another member said of itself at now.
func (t *Tracker) Heard(now time.Time, m Member) {
	if m.ID != t.cfg.Self {
		t.members[m.ID] = &live{Member: m, heard: now}
	}
}

// Left notes that a member left the group.
func (t *Tracker) Left(id string) { delete(t.members, id) }

// Refresh counts all members as heard at now. A driver whose own connection was
// cut, so that it could not hear them, calls it when the connection is back.
func (t *Tracker) Refresh(now time.Time) {
	for _, m := range t.members {
		m.heard = now
	}
	clear(t.bare)
}

// Decision is what the member is to do.
type Decision struct {
	// Hold are the slots to be attached to, or to go on owning, in order. All
	// others are to be given back by drain, or not waited for any more.
	Hold []Slot
	// Again is when to decide again although nothing was heard; zero if never.
	Again time.Time
}

// Decide looks at all that was said until now.
func (t *Tracker) Decide(now time.Time) Decision {
	t.expire(now)
	heirs := t.heirs()
	d := Decision{}
	for _, m := range t.members {
		d.wake(m.heard.Add(t.cfg.MemberTTL))
	}
	for _, slot := range t.slots {
		if t.holds(now, slot, heirs[slot], &d) {
			d.Hold = append(d.Hold, slot)
		}
	}
	return d
}

// holds says whether the member is to have slot, which falls to heir.
func (t *Tracker) holds(now time.Time, slot Slot, heir string, d *Decision) bool {
	if heir == t.cfg.Self {
		delete(t.bare, slot)
		return true
	}
	owned, waited := t.seen(slot)
	switch {
	case slices.Contains(t.self.Owns, slot):
		delete(t.bare, slot)
		return !t.ready(heir, slot)
	case slices.Contains(t.self.Waits, slot):
		// Others may have come to its help as well: who gets it first has it.
		delete(t.bare, slot)
		return !owned && !t.ready(heir, slot)
	case owned || waited:
		delete(t.bare, slot)
		return false
	}
	return t.bareLong(now, slot, d)
}

// bareLong says whether nobody cared for slot for so long that this member does.
func (t *Tracker) bareLong(now time.Time, slot Slot, d *Decision) bool {
	since, seen := t.bare[slot]
	if !seen {
		since = now
		t.bare[slot] = now
	}
	due := since.Add(t.cfg.FailoverAfter)
	if now.Before(due) {
		d.wake(due)
		return false
	}
	return true
}

// seen says whether another member owns slot, or waits for it.
func (t *Tracker) seen(slot Slot) (owned, waited bool) {
	for _, m := range t.members {
		owned = owned || slices.Contains(m.Owns, slot)
		waited = waited || slices.Contains(m.Waits, slot)
	}
	return owned, waited
}

// ready says whether the heir would take slot over at once.
func (t *Tracker) ready(heir string, slot Slot) bool {
	m := t.members[heir]
	return m != nil && (slices.Contains(m.Waits, slot) || slices.Contains(m.Owns, slot))
}

func (t *Tracker) expire(now time.Time) {
	for id, m := range t.members {
		if !now.Before(m.heard.Add(t.cfg.MemberTTL)) {
			delete(t.members, id)
		}
	}
}

// heirs says to whom each slot falls. Topics that the same members read are
// shared out together, so that all of those come to the same result.
func (t *Tracker) heirs() map[Slot]string {
	type class struct {
		readers []string
		slots   []Slot
	}
	classes := map[string]*class{}
	for _, slot := range t.slots {
		readers := t.readers(slot.Topic)
		name := strings.Join(readers, "\x00")
		if classes[name] == nil {
			classes[name] = &class{readers: readers}
		}
		classes[name].slots = append(classes[name].slots, slot)
	}
	heirs := make(map[Slot]string, len(t.slots))
	for _, c := range classes {
		maps.Copy(heirs, Share(c.slots, c.readers))
	}
	return heirs
}

// readers lists the members that read a topic of t's, in order.
func (t *Tracker) readers(topic string) []string {
	ids := []string{t.cfg.Self}
	for id, m := range t.members {
		if slices.Contains(m.Topics, topic) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// wake brings Again forward.
func (d *Decision) wake(at time.Time) {
	if d.Again.IsZero() || at.Before(d.Again) {
		d.Again = at
	}
}
