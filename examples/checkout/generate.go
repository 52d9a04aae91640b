package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// generate makes invoices of the real ones' shape: three sales in four, some of
// nobody known, then cancellations of a whole sale, of a part, of more than was sold
// and of what was not, and a few adjustments.
func generate(seed uint64, n int) []invoice {
	random := rand.New(rand.NewPCG(seed, 0))
	var all, sold []invoice
	for i := range n {
		no := fmt.Sprint(536365 + i)
		switch dice := random.IntN(20); {
		case dice == 0:
			all = append(all, invoice{No: no, Lines: []line{{product(random), -1 - random.IntN(50), 0}}})
		case dice <= 4 && len(sold) > 0:
			all = append(all, undo(random, "C"+no, sold[random.IntN(len(sold))]))
		default:
			made := invoice{No: no}
			if dice > 5 {
				made.Customer = fmt.Sprint(12346 + random.IntN(1+n/10))
			}
			for range 1 + random.IntN(6) {
				made.Lines = append(made.Lines, line{product(random), 1 + random.IntN(12), mils(250 * (1 + random.IntN(8)))})
			}
			all = append(all, made)
			if made.Customer != "" {
				sold = append(sold, made)
			}
		}
	}
	return all
}

// product is a stock code. Some differ in case only.
func product(random *rand.Rand) string {
	return fmt.Sprint(20_000+random.IntN(40)) + []string{"", "A", "a"}[random.IntN(3)]
}

// undo cancels a sale, or what is like it.
func undo(random *rand.Rand, no string, of invoice) invoice {
	c := invoice{No: no, Customer: of.Customer, Lines: slices.Clone(of.Lines)}
	how := random.IntN(5)
	if how > 1 { // not all of it
		c.Lines = c.Lines[:1+random.IntN(len(c.Lines))]
	}
	for i := range c.Lines {
		l := &c.Lines[i]
		switch how {
		case 2:
			l.Units = 1 + random.IntN(l.Units)
		case 3:
			l.Units += random.IntN(20)
		case 4:
			if random.IntN(3) == 0 {
				l.Stock += "X"
			}
		}
		l.Units = -l.Units
	}
	return c
}
