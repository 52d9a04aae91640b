package actors

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// probeTimeout bounds how long a broker may take to say how it is.
const probeTimeout = 2 * time.Second

// Livez answers a liveness probe: 200 until Run is over, whatever the brokers
// are doing, as a restart would not mend them; then 503.
func (s *System) Livez() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		live := !s.over.Load()
		answer(w, live, struct {
			Live bool `json:"live"`
		}{live})
	})
}

// Readyz answers a readiness probe with [System.Health] as JSON: 200 if it is
// ready, else 503 with what is wrong.
func (s *System) Readyz() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		h := s.Health(ctx)
		answer(w, h.Ready, h)
	})
}

func answer(w http.ResponseWriter, well bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !well {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // the asker may have gone
}
