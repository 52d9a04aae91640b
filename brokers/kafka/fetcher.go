package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	kafkago "github.com/segmentio/kafka-go"
)

const (
	// maxFetches is how many requests of a subscription one node has at a time: one
	// may wait for partitions that have nothing, while others bring what there is.
	maxFetches = 3
	// scarceBytes is what a partition without messages may fetch when
	// Config.BufferBytes are used up, by partitions that are paused perhaps.
	scarceBytes = 64 << 10
	// shortWait is how long the last of these requests waits at first, while the
	// others wait for partitions that have nothing perhaps: what is to be fetched
	// next can only wait for it. It doubles while nothing comes.
	shortWait = 10 * time.Millisecond
	// maxFetchBytes is how much one request brings of all its partitions.
	maxFetchBytes = 16 << 20
)

// fetcher fetches for the feeds of a subscription: of each node what its
// partitions want, in requests that share connections.
type fetcher struct {
	c           *client
	limits      fetchLimits
	maxInflated int
	// What a feed meets that it cannot go on from.
	outOfRange func(*feed)
	gone       func(*feed)
	refused    func(error)

	ctx     context.Context
	running *sync.WaitGroup

	mu       sync.Mutex
	nodes    map[int32]*fetchNode
	buffered int
	stuck    []*feed
	mending  bool
}

func newFetcher(s *subscription) *fetcher {
	cfg := &s.b.client.cfg
	return &fetcher{
		c: s.b.client, ctx: s.ctx, running: &s.background, nodes: map[int32]*fetchNode{},
		limits: fetchLimits{
			wait: cfg.FetchWait, bytes: maxFetchBytes, partitionBytes: cfg.FetchBytes, committed: s.committed(),
		},
		maxInflated: cfg.MaxInflatedBytes,
		outOfRange:  func(d *feed) { s.lose(d, errOutOfRange) },
		gone:        func(d *feed) { s.lose(d, errTopicGone) },
		refused:     s.fail,
	}
}

// fetchNode is what is to be fetched from a node.
type fetchNode struct {
	id      int32
	due     []*feed
	running int
	empty   int // requests in a row that brought nothing
}

// want has more fetched for a feed, if it has not got enough.
func (f *fetcher) want(d *feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.queue == feedIdle {
		f.place(d)
	}
}

// place puts an idle feed where it belongs. It needs the lock.
func (f *fetcher) place(d *feed) {
	if f.ctx.Err() != nil || !d.wants(f.limits.partitionBytes, f.buffered >= f.c.cfg.BufferBytes) {
		return
	}
	leader := f.leaderOf(d.place)
	if leader == noLeader {
		f.stick(d, errNoLeader)
		return
	}
	n := f.nodes[leader]
	if n == nil {
		n = &fetchNode{id: leader}
		f.nodes[leader] = n
	}
	d.queue = feedDue
	n.due = append(n.due, d)
	if n.running < maxFetches {
		n.running++
		f.running.Go(func() { f.run(n) })
	}
}

// wants says whether a feed is to fetch: when less lies here than one fetch may
// bring; when nothing does if room is scarce, or if what came before could not be
// read.
func (f *feed) wants(partitionBytes int, scarce bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return false
	}
	bytes := f.unread()
	return bytes == 0 || bytes < partitionBytes && !scarce && f.corrupt == nil
}

func (f *fetcher) leaderOf(p place) int32 {
	t, _ := f.c.metadata.cached(p.topic)
	if int(p.partition) >= len(t.leaders) {
		return noLeader
	}
	return t.leaders[p.partition]
}

// run fetches from a node while something is due.
func (f *fetcher) run(n *fetchNode) {
	var frame []byte
	for {
		load, limits := f.load(n)
		if len(load) == 0 {
			return
		}
		frame = f.fetch(n, load, limits, frame)
	}
}

// load takes what is due, partitions of a topic next to each other, and the one
// that has waited longest first: it gets a whole batch, however large.
func (f *fetcher) load(n *fetchNode) ([]*feed, fetchLimits) {
	f.mu.Lock()
	defer f.mu.Unlock()
	load := n.due
	n.due = nil
	if len(load) == 0 || f.ctx.Err() != nil {
		n.running--
		return nil, fetchLimits{}
	}
	for _, d := range load {
		d.queue = feedUnderWay
	}
	first := load[0].topic
	slices.SortStableFunc(load, func(a, b *feed) int {
		switch {
		case a.topic == b.topic:
			return 0
		case a.topic == first:
			return -1
		case b.topic == first:
			return 1
		}
		return strings.Compare(a.topic, b.topic)
	})
	limits := f.limits
	room := f.c.cfg.BufferBytes - f.buffered
	if room <= 0 {
		limits.partitionBytes = min(limits.partitionBytes, scarceBytes)
	}
	limits.bytes = min(limits.bytes, max(room, limits.partitionBytes))
	if n.running == maxFetches {
		limits.wait = min(limits.wait, shortWait<<min(n.empty, 10))
	}
	return load, limits
}

// fetch sends one request and hands out what comes. It returns frame, which is
// memory for requests.
func (f *fetcher) fetch(n *fetchNode, load []*feed, limits fetchLimits, frame []byte) []byte {
	list := make([]wanted, len(load))
	for i, d := range load {
		d.mu.Lock()
		list[i] = wanted{d.place, d.next}
		d.mu.Unlock()
	}
	answer, version, frame, err := f.ask(n, limits, list, frame)
	var got []fetched
	if err == nil {
		got, err = readFetched(answer, version, make([]fetched, 0, len(list)))
	}
	if err != nil {
		f.failed(load, err)
		return frame
	}
	answers := make(map[place]*fetched, len(got))
	for i := range got {
		answers[got[i].place] = &got[i]
	}
	brought := 0
	for i, d := range load {
		brought += f.answered(d, list[i].offset, answers[d.place])
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if n.empty++; brought > 0 {
		n.empty = 0
	}
	return frame
}

func (f *fetcher) ask(n *fetchNode, limits fetchLimits, list []wanted, frame []byte) (answer []byte, version int16, _ []byte, err error) {
	x, err := f.c.borrow(f.ctx, n.id)
	if err != nil {
		return nil, 0, frame, err
	}
	defer f.c.giveBack(n.id, x)
	frame, version, err = fetchFrame(frame, x, limits, list)
	if err == nil {
		answer, err = x.exchange(f.ctx, frame, limits.wait+f.c.cfg.RequestTimeout)
	}
	return answer, version, frame, err
}

// answered takes what a fetch from an offset brought for a feed; nil if the answer
// says nothing of it. It returns how many bytes are kept.
func (f *fetcher) answered(d *feed, from int64, got *fetched) (kept int) {
	err := error(kafkago.RequestTimedOut)
	if got != nil {
		err = codeError(got.code)
	}
	if err == nil {
		kept = d.arrived(from, got)
	}
	f.mu.Lock()
	f.buffered += kept
	d.queue = feedIdle
	if err == nil {
		if !d.isCorrupt() {
			d.failures = 0
		}
		f.place(d)
		f.mu.Unlock()
		return kept
	}
	switch {
	case errors.Is(err, kafkago.OffsetOutOfRange):
		f.mu.Unlock()
		f.outOfRange(d)
		return 0
	case !transient(err) && !errors.Is(err, kafkago.OffsetNotAvailable):
		f.mu.Unlock()
		f.refused(fmt.Errorf("kafka: read topic %q: %w", d.topic, err))
		return 0
	}
	f.stick(d, err)
	f.mu.Unlock()
	return 0
}

// failed is for a request that was not answered.
func (f *fetcher) failed(load []*feed, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range load {
		d.queue = feedIdle
		f.stick(d, err)
	}
}

// spoilt is for a feed that could not read what came.
func (f *fetcher) spoilt(d *feed, dropped int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buffered -= dropped
	if d.queue == feedIdle {
		f.stick(d, err)
	}
}

// taken is told that a feed reads bytes of what lay here.
func (f *fetcher) taken(d *feed, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buffered -= bytes
	if d.queue == feedIdle {
		f.place(d)
	}
}

// forget is told that a feed has ended.
func (f *fetcher) forget(d *feed, dropped int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buffered -= dropped
}
