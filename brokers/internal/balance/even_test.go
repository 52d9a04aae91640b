package balance

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestEvenKeepsAndEvens(t *testing.T) {
	all := func(int, int) bool { return true }
	for _, c := range []struct {
		name    string
		holders []int
		members int
		want    []int
	}{
		{"nobody", []int{-1, -1}, 0, []int{-1, -1}},
		{"the first gets all", []int{-1, -1, -1}, 1, []int{0, 0, 0}},
		{"a second takes half", []int{0, 0, 0, 0}, 2, []int{1, 1, 0, 0}},
		{"an odd one stays", []int{0, 0, 1}, 2, []int{0, 0, 1}},
		{"a leaver's go to the light", []int{0, -1, -1, 1, 1}, 2, []int{0, 0, 0, 1, 1}},
	} {
		got := Even(c.holders, c.members, all)
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: loads %v, want %v", c.name, got, c.want)
		}
	}
}

// TestBalanceProperties holds for any holders and any right to hold.
func TestBalanceProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := rapid.IntRange(0, 5).Draw(t, "members")
		holders := rapid.SliceOfN(rapid.IntRange(-1, members-1), 0, 20).Draw(t, "holders")
		denied := map[[2]int]bool{}
		for range rapid.IntRange(0, 10).Draw(t, "denials") {
			denied[[2]int{rapid.IntRange(0, 20).Draw(t, "p"), rapid.IntRange(0, 5).Draw(t, "m")}] = true
		}
		may := func(p, m int) bool { return !denied[[2]int{p, m}] }
		got := Even(holders, members, may)

		load := make([]int, members)
		for p, m := range got {
			if m >= 0 {
				load[m]++
			}
			able := false
			for m := range members {
				able = able || may(p, m)
			}
			if able != (m >= 0) || m >= 0 && !may(p, m) {
				t.Fatalf("partition %d went to %d: %v", p, m, got)
			}
		}
		if len(denied) > 0 || members == 0 {
			return
		}
		if slices.Max(load)-slices.Min(load) > 1 {
			t.Fatalf("loads %v are not even", load)
		}
		moved := 0
		for p := range got {
			if holders[p] >= 0 && got[p] != holders[p] {
				moved++
			}
		}
		if again := Even(got, members, may); !slices.Equal(again, got) {
			t.Fatalf("balanced again %v becomes %v", got, again)
		}
		if surplus := surplusOf(holders, members); moved > surplus {
			t.Fatalf("%d partitions moved, %d had to", moved, surplus)
		}
	})
}

// surplusOf is how many partitions lie above the even share.
func surplusOf(holders []int, members int) (n int) {
	load := make([]int, members)
	for _, m := range holders {
		if m >= 0 {
			load[m]++
		}
	}
	slices.Sort(load)
	slices.Reverse(load)
	even, rest := len(holders)/members, len(holders)%members
	for i, l := range load {
		share := even
		if i < rest {
			share++
		}
		n += max(0, l-share)
	}
	return n
}
