package rabbitmq_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// api is the server's management API.
func (s server) api(t *testing.T, method, path, body string) string {
	t.Helper()
	text, err := s.call(t.Context(), serverURL(t, s.management, s.optional), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (s server) call(ctx context.Context, base, method, path, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+"/api/"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(answer.Body)
	if err == nil {
		err = answer.Body.Close()
	}
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return string(text), err
}

// vhost makes a virtual host for a test's time. What the test leaves goes with it:
// a server that has thousands of queues is slow.
func (s server) vhost(t *testing.T) string {
	t.Helper()
	base := serverURL(t, s.management, s.optional)
	dsn, err := url.Parse(serverURL(t, s.plain, s.optional))
	if err != nil {
		t.Fatal(err)
	}
	name := "test-" + uuid.NewString()
	s.api(t, http.MethodPut, "vhosts/"+name, "")
	s.api(t, http.MethodPut, "permissions/"+name+"/"+dsn.User.Username(), `{"configure":".*","write":".*","read":".*"}`)
	t.Cleanup(func() {
		if _, err := s.call(context.Background(), base, http.MethodDelete, "vhosts/"+name, ""); err != nil {
			t.Error(err)
		}
	})
	return name
}
