package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/net/netutil"
)

// HealthPath is what a probe asks the health endpoint for.
const HealthPath = "/health"

// Limits of the health endpoint: a probe is a short question on a connection
// that it may keep for the next one.
const (
	maxProbes   = 64 // connections at once
	probeLimit  = 5 * time.Second
	probeIdle   = 30 * time.Second
	probeHeader = 8 << 10 // octets
)

// healthServer is the endpoint while it runs. The zero value is none, and its
// channel never yields.
type healthServer struct {
	server *http.Server
	done   chan struct{}
	failed chan error // at most one
}

// serveHealth listens where the configuration says, if it does.
func (w *Witness) serveHealth(ctx context.Context) (*healthServer, error) {
	if !w.cfg.Health.IsValid() {
		return &healthServer{}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", w.cfg.Health.String())
	if err != nil {
		return nil, fmt.Errorf("open the health endpoint: %w", err)
	}
	addr, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the health endpoint: %w", err), l.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+HealthPath, w.answerProbe)
	h := &healthServer{
		server: &http.Server{
			Handler:     mux,
			ReadTimeout: probeLimit, WriteTimeout: probeLimit, IdleTimeout: probeIdle,
			MaxHeaderBytes: probeHeader,
			ErrorLog:       slog.NewLogLogger(w.cfg.Log.Handler(), slog.LevelDebug),
		},
		done:   make(chan struct{}),
		failed: make(chan error, 1),
	}
	w.setHealth(addr)
	go func() {
		defer close(h.done)
		err := h.server.Serve(netutil.LimitListener(l, maxProbes))
		w.setHealth(netip.AddrPort{})
		if !errors.Is(err, http.ErrServerClosed) {
			h.failed <- fmt.Errorf("serve the health endpoint: %w", err)
		}
	}()
	return h, nil
}

// stop closes the endpoint and its connections.
func (h *healthServer) stop() error {
	if h.server == nil {
		return nil
	}
	err := h.server.Close()
	<-h.done
	if err != nil {
		return fmt.Errorf("close the health endpoint: %w", err)
	}
	return nil
}

// answerProbe says 200 to a probe while routers should choose this member, and
// else 503, each with the reason in a line of text.
func (w *Witness) answerProbe(rw http.ResponseWriter, _ *http.Request) {
	w.mu.Lock()
	code, word, reason := http.StatusOK, "fit", w.reason
	switch {
	case w.drain != staying:
		code, word, reason = http.StatusServiceUnavailable, "unfit", "draining"
	case !w.fit:
		code, word = http.StatusServiceUnavailable, "unfit"
	}
	w.mu.Unlock()
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	rw.Header().Set("Cache-Control", "no-store")
	rw.WriteHeader(code)
	fmt.Fprintf(rw, "%s: %s\n", word, reason)
}

func (w *Witness) setHealth(addr netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.health = addr
}
