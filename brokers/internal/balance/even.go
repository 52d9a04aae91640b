package balance

import "slices"

// Even decides who is to own each partition. holders says who has it now,
// as a member's number or -1, and may whether a member can have it. A holder
// that is no more, or may not, loses it; otherwise only what evenness demands
// moves: members with the same choice end within one of each other.
func Even(holders []int, members int, may func(partition, member int) bool) []int {
	b := balancer{owners: slices.Clone(holders), load: make([]int, members), may: may}
	for p, m := range b.owners {
		if m >= 0 && may(p, m) {
			b.load[m]++
		} else {
			b.owners[p] = -1
		}
	}
	for p, m := range b.owners {
		if m < 0 {
			b.give(p, b.lightest(p))
		}
	}
	for b.even() {
	}
	return b.owners
}

type balancer struct {
	owners []int
	load   []int
	may    func(partition, member int) bool
}

// lightest returns the member with the least load of those that may have p, or -1.
func (b *balancer) lightest(p int) int {
	best := -1
	for m := range b.load {
		if b.may(p, m) && (best < 0 || b.load[m] < b.load[best]) {
			best = m
		}
	}
	return best
}

func (b *balancer) give(p, m int) {
	if old := b.owners[p]; old >= 0 {
		b.load[old]--
	}
	b.owners[p] = m
	if m >= 0 {
		b.load[m]++
	}
}

// even moves one partition from the most loaded member that can spare it, and
// says whether it found one.
func (b *balancer) even() bool {
	from, to := -1, -1
	for p, m := range b.owners {
		if m < 0 {
			continue
		}
		heir := b.lightest(p)
		if b.load[m]-b.load[heir] < 2 {
			continue
		}
		if from < 0 || b.load[m] >= b.load[b.owners[from]] {
			from, to = p, heir
		}
	}
	if from >= 0 {
		b.give(from, to)
	}
	return from >= 0
}
