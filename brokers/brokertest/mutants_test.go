package brokertest_test

import (
	"slices"

	"github.com/troupe-go/troupe/brokers/memory"
)

// mutation is a broken driver and the test that is to find it.
type mutation struct {
	name  string
	test  string // that must fail
	says  string // in the failure; "|" stands between what may be said
	cfg   memory.Config
	hooks hooks
}

var mutations = slices.Concat(fetchMutations, ackMutations, ownershipMutations, messageMutations, publishMutations, stageMutations, otherMutations)
