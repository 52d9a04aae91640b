package chaos

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"
)

// random strikes blows by chance, one after the other, for as long as it is
// told to. CHAOS_SEED repeats the choice; what the blows meet is never the same.
func random(f *field) {
	seed := f.seed()
	f.Logf("CHAOS_SEED=%d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	f.two()
	for until := time.Now().Add(max(f.longRun, 3*f.target.Hold)); time.Now().Before(until); {
		f.pass(time.Duration(chance.Int64N(int64(f.target.Hold))))
		blows := f.possible(chance)
		f.hit(blows[chance.IntN(len(blows))])
	}
	f.finish()
}

func (f *field) seed() uint64 {
	f.Helper()
	text := os.Getenv("CHAOS_SEED")
	if text == "" {
		return rand.Uint64()
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	f.ok(err)
	return seed
}

// possible are the blows that can be struck here, each lasting as chance has it.
func (f *field) possible(chance *rand.Rand) []blow {
	hold := time.Duration(chance.Int64N(int64(f.target.Hold)))
	blows := []blow{{name: "a member replaced", strike: f.replace}}
	add := func(name string, hold time.Duration, s strike) {
		blows = append(blows, blow{name: name, hold: hold, strike: s})
	}
	one := f.members[chance.IntN(len(f.members))].link
	if f.can(needLinks) {
		add("cut", hold, cut(f.links()...))
		add("cut one", hold+f.target.Lease, cut(one))
		add("flapping", 0, func(ctx context.Context) (mend, error) { return nil, f.flap(ctx, 3) })
	}
	if f.can(needProxies) {
		long := hold + f.target.Notice
		add("torn", hold, poison(torn, f.links()...))
		add("latency", hold, poison(late, f.links()...))
		add("slow", hold, poison(slow, f.links()...))
		add("silent", long, poison([]toxic{deaf, mute}, f.links()...))
		add("deaf", long, poison([]toxic{deaf}, f.links()...))
		add("mute", long, poison([]toxic{mute}, f.links()...))
		add("silent one", long, poison([]toxic{deaf, mute}, one))
	}
	if f.can(needForget) {
		add("group forgotten", 0, f.forget)
	}
	if f.can(needServer) {
		blows = append(blows, f.killing())
	}
	if f.can(needServer | needOne) {
		blows = append(blows, f.pausing())
	}
	if f.can(needServer | needLeader) {
		blows = append(blows, f.leader("leader killed", killNode), f.leader("leader paused", pauseNode))
	}
	if f.can(needServer | needCoordinator) {
		blows = append(blows, f.coordinator("coordinator killed", killNode), f.coordinator("coordinator paused", pauseNode))
	}
	if f.can(needServer | needAlarm) {
		blows = append(blows, f.alarm())
	}
	for _, name := range slices.Sorted(maps.Keys(f.target.Blows)) {
		add(name, hold, f.own(name))
	}
	return blows
}

// replace has a member leave and another join.
func (f *field) replace(context.Context) (mend, error) {
	f.leave(f.members[0])
	f.join(nil)
	return nil, nil
}
