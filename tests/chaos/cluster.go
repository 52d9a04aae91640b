package chaos

import "context"

// The node of a cluster that leads the topic is killed: the others go on without
// it, and with it when it is back.
func leaderKilled(f *field) { f.nodeHurt(func() blow { return f.leader("leader killed", killNode) }) }

// The leading node stops where it is, with its connections open, and comes back
// as one that believes itself to lead.
func leaderPaused(f *field) { f.nodeHurt(func() blow { return f.leader("leader paused", pauseNode) }) }

// The node that coordinates the group is killed, or stops where it is: another one
// does that meanwhile, and what members say to it is not lost.
func coordinatorKilled(f *field) {
	f.nodeHurt(func() blow { return f.coordinator("coordinator killed", killNode) })
}

func coordinatorPaused(f *field) {
	f.nodeHurt(func() blow { return f.coordinator("coordinator paused", pauseNode) })
}

func (f *field) nodeHurt(hurt func() blow) {
	f.two()
	turns := 1
	if f.longRun > 0 {
		turns = 8 // each node has led by then, probably
	}
	for range turns {
		f.hit(hurt())
	}
	f.finish()
}

// leader hurts the node that leads the topic at the time.
func (f *field) leader(name string, hurt func(context.Context, service) (mend, error)) blow {
	return f.node(name, func(ctx context.Context) (string, error) { return f.target.Leader(ctx, f.topic) }, hurt)
}

// coordinator hurts the node that coordinates the group at the time.
func (f *field) coordinator(name string, hurt func(context.Context, service) (mend, error)) blow {
	return f.node(name, func(ctx context.Context) (string, error) { return f.target.Coordinator(ctx, f.group) }, hurt)
}

func (f *field) node(name string, which func(context.Context) (string, error), hurt func(context.Context, service) (mend, error)) blow {
	return blow{name: name, hold: f.target.Hold, survived: true, strike: func(ctx context.Context) (mend, error) {
		node := ""
		f.await("a node that leads", f.target.Resume, func() bool { // an election may be under way
			var err error
			node, err = which(ctx)
			return err == nil && node != ""
		})
		f.Logf("it is %s", node)
		return hurt(ctx, service{script: f.service.script, name: node})
	}}
}

func killNode(ctx context.Context, s service) (mend, error) { return s.start, s.kill(ctx) }

func pauseNode(ctx context.Context, s service) (mend, error) { return s.pause(ctx) }
