package chaos

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// service is a server that tests/services started, and that may be hurt.
type service struct {
	script string // TEST_SERVICES; SERVICES_DIR and SERVICES_PORT_BASE go with it
	name   string
}

// run runs a command of the script on the server.
func (s service) run(ctx context.Context, command string) (string, error) {
	cmd := exec.CommandContext(ctx, s.script, command, s.name)
	out, err := cmd.Output()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return "", fmt.Errorf("services %s %s: %w: %s", command, s.name, err, failed.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// kill is kill -9. The server's data stay.
func (s service) kill(ctx context.Context) error {
	_, err := s.run(ctx, "kill")
	return err
}

// start returns when the server answers.
func (s service) start(ctx context.Context) error {
	_, err := s.run(ctx, "start")
	return err
}

// pause stops the server's process where it is; it keeps its connections and
// says nothing more, until resume.
func (s service) pause(ctx context.Context) (resume mend, err error) {
	pid, err := s.run(ctx, "pid")
	if err != nil {
		return nil, err
	}
	signal := func(ctx context.Context, name string) error {
		return exec.CommandContext(ctx, "kill", "-s", name, pid).Run()
	}
	return func(ctx context.Context) error { return signal(ctx, "CONT") }, signal(ctx, "STOP")
}
