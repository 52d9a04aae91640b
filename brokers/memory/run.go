package memory

import "github.com/troupe-go/troupe/brokers"

// run is a number of records that follow each other in a segment.
type run struct {
	log   *log
	first int64    // the offset of the first
	base  uint32   // where data begins in the segment
	data  []byte   // of the records
	ends  []uint32 // of each, in the segment
	rich  bool     // some may have headers or text
}

// cursor is a place in a log.
type cursor struct {
	log  *log
	seg  *segment // where next was found last
	next int64
}

// peek returns the records at the cursor, most at most; none at the end. It
// needs log.mu.
func (c *cursor) peek(most int) run {
	c.next = max(c.next, c.log.base)
	if c.next >= c.log.end {
		return run{}
	}
	if c.seg == nil || c.seg.first < c.log.head.first {
		c.seg = c.log.head
	}
	for c.next >= c.seg.first+int64(len(c.seg.ends)) {
		c.seg = c.seg.next
	}
	i := int(c.next - c.seg.first)
	r := run{log: c.log, first: c.next, ends: c.seg.ends[i:], rich: c.seg.rich}
	if i > 0 {
		r.base = c.seg.ends[i-1]
	}
	r.data = c.seg.data[r.base:]
	return r.cut(most)
}

// len is how many records the run has.
func (r *run) len() int { return len(r.ends) }

// end is the offset behind the last record.
func (r *run) end() int64 { return r.first + int64(len(r.ends)) }

// cut returns the first n records.
func (r run) cut(n int) run {
	r.ends = r.ends[:min(n, len(r.ends))]
	end := r.base
	if len(r.ends) > 0 {
		end = r.ends[len(r.ends)-1]
	}
	r.data = r.data[:end-r.base]
	return r
}

// within returns the first records that have no more than left bytes, by
// Message.Size, and what then is left.
func (r run) within(left int) (run, int) {
	if len(r.data) <= left {
		// A record is never smaller than its message.
		return r, left - len(r.data)
	}
	from := r.base
	for i, end := range r.ends {
		size := recordSize(r.data[from-r.base:])
		if size > left {
			return r.cut(i), left
		}
		left -= size
		from = end
	}
	return r, left
}

// handOut makes messages of records for a user, who owns the messages.
func handOut(runs []run, epoch uint64) []brokers.Message {
	n := 0
	for i := range runs {
		n += runs[i].len()
	}
	if n == 0 {
		return nil
	}
	d := newDecoder(runs)
	out := make([]brokers.Message, n)
	at := 0
	for i := range runs {
		r := &runs[i]
		for o := r.first; o < r.end(); o++ {
			m := &out[at]
			d.next(m)
			m.Topic, m.Partition, m.Offset, m.Epoch = r.log.topic.name, r.log.id, o, epoch
			at++
		}
	}
	return out
}
