package chaos

import (
	"os"
	"slices"
	"testing"
)

// scenario is one test of the suite, by name.
type scenario struct {
	name  string
	needs need
	run   func(*field)
}

// need is what a scenario needs of its target and surroundings.
type need uint16

const (
	needLinks       need = 1 << iota // connections that can be cut
	needProxies                      // and poisoned
	needProcesses                    // members in processes of their own
	needServer                       // a server that may be killed and paused
	needOne                          // that is not a cluster
	needForget                       // Target.Forget
	needLeader                       // Target.Leader
	needCoordinator                  // Target.Coordinator
	needDelete                       // Target.Delete
	needAlarm                        // Target.Alarm
)

// What hurts the server hurts the tests beside, so it has it for itself.
var alone = []scenario{
	{"Server/Killed", needServer, serverKilled},
	{"Server/Paused", needServer | needOne, serverPaused},
	{"Server/KilledAndForgotten", needServer | needProxies | needForget, serverForgot},
	{"Server/Alarmed", needServer | needAlarm, serverAlarmed},
	{"Leader/Killed", needServer | needLeader, leaderKilled},
	{"Leader/Paused", needServer | needLeader, leaderPaused},
	{"Coordinator/Killed", needServer | needCoordinator, coordinatorKilled},
	{"Coordinator/Paused", needServer | needCoordinator, coordinatorPaused},
	{"Random", 0, random},
}

var beside = []scenario{
	{"Calm", 0, calm},
	{"Parked", 0, parked},

	{"Network/Cut", needLinks, networkCut},
	{"Network/CutOne", needLinks, networkCutOne},
	{"Network/Flapping", needLinks, networkFlapping},
	{"Network/Deadline", needLinks, networkDeadline},
	{"Network/Torn", needProxies, networkTorn},
	{"Network/Latency", needProxies, networkLatency},
	{"Network/Slow", needProxies, networkSlow},
	{"Network/Silent", needProxies, networkSilent},
	{"Network/Deaf", needProxies, networkDeaf},
	{"Network/Mute", needProxies, networkMute},
	{"Network/SilentOne", needProxies, networkSilentOne},

	{"Members/Storm", 0, membersStorm},
	{"Members/Killed", needProcesses, membersKilled},
	{"Members/KilledAfterCut", needProcesses | needProxies, membersKilledAfterCut},
	{"Members/AllKilled", needProcesses, membersAllKilled},
	{"Members/Stopped", 0, membersStopped},

	{"Group/Forgotten", needForget, groupForgotten},
	{"Group/ForgottenIdle", needForget, groupForgottenIdle},
	{"Group/DeletedIdle", needDelete, groupDeletedIdle},
}

// Run runs the suite as subtests of t. name is the target's in the map that is
// given to [Member]; it is made anew for each test. A caller that is a parallel test
// has a server that no test beside it uses.
func Run(t *testing.T, name string, target func() Target) {
	t.Helper()
	for _, s := range target().chosen(alone) {
		t.Run(s.name, func(t *testing.T) { s.runOn(newField(t, name, target())) })
	}
	t.Run("Beside", func(t *testing.T) {
		all := slices.Clone(beside)
		for blow := range target().Blows {
			all = append(all, scenario{"Blow/" + blow, 0, func(f *field) { ownBlow(f, blow) }})
		}
		for _, s := range target().chosen(all) {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.runOn(newField(t, name, target()))
			})
		}
	})
}

// chosen are those of scenarios that are to be run.
func (target Target) chosen(scenarios []scenario) []scenario {
	return slices.DeleteFunc(slices.Clone(scenarios), func(s scenario) bool {
		return target.Only != nil && !slices.Contains(target.Only, s.name)
	})
}

func (s scenario) runOn(f *field) {
	f.Helper()
	f.require(s.needs)
	s.run(f)
}

// require skips the test if something is not there. It fails it instead if that
// is toxiproxy, and REQUIRE_BROKERS is set.
func (f *field) require(n need) {
	f.Helper()
	why := f.lacks(n)
	if why == noToxiproxy && os.Getenv("REQUIRE_BROKERS") != "" {
		f.Fatal(why + ", and REQUIRE_BROKERS is")
	}
	if why != "" {
		f.Skip(why)
	}
}

const noToxiproxy = "TEST_TOXIPROXY_URL is not set"

// can says whether nothing is missing.
func (f *field) can(n need) bool { return f.lacks(n) == "" }

// lacks is what is missing; "" if nothing is.
func (f *field) lacks(n need) string {
	inProcess := f.target.Address == ""
	for _, r := range []struct {
		need need
		has  bool
		why  string
	}{
		{needLinks, !inProcess || f.target.Cut != nil, "the target cannot cut a connection"},
		{needProxies | needProcesses, !inProcess, "the broker lives in this process, or is a cluster"},
		{needOne, f.target.Leader == nil, "the server is a cluster"},
		{needLeader, f.target.Leader != nil, "the server is not a cluster"},
		{needCoordinator, f.target.Coordinator != nil, "no node coordinates groups"},
		{needForget, f.target.Forget != nil, "the target has nothing to forget"},
		{needDelete, f.target.Delete != nil, "groups have nothing on the server that can be deleted"},
		{needAlarm, f.target.Alarm != nil, "the server has no alarms"},
		{needServer, f.service.name != "", "no server that may be hurt: TEST_SERVICES is not set, or Target.Service"},
		{needLinks | needProxies, inProcess || f.toxiproxy != nil, noToxiproxy},
	} {
		if n&r.need != 0 && !r.has {
			return r.why
		}
	}
	return ""
}
