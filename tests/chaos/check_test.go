package chaos_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/troupe-go/troupe/tests/chaos"
)

// parse makes records of a short script. Its words:
//
//	a1, a1/2   from here on member a acts, in epoch 1, of partition 0 or 2
//	+k3        message 3 of key k is started; its offset is its number
//	.k3        is handled
//	!k3 ~k3    fails, is cancelled
//	^3         all up to offset 3 is acknowledged
//	lost       the tenure is told that it has ended
//	died       the member is killed
//	*cut /cut  something is broken, and mended
//	@500       the time is now 500 ms; each record takes 1 ms
func parse(t *testing.T, script string) []chaos.Record {
	t.Helper()
	var records []chaos.Record
	var actor chaos.Record
	now := int64(0)
	for _, word := range strings.Fields(script) {
		r := actor
		switch word[0] {
		case '@':
			now = number(t, word[1:]) * int64(time.Millisecond)
			continue
		case '+', '.', '!', '~':
			r.Kind = map[byte]chaos.Kind{
				'+': chaos.Started, '.': chaos.Handled, '!': chaos.Failed, '~': chaos.Cancelled,
			}[word[0]]
			r.Key, r.Offset = word[1:2], number(t, word[2:])
			r.Number = int(r.Offset)
		case '^':
			r.Kind, r.Offset = chaos.Acked, number(t, word[1:])
		case '*', '/':
			r = chaos.Record{Kind: map[byte]chaos.Kind{'*': chaos.Struck, '/': chaos.Mended}[word[0]], Note: word[1:]}
		default:
			if word == "lost" || word == "died" {
				r.Kind = chaos.Kind(word)
				break
			}
			member := strings.TrimRight(word, "/0123456789")
			epoch, partition, _ := strings.Cut(word[len(member):], "/")
			actor = chaos.Record{Member: member, Epoch: uint64(number(t, epoch))}
			if partition != "" {
				actor.Partition = int32(number(t, partition))
			}
			continue
		}
		now += int64(time.Millisecond)
		r.Time = now
		records = append(records, r)
	}
	return records
}

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// sent is what a publisher knows of one key: c for confirmed, u for unknown, n
// for not sent.
func sent(key, outcomes string) map[string][]chaos.Outcome {
	var all []chaos.Outcome
	for _, o := range outcomes {
		all = append(all, map[rune]chaos.Outcome{'c': chaos.Confirmed, 'u': chaos.Unknown, 'n': chaos.NotSent}[o])
	}
	return map[string][]chaos.Outcome{key: all}
}

func TestCheckPasses(t *testing.T) {
	for name, c := range map[string]struct {
		sent, script string
		limits       chaos.Limits
		repeats      int
	}{
		"nothing":                         {},
		"one by one":                      {sent: "ccc", script: "a1 +k0 .k0 +k1 .k1 ^1 +k2 .k2 ^2"},
		"a failed one is tried again":     {sent: "cc", script: "a1 +k0 !k0 +k0 !k0 +k0 .k0 +k1 .k1"},
		"handed over":                     {sent: "ccc", script: "a1 +k0 .k0 ^0 b1 +k1 .k1 a2 +k2 .k2"},
		"handed over while it failed":     {sent: "cc", script: "a1 +k0 !k0 b1 +k0 .k0 +k1 .k1"},
		"handed over while it ran":        {sent: "cc", script: "a1 +k0 ~k0 b1 +k0 .k0 +k1 .k1"},
		"another partition runs beside":   {sent: "c", script: "a1/1 +k0 b1/2 ^7 a1/1 .k0"},
		"not sent is never seen":          {sent: "cnc", script: "a1 +k0 .k0 +k2 .k2"},
		"unknown was not stored":          {sent: "cuc", script: "a1 +k0 .k0 +k2 .k2"},
		"unknown was stored":              {sent: "cuc", script: "a1 +k0 .k0 +k1 .k1 +k2 .k2"},
		"killed and handled by the next":  {sent: "cc", script: "a1 +k0 died b1 +k0 .k0 +k1 .k1"},
		"killed before it acknowledged":   {sent: "cc", script: "a1 +k0 .k0 +k1 died b1 +k0 .k0 +k1 .k1", limits: chaos.Limits{AckLag: time.Second}, repeats: 1},
		"a lost tenure's work again":      {sent: "cc", script: "a1 +k0 .k0 +k1 ~k1 lost a2 +k0 .k0 +k1 .k1", limits: chaos.Limits{AckLag: time.Second}, repeats: 1},
		"repeats skip the acknowledged":   {sent: "cccc", script: "*x a1 +k0 .k0 +k1 .k1 +k2 .k2 b1 +k0 .k0 +k2 .k2 +k3 .k3 /x", repeats: 2},
		"a repeat that fails once":        {sent: "c", script: "*x a1 +k0 .k0 b1 +k0 !k0 +k0 .k0 /x", repeats: 1},
		"repeats soon after the blow":     {sent: "c", script: "*x /x a1 +k0 .k0 b1 +k0 .k0", limits: chaos.Limits{AckLag: time.Second}, repeats: 1},
		"repeats of shortly before":       {sent: "c", script: "a1 +k0 .k0 @900 *x b1 +k0 .k0 /x", limits: chaos.Limits{AckLag: time.Second}, repeats: 1},
		"stored twice":                    {sent: "c", script: "a1 +k0 .k0 b1 +k0 .k0", limits: chaos.Limits{Doubles: true}, repeats: 1},
		"within the slack of a lost one":  {sent: "cc", script: "*x a1 +k0 b1 +k0 .k0 a1 .k0 lost b1 +k1 .k1 /x", limits: chaos.Limits{Slack: time.Second}, repeats: 1},
		"late start within the slack":     {sent: "cc", script: "*x a1 +k0 .k0 b1 +k0 .k0 a1 +k1 ~k1 lost b1 +k1 .k1 /x", limits: chaos.Limits{Slack: time.Second}, repeats: 1},
		"late start beside the new owner": {sent: "ccc", script: "*x a1 +k0 .k0 b1 +k1 a1 +k1 ~k1 b1 .k1 a1 lost b1 +k2 .k2 /x", limits: chaos.Limits{Slack: time.Second}},
		"lost before it had begun":        {sent: "ccc", script: "*x a1 +k0 .k0 b1 +k1 z1 +k1 ~k1 b1 .k1 z1 lost b1 +k2 .k2 /x", limits: chaos.Limits{Slack: time.Second}},
		"both lost, one after the other":  {sent: "cccc", script: "*x a1 +k0 .k0 b1 +k1 a1 +k1 ~k1 lost b1 .k1 +k2 .k2 lost a2 +k3 .k3 /x", limits: chaos.Limits{Slack: time.Second}},
		"acknowledged to where it fails":  {sent: "cc", script: "a1 +k0 .k0 +k1 !k1 ^0 +k1 .k1 ^1"},
		"what was left is handled by one": {sent: "ccc", script: "a1 +k0 .k0 ^0 z1 +k1 .k1 +k2 .k2"},
	} {
		t.Run(name, func(t *testing.T) {
			v := chaos.Check(chaos.History{Sent: sent("k", c.sent), Records: parse(t, c.script)}, c.limits)
			if err := v.Err(); err != nil {
				t.Errorf("fault in a history without one: %v", err)
			}
			if v.Repeats != c.repeats {
				t.Errorf("%d repeats; want %d", v.Repeats, c.repeats)
			}
		})
	}
}

func TestCheckFails(t *testing.T) {
	for name, c := range map[string]struct {
		sent, script string
		limits       chaos.Limits
		says         string
	}{
		"never handled":                  {sent: "cc", script: "a1 +k0 .k0", says: `lost: key "k", number 1`},
		"never handled at all":           {sent: "c", says: `lost: key "k", number 0`},
		"only failed":                    {sent: "c", script: "a1 +k0 !k0", says: `lost: key "k", number 0`},
		"only begun":                     {sent: "c", script: "a1 +k0", says: "journal: started k/0"},
		"begun by one that died":         {sent: "c", script: "a1 +k0 died", says: `lost: key "k", number 0`},
		"passed by the position":         {sent: "cccc", script: "a1 +k0 .k0 ^0 z1 +k3 .k3", says: `lost: key "k", number 1`},
		"overtaken":                      {sent: "ccc", script: "a1 +k0 .k0 +k2 .k2 +k1 .k1", says: "reordered: started k/2"},
		"overtaken while it failed":      {sent: "cc", script: "a1 +k0 !k0 +k1 .k1 +k0 .k0", says: "reordered: started k/1"},
		"overtaken by a repeat":          {sent: "ccc", script: "*x a1 +k0 .k0 +k1 .k1 a2 +k0 !k0 +k1 .k1 +k0 .k0 +k2 .k2", says: "though number 0 was not decided"},
		"back within a tenure":           {sent: "cc", script: "*x a1 +k0 .k0 +k1 .k1 +k0 .k0", says: "after number 1 in the same tenure"},
		"twice within a tenure":          {sent: "c", script: "*x a1 +k0 .k0 +k0 .k0", says: "after number 0 in the same tenure"},
		"first one after the second":     {sent: "cc", script: "b1 +k1 .k1 a1 +k0 .k0", says: "before number 0 was handled"},
		"two members at once":            {sent: "cc", script: "*x a1 +k0 b1 +k0 .k0 a1 .k0 b1 +k1 .k1", says: "overlap: started k/0 by \"a\""},
		"two at once, and no loss":       {sent: "cc", script: "*x a1 +k0 b1 +k0 .k0 a1 .k0 b1 +k1 .k1", limits: chaos.Limits{Slack: time.Second}, says: "overlap"},
		"too long beside the next owner": {sent: "cc", script: "*x a1 +k0 b1 +k0 .k0 @2000 a1 .k0 lost b1 +k1 .k1", limits: chaos.Limits{Slack: time.Second}, says: "overlap"},
		"a key twice in one tenure":      {sent: "cc", script: "a1 +k0 +k1 .k1 .k0", says: "reordered"},
		"died beside the next owner":     {sent: "c", script: "*x a1 +k0 b1 +k0 .k0 a1 died", says: "overlap"},
		"a zombie starts something":      {sent: "ccc", script: "a1 +k0 .k0 b1 +k1 .k1 a1 +k2 .k2", says: "not fenced: started k/2"},
		"epochs that do not grow":        {sent: "ccc", script: "a2 +k0 .k0 b1 +k1 .k1 a1 +k2 .k2", says: "after epoch 2"},
		"acknowledged while it ran":      {sent: "c", script: "a1 +k0 ^0 .k0", says: "acknowledged too soon: offset 0"},
		"acknowledged while it failed":   {sent: "c", script: "a1 +k0 !k0 ^0 +k0 .k0", says: "acknowledged too soon: offset 0"},
		"acknowledged before it started": {sent: "cc", script: "a1 +k0 .k0 ^1 +k1 .k1", says: "after all up to offset 1"},
		"repeated for no reason":         {sent: "c", script: "a1 +k0 .k0 ^0 b1 +k0 .k0", says: "repeated: started k/0"},
		"repeated at the end":            {sent: "cc", script: "a1 +k0 .k0 ^0 +k1 .k1 z1 +k0 .k0", says: "repeated: started k/0"},
		"repeated long before a blow":    {sent: "c", script: "a1 +k0 .k0 @2000 *x b1 +k0 .k0 /x", limits: chaos.Limits{AckLag: time.Second}, says: "repeated"},
		"repeated long after a blow":     {sent: "c", script: "*x /x @2000 a1 +k0 .k0 b1 +k0 .k0", limits: chaos.Limits{AckLag: time.Second}, says: "repeated"},
		"reported as not sent":           {sent: "n", script: "a1 +k0 .k0", says: "reported as not sent"},
		"never published":                {sent: "c", script: "a1 +k0 .k0 +k1 .k1", says: "never published: started k/1"},
		"a key in two partitions":        {sent: "cc", script: "a1 +k0 .k0 a1/2 +k1 .k1", says: "partition changed"},
		"written by the dead":            {sent: "c", script: "a1 +k0 died .k0", says: "by a member that had been killed"},
		"ended and not started":          {sent: "c", script: "a1 .k0 +k0 .k0", says: "was not started"},
	} {
		t.Run(name, func(t *testing.T) {
			v := chaos.Check(chaos.History{Sent: sent("k", c.sent), Records: parse(t, c.script)}, c.limits)
			err := v.Err()
			if err == nil {
				t.Fatal("no fault found")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("faults are\n\t%v\nwant one that says %q", err, c.says)
			}
		})
	}
}

// What handlers published, per run of numbers.
func TestCheckEffects(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		stored []int
		says   string
	}{
		"all, in order":           {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 1, 2}},
		"stored again":            {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 1, 0, 1, 2}},
		"a late repeat":           {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 1, 2, 0}},
		"not of what was left":    {script: "a1 +k0 .k0 fresh1 +k1 .k1 +k2 .k2", stored: []int{0}},
		"nor of what was unclear": {script: "*x a1 +k0 .k0 +k1 .k1 fresh1 +k1 .k1 +k2 .k2 /x", stored: []int{0}},
		"lost":                    {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 2}, says: "number 1 published is nowhere"},
		"all lost":                {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{}, says: "number 0 published is nowhere"},
		"reordered":               {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 2, 1}, says: "number 1 published lies behind that of number 2"},
		"of a failed attempt":     {script: "a1 +k0 .k0 +k1 .k1 +k2 !k2", stored: []int{0, 1, 2}, says: "number 2 was published for, and not handled"},
	} {
		t.Run(name, func(t *testing.T) {
			v := chaos.Check(chaos.History{
				Sent: sent("k", "ccc"), Records: parse(t, c.script), Effects: map[string][]int{"k": c.stored},
			}, chaos.Limits{})
			err := v.Err()
			if c.says == "" && err != nil {
				t.Errorf("fault in a history without one: %v", err)
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("faults are\n\t%v\nwant one that says %q", err, c.says)
			}
		})
	}
}

// What was published in transactions is there once, and only if it counts.
func TestCheckEffectsOnce(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		stored []int
		says   string
	}{
		"all, in order":              {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 1, 2}},
		"handled again":              {script: "*x a1 +k0 .k0 +k1 .k1 lost a2 +k0 .k0 +k1 .k1 +k2 .k2 /x", stored: []int{0, 1, 2}},
		"handed over above the mark": {script: "a1 +k0 .k0 +k1 .k1 ^0 b1 +k1 .k1 +k2 .k2", stored: []int{0, 1, 2}},
		"below the mark":             {script: "a1 +k0 .k0 +k1 .k1 ^1 b1 +k1 .k1 +k2 .k2", stored: []int{0, 1, 2}, says: "repeated: started k/1"},
		"not of what is left":        {script: "*x a1 +k0 .k0 +k1 .k1 fresh1 +k1 .k1 +k2 .k2 /x", stored: []int{0}},
		"twice":                      {script: "*x a1 +k0 .k0 lost a2 +k0 .k0 +k1 .k1 +k2 .k2 /x", stored: []int{0, 0, 1, 2}, says: "number 0 published is there twice"},
		"of what is left":            {script: "*x a1 +k0 .k0 +k1 .k1 fresh1 +k1 .k1 +k2 .k2 /x", stored: []int{0, 1}, says: "number 1 published is there, and it was not settled"},
		"lost":                       {script: "a1 +k0 .k0 +k1 .k1 +k2 .k2", stored: []int{0, 2}, says: "number 1 published is nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			v := chaos.Check(chaos.History{
				Sent: sent("k", "ccc"), Records: parse(t, c.script), Effects: map[string][]int{"k": c.stored}, Once: true,
			}, chaos.Limits{})
			err := v.Err()
			if c.says == "" && err != nil {
				t.Errorf("fault in a history without one: %v", err)
			}
			if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("faults are\n\t%v\nwant one that says %q", err, c.says)
			}
		})
	}
}

// A flood of one fault leaves room for the others.
func TestCheckBounds(t *testing.T) {
	var script strings.Builder
	for n := range 100 {
		fmt.Fprintf(&script, "a1 +k%d .k%d b%d ^7 ", n, n, n+1)
	}
	v := chaos.Check(chaos.History{
		Sent:    sent("k", strings.Repeat("c", 300)),
		Records: parse(t, script.String()),
	}, chaos.Limits{})
	if len(v.Faults) != 3 || v.Unsaid != 197 {
		t.Errorf("%d faults told, %d not; want 3 and 197 of 200 lost messages", len(v.Faults), v.Unsaid)
	}
	if v.Handled != 100 || v.Confirmed != 300 {
		t.Errorf("%v; want 100 handled of 300 confirmed", &v)
	}
}

func TestCheckCounts(t *testing.T) {
	v := chaos.Check(chaos.History{
		Sent:    sent("k", "ccunc"),
		Records: parse(t, "*x a1 +k0 .k0 +k1 !k1 +k1 ~k1 lost a2 +k0 .k0 +k1 .k1 /x +k4 .k4"),
	}, chaos.Limits{})
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	const want = "3 confirmed, 1 unknown, 1 not sent; 3 handled, 1 repeats, 1 failed, 1 cancelled; 2 tenures, 1 lost"
	if got := v.String(); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}
