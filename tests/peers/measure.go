package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// contender does the work its own way. prepare does what is not measured; run
// returns when all messages are handled; clean follows, if set.
type contender struct {
	name     string
	base     string // the row that it is compared with
	messages int
	prepare  prepare
}

// prepare makes a contender's run ready, and its cleaning up.
type prepare = func(messages int) (run, clean func() error, err error)

// began is when the measurement under way began: there is one at a time.
var began mark

// consumer is a prepare whose run calls joined once it owns what it is to read, or
// with its first message, if it does not learn of that.
type consumer = func(messages int, joined func()) (run, clean func() error, err error)

// fromJoined is for contenders whose joining a group is not to be measured.
func fromJoined(p consumer) prepare {
	return func(n int) (run, clean func() error, err error) {
		var once sync.Once
		return p(n, func() { once.Do(func() { began = now() }) })
	}
}

// row is a contender's medians, per message.
type row struct {
	Name      string  `json:"name"`
	Rate      float64 `json:"messages_per_second"`
	CPU       float64 `json:"cpu_ns_per_message"`
	Allocs    float64 `json:"allocs_per_message"`
	Base      string  `json:"base,omitempty"`
	RateRatio float64 `json:"rate_ratio,omitempty"`
	CPURatio  float64 `json:"cpu_ratio,omitempty"`
}

// table is what one piece of work gave.
type table struct {
	Title string   `json:"title"`
	Rows  []row    `json:"rows,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// compete runs the contenders in turns, each round from another one on. A shorter
// round goes before and does not count, where medians are wanted: a server that has
// just started is slow for seconds.
func (o *options) compete(title string, contenders []contender) (table, error) {
	o.log("%s", title)
	contenders = slices.DeleteFunc(contenders, func(c contender) bool { return !o.only.MatchString(c.name) })
	if o.rounds > 1 {
		for _, c := range contenders {
			c.messages = max(1, c.messages/4)
			if _, err := measure(c); err != nil {
				return table{}, fmt.Errorf("%s: %s: %w", title, c.name, err)
			}
		}
	}
	samples := make(map[string][]row)
	for round := range o.rounds {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			s, err := measure(c)
			if err != nil {
				return table{}, fmt.Errorf("%s: %s: %w", title, c.name, err)
			}
			o.log("  %d %-40s %10.0f/s %8.0f ns %6.2f allocs", round+1, c.name, s.Rate, s.CPU, s.Allocs)
			samples[c.name] = append(samples[c.name], s)
		}
	}
	t := table{Title: title}
	for _, c := range contenders {
		r := medians(samples[c.name])
		r.Name, r.Base = c.name, c.base
		if len(samples[c.base]) == 0 {
			r.Base = ""
		} else {
			base := medians(samples[c.base])
			r.RateRatio, r.CPURatio = r.Rate/base.Rate, r.CPU/base.CPU
		}
		t.Rows = append(t.Rows, r)
	}
	return t, nil
}

func measure(c contender) (r row, err error) {
	run, clean, err := c.prepare(c.messages)
	if err != nil {
		return row{}, err
	}
	runtime.GC()
	began = now()
	if err := run(); err != nil {
		return row{}, err
	}
	r = began.until(now(), c.messages)
	if clean != nil {
		err = clean()
	}
	return r, err
}

// mark is what was used at some time.
type mark struct {
	at     time.Time
	cpu    time.Duration
	allocs uint64
}

func now() mark {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return mark{time.Now(), cpuTime(), m.Mallocs}
}

// until is what n messages took.
func (m mark) until(end mark, messages int) row {
	n := float64(messages)
	return row{
		Rate: n / end.at.Sub(m.at).Seconds(), CPU: float64(end.cpu-m.cpu) / n, Allocs: float64(end.allocs-m.allocs) / n,
	}
}

func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err) // it has no way to fail
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func medians(samples []row) row {
	median := func(of func(row) float64) float64 {
		var values []float64
		for _, s := range samples {
			values = append(values, of(s))
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return row{
		Rate:   median(func(r row) float64 { return r.Rate }),
		CPU:    median(func(r row) float64 { return r.CPU }),
		Allocs: median(func(r row) float64 { return r.Allocs }),
	}
}

// row is the one of a name.
func (t table) row(name string) (r row, found bool) {
	i := slices.IndexFunc(t.Rows, func(r row) bool { return r.Name == name })
	if i < 0 {
		return row{}, false
	}
	return t.Rows[i], true
}

// text is the table in Markdown.
func (t table) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "**%s**\n\n", t.Title)
	if len(t.Rows) > 0 {
		b.WriteString("| | messages/s | CPU/message | allocations | rate | CPU |\n|---|--:|--:|--:|--:|--:|\n")
	}
	for _, r := range t.Rows {
		ratios := " | | |"
		if r.Base != "" {
			ratios = fmt.Sprintf(" | %.2f x %s | %.2f x |", r.RateRatio, r.Base, r.CPURatio)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f%s\n", r.Name, count(r.Rate), time.Duration(r.CPU).Round(r.unit()), r.Allocs, ratios)
	}
	for _, note := range t.Notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	return b.String()
}

func (r row) unit() time.Duration {
	if r.CPU >= 10_000 {
		return 100
	}
	return 1
}

// count writes a rate with three digits that count.
func count(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0f k", v/1e3)
	}
	return fmt.Sprintf("%.0f", v)
}
