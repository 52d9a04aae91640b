package chaos_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/troupe-go/troupe/tests/chaos"
)

// queuesAPI is where RabbitMQ's management answers about queues.
type queuesAPI string

// deleteQueues deletes a group's queues on a topic, and waits until they are there
// again, and bound.
func deleteQueues(ctx context.Context, management, topic, group string) error {
	api := queuesAPI(management + "/api/queues/%2F/")
	var queues []string
	for id := range chaos.Partitions {
		queues = append(queues, fmt.Sprintf("%s.%s.p%d", topic, group, id))
	}
	for _, queue := range queues {
		if body, status, err := api.ask(ctx, http.MethodDelete, queue, ""); err != nil || status != http.StatusNoContent {
			return fmt.Errorf("delete queue %q: %d %s, %w", queue, status, body, err)
		}
	}
	for _, queue := range queues {
		if err := api.awaitBound(ctx, queue, topic); err != nil {
			return fmt.Errorf("queue %q is to be there again: %w", queue, err)
		}
	}
	return nil
}

var unpooled = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (q queuesAPI) ask(ctx context.Context, method, queue, what string) (body []byte, status int, err error) {
	request, err := http.NewRequestWithContext(ctx, method, string(q)+url.PathEscape(queue)+what, nil)
	if err != nil {
		return nil, 0, err
	}
	answer, err := unpooled.Do(request)
	if err != nil {
		return nil, 0, err
	}
	body, err = io.ReadAll(answer.Body)
	return body, answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// awaitBound returns when a queue is bound to an exchange.
func (q queuesAPI) awaitBound(ctx context.Context, queue, exchange string) error {
	type binding struct {
		Source string `json:"source"`
	}
	for {
		body, status, err := q.ask(ctx, http.MethodGet, queue, "/bindings")
		var bindings []binding
		if err == nil && status == http.StatusOK {
			err = json.Unmarshal(body, &bindings)
		}
		if err != nil || slices.Contains(bindings, binding{exchange}) {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
