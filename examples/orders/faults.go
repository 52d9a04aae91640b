package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/troupe-go/troupe/actors"
)

// errInjected is a fault that passes: it has no rule, so it is tried again.
var errInjected = errors.New("injected fault")

// flaky fails the first attempts at some messages, at that rate: once, twice or
// three times, which is less than the policy allows. Which ones they are
// follows from the seed.
func flaky(rate float64, seed uint64) actors.Middleware {
	return func(next actors.Handler) actors.Handler {
		return actors.HandlerFunc(func(ctx *actors.Context) error {
			if ctx.Attempt() <= failures(rate, seed, ctx.Group(), ctx.Event().ID) {
				return fmt.Errorf("%w: attempt %d", errInjected, ctx.Attempt())
			}
			return next.Receive(ctx)
		})
	}
}

// failures is how many attempts at the row of that message fail in a group.
func failures(rate float64, seed uint64, group, id string) int {
	_, row, _ := parseID(id)
	h := fnv.New64a()
	h.Write([]byte(group))
	random := rand.New(rand.NewPCG(seed^h.Sum64(), uint64(row)))
	if random.Float64() >= rate {
		return 0
	}
	return 1 + random.IntN(3)
}
