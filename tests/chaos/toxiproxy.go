package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// toxiproxy is a toxiproxy server, spoken to by its HTTP API. Its own client
// would bring its whole server's dependencies.
type toxiproxy struct {
	url    string
	client http.Client
}

func newToxiproxy(api string) *toxiproxy {
	// Without idle connections there are no goroutines to be waited for.
	return &toxiproxy{url: api, client: http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}
}

// call sends in, if not nil, and reads the answer into out, if not nil.
func (x *toxiproxy) call(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	request, err := http.NewRequestWithContext(ctx, method, x.url+path, &body)
	if err != nil {
		return err
	}
	response, err := x.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was read, or is of no use
	answer, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode >= 300:
		return fmt.Errorf("toxiproxy: %s %s: %s: %s", method, path, response.Status, bytes.TrimSpace(answer))
	case out == nil:
		return nil
	}
	return json.Unmarshal(answer, out)
}

// proxy is a port of toxiproxy's in front of a server.
type proxy struct {
	server  *toxiproxy
	path    string
	address string // where it listens
}

// proxy makes one to upstream, on a port that is free.
func (x *toxiproxy) proxy(ctx context.Context, name, upstream string) (*proxy, error) {
	// The API takes no slash in a name, not even an escaped one.
	name = strings.ReplaceAll(name, "/", "-")
	in := map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true}
	var out struct {
		Listen string `json:"listen"`
	}
	if err := x.call(ctx, http.MethodPost, "/proxies", in, &out); err != nil {
		return nil, err
	}
	return &proxy{server: x, path: "/proxies/" + url.PathEscape(name), address: out.Listen}, nil
}

// enable lets connections through, or cuts those that are open and refuses more.
func (p *proxy) enable(ctx context.Context, enabled bool) error {
	return p.server.call(ctx, http.MethodPost, p.path, map[string]any{"enabled": enabled}, nil)
}

// toxic is something that happens to one direction of a proxy's connections.
// Toxiproxy's README has their types and attributes.
type toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Toxicity   float64        `json:"toxicity"`
	Attributes map[string]int `json:"attributes"`
}

// poison adds a toxic, for the connections that are open as well.
func (p *proxy) poison(ctx context.Context, t toxic) error {
	t.Name, t.Toxicity = t.Type+"_"+t.Stream, 1
	return p.server.call(ctx, http.MethodPost, p.path+"/toxics", t, nil)
}

// heal takes a toxic away.
func (p *proxy) heal(ctx context.Context, t toxic) error {
	return p.server.call(ctx, http.MethodDelete, p.path+"/toxics/"+t.Type+"_"+t.Stream, nil, nil)
}

func (p *proxy) remove(ctx context.Context) error {
	return p.server.call(ctx, http.MethodDelete, p.path, nil, nil)
}
