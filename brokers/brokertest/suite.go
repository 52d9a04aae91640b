// Package brokertest is the conformance suite that every driver of package
// brokers passes, and that a driver of your own is done with when it does.
//
// A driver's test is a [Harness] and a call of [Run]: see conformance_test.go of
// package memory.
//
// Each sentence of the contracts in package brokers that a driver can show by
// itself is a test. Tests adapt to [brokers.Features]; what is skipped says why.
// All of them use topics and groups of their own, run in parallel, and wait for
// events rather than for time.
package brokertest

import (
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// conformance is a test of the suite.
type conformance struct {
	name string
	run  func(*env)
}

// alone are the tests beside which no other may run.
var alone = []conformance{
	{"Close/Goroutines", goroutinesEnd},
}

var suite = []conformance{
	{"Topic/EnsureRepeats", ensureTopicRepeats},
	{"Topic/EnsureTogether", ensureTopicTogether},
	{"Topic/EnsureDefault", ensureTopicDefault},
	{"Topic/EnsureMismatch", ensureTopicMismatch},
	{"Topic/EnsureInvalid", ensureTopicInvalid},
	{"Topic/MadeLater", topicLater},
	{"Topic/MadeLaterBesideAnother", topicLaterBesideAnother},

	{"Message/Payloads", payloads},
	{"Message/Keys", keys},
	{"Message/Headers", headers},
	{"Message/HeaderKinds", headerKinds},
	{"Message/Fields", fields},
	{"Message/TimeDefault", fieldTimeDefault},
	{"Message/IDDefault", fieldIDDefault},
	{"Message/Priority", fieldPriority},
	{"Message/TTL", fieldTTL},
	{"Message/Receipt", fieldsOfReceipt},

	{"Publish/Receipts", publishReceipts},
	{"Publish/Many", publishMany},
	{"Publish/ByKey", publishByKey},
	{"Publish/Concurrently", publishConcurrently},
	{"Publish/Async", publishAsync},
	{"Publish/OverLimit", publishOverLimit},
	{"Publish/OverLimitAsync", publishOverLimitAsync},
	{"Publish/RefusedByServer", publishRefused},
	{"Publish/Copies", publishCopies},
	{"Publish/UnknownTopic", publishUnknownTopic},
	{"Publish/Cancelled", publishCancelled},
	{"Publish/Closed", publisherClosed},
	{"Publish/CloseFlushes", publisherCloseFlushes},
	{"Publish/Invalid", publisherInvalid},
	{"Publish/Deduplicated", publishDeduplicated},
	{"Publish/WhileDisconnected", publishWhileDisconnected},
	{"Publish/CancelledWhileDisconnected", publishCancelledWhileDisconnected},

	{"Subscribe/Invalid", subscribeInvalid},
	{"Subscribe/ContextEnds", subscribeContextEnds},
	{"Subscribe/Groups", groupsAreApart},
	{"Subscribe/StartLatest", startLatest},
	{"Subscribe/StartEarliest", startEarliest},
	{"Subscribe/StartAtTime", startAtTime},
	{"Subscribe/StartHasPosition", startHasPosition},

	{"Accept/All", acceptAllPartitions},
	{"Accept/SeveralTopics", acceptSeveralTopics},
	{"Accept/TwoOfOneConnection", acceptTwoOfOneConnection},
	{"Accept/Cancelled", acceptCancelled},
	{"Accept/EpochsGrow", epochsGrow},
	{"Accept/AfterClose", acceptAfterClose},
	{"Accept/AfterReconnect", reconnects},

	{"Fetch/LimitMessages", fetchLimitMessages},
	{"Fetch/LimitBytes", fetchLimitBytes},
	{"Fetch/Large", fetchLarge},
	{"Fetch/Waits", fetchWaits},
	{"Fetch/Once", fetchOnce},
	{"Fetch/Cancelled", fetchCancelled},
	{"Fetch/Owned", fetchOwned},
	{"Fetch/Unsettled", fetchUnsettled},
	{"Fetch/UnsettledAbove", fetchUnsettledAbove},
	{"Fetch/PauseOne", pauseOne},
	{"Fetch/PauseAll", pauseAll},

	{"Ack/Prefix", ackPrefix},
	{"Ack/Nothing", ackNothing},
	{"Ack/All", ackAll},
	{"Ack/OverMemberships", ackOverMemberships},
	{"Ack/CloseSends", ackCloseSends},
	{"Ack/WithinInterval", ackWithinInterval},
	{"Ack/FetchedOnly", ackFetchedOnly},
	{"Ack/Repeats", ackRepeats},
	{"Ack/AboveGap", ackAboveGap},
	{"Ack/GapHolds", ackGapHolds},
	{"Ack/AfterClose", ackAfterClose},
	{"Ack/AfterLeaving", ackAfterLeaving},
	{"Ack/AfterDisconnect", ackAfterDisconnect},
	{"Ack/Concurrently", ackConcurrently},
	{"Ack/DeliveryCount", deliveryCount},
	{"Ack/DeliveryNotCounted", deliveryNotCounted},

	{"Stage/Unsupported", stageUnsupported},
	{"Stage/InOrder", stageInOrder},
	{"Stage/Discarded", stageDiscarded},
	{"Stage/OverEpochs", stageOverEpochs},
	{"Stage/Commits", stageCommits},
	{"Stage/AfterEnd", stageAfterEnd},
	{"Stage/Acknowledged", stageAcknowledged},
	{"Stage/Full", stageFull},
	{"Stage/Killed", stageKilled},
	{"Stage/Shared", stageShared},

	{"Revoking/Drains", revokingDrains},
	{"Revoking/WakesFetch", revokingWakesFetch},
	{"Revoking/DrainTimeout", drainTimeout},

	{"Balance/Stopped", balanceStopped},
	{"Balance/Killed", balanceKilled},
	{"Balance/StoppedAtWork", stoppedAtWork},
	{"Balance/KilledAtWork", killedAtWork},
	{"Balance/Churn", churn},

	{"Competing/Unsupported", competingUnsupported},
	{"Competing/Shares", competingShares},
	{"Competing/GivesBack", competingGivesBack},
	{"Competing/ExcludesNobody", competingExcludesNobody},

	{"Request/Reply", requestReply},
	{"Request/Time", requestTime},
	{"Request/Together", requestsTogether},
	{"Request/Errors", requestErrors},
	{"Request/TooLarge", requestReplyTooLarge},
	{"Request/NoResponders", requestNoResponders},
	{"Request/Late", requestLate},
	{"Request/Cancelled", requestCancelled},
	{"Request/Overload", requestOverload},
	{"Request/GroupShares", requestGroupShares},
	{"Request/Groups", requestGroups},
	{"Request/Invalid", requestInvalid},
	{"Request/Reconnects", requestsReconnect},
	{"Request/CloseCancelled", responderCloseCancelled},
	{"Request/BrokerCloses", requestsBrokerCloses},

	{"Health/Identity", identity},
	{"Health/States", healthStates},
	{"Health/Lag", healthLag},
	{"Health/Cancelled", healthCancelled},
	{"Health/Disconnected", healthDisconnected},

	{"Close/Partition", partitionCloses},
	{"Close/PartitionDuringFetch", partitionClosesDuringFetch},
	{"Close/PartitionCancelled", partitionCloseCancelled},
	{"Close/Subscription", subscriptionCloses},
	{"Close/SubscriptionCancelled", subscriptionCloseCancelled},
	{"Close/SubscriptionEmpty", subscriptionClosesEmpty},
	{"Close/Broker", brokerCloses},
	{"Close/BrokerDuringPublish", brokerClosesDuringPublish},
	{"Close/BrokerDisconnected", brokerClosesDisconnected},
}

// Run runs the suite as subtests of t, in parallel. The caller must not be a
// parallel test itself. Goroutines that the driver leaves behind fail t.
func Run(t *testing.T, h Harness) {
	t.Helper()
	h = h.withDefaults(t)
	known := append([]goleak.Option{goleak.IgnoreCurrent()}, h.Leaks...)
	tests := slices.Clone(suite)
	for name, do := range h.Breaks {
		tests = append(tests, conformance{"Mends/" + name, mends(do)})
	}
	checkSkips(t, h, slices.Concat(alone, tests))
	tests = slices.DeleteFunc(tests, h.leavesOut)
	for _, c := range slices.DeleteFunc(slices.Clone(alone), h.leavesOut) {
		t.Run(c.name, func(t *testing.T) { c.runIn(t, h) })
	}
	t.Run("All", func(t *testing.T) {
		for _, c := range tests {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				c.runIn(t, h)
			})
		}
	})
	(&env{T: t, h: h}).noLeaks(known)
}

// leavesOut says whether the test is of a group that is not asked for.
func (h Harness) leavesOut(c conformance) bool {
	group, _, _ := strings.Cut(c.name, "/")
	return h.Only != nil && !slices.Contains(h.Only, group)
}

// checkSkips fails t if the harness skips a test that is not there.
func checkSkips(t *testing.T, h Harness, tests []conformance) {
	t.Helper()
	for name := range h.Skip {
		if !slices.ContainsFunc(tests, func(c conformance) bool { return c.name == name }) {
			t.Errorf("Harness.Skip names %q, which is not a test of the suite", name)
		}
	}
}

func (c conformance) runIn(t *testing.T, h Harness) {
	t.Helper()
	if why := h.Skip[c.name]; why != "" {
		t.Skipf("skipped by the harness: %s", why)
	}
	c.run(newEnv(t, h))
}
