package chaos

import "context"

// The node of a cluster that leads the topic is killed: the others go on without
// it, and with it when it is back.
func leaderKilled(f *field) { f.leaderHurt("leader killed", killNode) }

// The leading node stops where it is, with its connections open, and comes back
// as one that believes itself to lead.
func leaderPaused(f *field) { f.leaderHurt("leader paused", pauseNode) }

func (f *field) leaderHurt(name string, hurt func(context.Context, service) (mend, error)) {
	f.two()
	turns := 1
	if f.longRun > 0 {
		turns = 8 // each node has led by then, probably
	}
	for range turns {
		f.hit(f.leader(name, hurt))
	}
	f.finish()
}

// leader hurts the node that leads the topic at the time.
func (f *field) leader(name string, hurt func(context.Context, service) (mend, error)) blow {
	return blow{name: name, hold: f.target.Hold, survived: true, strike: func(ctx context.Context) (mend, error) {
		node := ""
		f.await("a leader", f.target.Resume, func() bool { // an election may be under way
			var err error
			node, err = f.target.Leader(ctx, f.topic)
			return err == nil && node != ""
		})
		f.Logf("the leader is %s", node)
		return hurt(ctx, service{script: f.service.script, name: node})
	}}
}

func killNode(ctx context.Context, s service) (mend, error) { return s.start, s.kill(ctx) }

func pauseNode(ctx context.Context, s service) (mend, error) { return s.pause(ctx) }
