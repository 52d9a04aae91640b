package chaos

import "time"

// progress is what the journal says so far.
type progress struct {
	reader  *reader
	records []Record
	handled map[message]bool
	// fresh is when a partition last had a message handled that nobody had
	// handled before.
	fresh map[int32]int64
	// by is when a member last handled something of a partition.
	by map[owner]int64
}

// owner is a member that handles a partition.
type owner struct {
	member    string
	partition int32
}

// update reads on in the journal.
func (f *field) update() {
	f.Helper()
	records, err := f.progress.reader.read()
	f.ok(err)
	for i := range records {
		r := &records[i]
		if r.Kind != Handled {
			continue
		}
		f.by[owner{r.Member, r.Partition}] = r.Time
		if m := (message{r.Key, r.Number}); !f.handled[m] {
			f.handled[m] = true
			f.fresh[r.Partition] = r.Time
		}
	}
	f.records = append(f.records, records...)
}

// progressSince says whether every partition has had something new handled.
func (f *field) progressSince(t time.Time) bool {
	f.Helper()
	f.update()
	for id := range int32(Partitions) {
		if f.fresh[id] <= t.UnixNano() {
			return false
		}
	}
	return true
}

// allBy says whether a member has handled something of every partition since.
func (f *field) allBy(member string, t time.Time) bool {
	f.Helper()
	f.update()
	for id := range int32(Partitions) {
		if f.by[owner{member, id}] <= t.UnixNano() {
			return false
		}
	}
	return true
}

// anyBy says whether a member has handled anything.
func (f *field) anyBy(member string) bool {
	f.Helper()
	f.update()
	for at := range f.by {
		if at.member == member {
			return true
		}
	}
	return false
}

// allHandled says whether all that is confirmed has been handled.
func (f *field) allHandled() bool {
	f.Helper()
	f.update()
	return f.workload.unhandled(f.handled) == 0
}

// allReady and noneReady ask the members of this process.
func (f *field) allReady() bool {
	for _, m := range f.members {
		if !m.health().Ready {
			return false
		}
	}
	return true
}

func (f *field) noneReady() bool {
	for _, m := range f.members {
		if m.health().Ready {
			return false
		}
	}
	return true
}
