package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"go.uber.org/zap"
)

// memberEnv has the config of the member that a process is to be.
const memberEnv = "CHAOS_MEMBER"

// Member runs the member that this process was started to be, with the target of
// the name that it was started for, and returns true. It returns false in a
// process that is to run tests. TestMain calls it first.
func Member(targets map[string]func() Target) bool {
	text := os.Getenv(memberEnv)
	if text == "" {
		return false
	}
	if err := runMember(text, targets); err != nil {
		fmt.Fprintln(os.Stderr, "chaos member:", err)
		os.Exit(1)
	}
	return true
}

func runMember(text string, targets map[string]func() Target) error {
	var cfg memberConfig
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return err
	}
	journal, err := openJournal(cfg.Journal)
	if err != nil {
		return err
	}
	log, err := zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	broker, err := targets[cfg.Target]().Open(ctx, cfg.Address)
	if err != nil {
		return err
	}
	m, sub := newMember(cfg, broker, journal)
	if err := m.start(log, sub); err != nil {
		return err
	}
	// The parent closes the pipe to have the member stop, and so does its death.
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, m.stop(), broker.Close(), journal.close())
}

// startTimeout is how long a process may take to connect.
const startTimeout = 15 * time.Second

// process is a member in a process of its own.
type process struct {
	cfg    memberConfig
	link   *link
	cmd    *exec.Cmd
	stdin  io.Closer
	stderr bytes.Buffer
	done   chan struct{} // closed when the process has ended
	err    error
}

// startProcess runs this program again, as a member.
func startProcess(cfg memberConfig) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	p := &process{cfg: cfg, cmd: exec.Command(self), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// kill is kill -9. It returns when the process is gone, with what to write down.
func (p *process) kill() (Record, error) {
	died := Record{Kind: Died, Member: p.cfg.Name, Time: time.Now().UnixNano()}
	if err := p.cmd.Process.Kill(); err != nil {
		return died, fmt.Errorf("kill %q: %w: %s", p.cfg.Name, err, p.stderr.String())
	}
	<-p.done
	return died, nil
}

// stop has the process drain, and returns what was wrong with it.
func (p *process) stop() error {
	err := p.stdin.Close()
	limit := time.NewTimer(2*drainTimeout + startTimeout)
	defer limit.Stop()
	select {
	case <-p.done:
		err = errors.Join(err, p.err)
	case <-limit.C:
		_, killed := p.kill()
		err = errors.Join(err, killed, errors.New("it had to be killed"))
	}
	if err != nil {
		return fmt.Errorf("member %q: %w: %s", p.cfg.Name, err, p.stderr.String())
	}
	return nil
}
