package durable

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"testing"
)

// proxy is what toxiproxy says of one of its own.
type proxy struct {
	Listen string `json:"listen"`
}

// call asks toxiproxy's HTTP API.
func call(t *testing.T, method, url string, body any) (p proxy) {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // it was read
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("toxiproxy: %s %s: %s: %s, %v", method, url, response.Status, answer, err)
	}
	if len(answer) > 0 {
		if err := json.Unmarshal(answer, &p); err != nil {
			t.Fatal(err)
		}
	}
	return p
}
