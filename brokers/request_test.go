package brokers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestReplyErrorOf(t *testing.T) {
	own := &ReplyError{Code: "no_account", Message: "there is no account 7"}
	for _, c := range []struct {
		err  error
		want ReplyError
	}{
		{own, *own},
		{fmt.Errorf("ledger: %w", own), *own},
		{errors.New("disk full"), ReplyError{CodeInternal, "disk full"}},
		{context.DeadlineExceeded, ReplyError{CodeDeadline, context.DeadlineExceeded.Error()}},
	} {
		if got := ReplyErrorOf(c.err); *got != c.want {
			t.Errorf("%v travels as %+v; want %+v", c.err, *got, c.want)
		}
	}
}

func TestRespondConfig(t *testing.T) {
	for field, cfg := range map[string]RespondConfig{
		"Topic":       {},
		"Concurrency": {Topic: "t", Concurrency: -1},
		"MaxPending":  {Topic: "t", MaxPending: -1},
	} {
		if _, err := cfg.WithDefaults(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), field) {
			t.Errorf("a wrong %s: %v; want ErrInvalid that names it", field, err)
		}
	}
	cfg, err := RespondConfig{Topic: "t"}.WithDefaults()
	if want := (RespondConfig{"t", "responders", 64, 1024}); err != nil || cfg != want {
		t.Errorf("defaults %+v, %v; want %+v", cfg, err, want)
	}
}
