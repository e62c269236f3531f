package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/evergate/evergate/core/diag"
)

// Gateway is what the socket gives access to. It is safe for concurrent use.
type Gateway interface {
	// Ready is nil once the gateway works. Until then it says why not, and only Status is
	// called.
	Ready() error
	Status(context.Context) (diag.Status, error)
	// Tunnels describes all tunnels with that name, or all with an empty one.
	// The keys are filled in only when keys is set.
	Tunnels(ctx context.Context, name string, keys bool) ([]diag.Tunnel, error)
	IKEStats(context.Context) (diag.Stats, error)
	// DataplaneStats counts the packets that belong to no SA.
	DataplaneStats(context.Context) (diag.Stats, error)
	// DataplaneSAs counts the SAs that the dataplane holds. It asks for each of them.
	DataplaneSAs(context.Context) ([]diag.Held, error)
	// StandalonePeers describes the group, and is an error for a gateway that is in
	// none.
	StandalonePeers(context.Context) (diag.StandalonePeers, error)
	// HAStatus describes the unit that this gateway is part of.
	HAStatus(context.Context) (diag.HAStatus, error)
	// Failover makes this gateway step back behind the others of its unit, or takes
	// that back.
	Failover(ctx context.Context, on bool) error
	// Up, Down and Rekey return an ErrNotFound for a name that means nothing.
	Up(ctx context.Context, name string) error
	Down(ctx context.Context, name string) error
	Rekey(ctx context.Context, name string, ike bool) error
	// Reload returns what changed, one line each.
	Reload(context.Context) ([]string, error)
}

// ErrNotFound answers for a name that no tunnel and no phase 1 has.
var ErrNotFound = errors.New("not found")

// requestTime bounds one call.
const requestTime = 30 * time.Second

// Server answers on a unix socket.
type Server struct {
	gateway Gateway
	log     *slog.Logger
	http    http.Server
}

// NewServer makes a server for g.
func NewServer(g Gateway, log *slog.Logger) *Server {
	s := &Server{gateway: g, log: log}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.answer(func(r *http.Request) (any, error) {
		return g.Status(r.Context())
	}))
	mux.HandleFunc("GET /v1/tunnels", s.whenReady(func(r *http.Request) (any, error) {
		name, keys := r.URL.Query().Get("name"), r.URL.Query().Get("keys") == "1"
		if keys {
			log.Warn("keys were shown to an operator", "tunnel", name)
		}
		return g.Tunnels(r.Context(), name, keys)
	}))
	mux.HandleFunc("GET /v1/ike/stats", s.whenReady(func(r *http.Request) (any, error) {
		return g.IKEStats(r.Context())
	}))
	mux.HandleFunc("GET /v1/dataplane/stats", s.whenReady(func(r *http.Request) (any, error) {
		return g.DataplaneStats(r.Context())
	}))
	mux.HandleFunc("GET /v1/dataplane/sas", s.whenReady(func(r *http.Request) (any, error) {
		return g.DataplaneSAs(r.Context())
	}))
	mux.HandleFunc("GET /v1/ha/peers", s.whenReady(func(r *http.Request) (any, error) {
		return g.StandalonePeers(r.Context())
	}))
	mux.HandleFunc("GET /v1/ha/status", s.whenReady(func(r *http.Request) (any, error) {
		return g.HAStatus(r.Context())
	}))
	mux.HandleFunc("POST /v1/ha/failover", s.whenReady(func(r *http.Request) (any, error) {
		return nil, g.Failover(r.Context(), r.URL.Query().Get("set") == "1")
	}))
	mux.HandleFunc("POST /v1/tunnels/{name}/up", s.whenReady(func(r *http.Request) (any, error) {
		return nil, g.Up(r.Context(), r.PathValue("name"))
	}))
	mux.HandleFunc("POST /v1/tunnels/{name}/down", s.whenReady(func(r *http.Request) (any, error) {
		return nil, g.Down(r.Context(), r.PathValue("name"))
	}))
	mux.HandleFunc("POST /v1/tunnels/{name}/rekey", s.whenReady(func(r *http.Request) (any, error) {
		return nil, g.Rekey(r.Context(), r.PathValue("name"), r.URL.Query().Get("ike") == "1")
	}))
	mux.HandleFunc("POST /v1/reload", s.whenReady(func(r *http.Request) (any, error) {
		return g.Reload(r.Context())
	}))
	s.http = http.Server{Handler: mux, ReadHeaderTimeout: requestTime}
	return s
}

// whenReady answers with what call returns once the gateway works, and before that with
// why it does not.
func (s *Server) whenReady(call func(*http.Request) (any, error)) http.HandlerFunc {
	return s.answer(func(r *http.Request) (any, error) {
		if err := s.gateway.Ready(); err != nil {
			return nil, err
		}
		return call(r)
	})
}

func (s *Server) answer(call func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		v, err := call(r.WithContext(ctx))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case errors.Is(err, ErrNotFound):
			w.WriteHeader(http.StatusNotFound)
		case err != nil:
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		if err != nil {
			v = problem{Error: err.Error()}
		}
		if err := json.NewEncoder(w).Encode(v); err != nil {
			s.log.Debug("operator's answer was not written", "path", r.URL.Path, "error", err)
		}
	}
}

type problem struct {
	Error string `json:"error"`
}

// Listen opens the socket at path for its owner and, when it is named, a group.
// A socket that nobody listens on any more is replaced; one that somebody does
// is an error.
func Listen(ctx context.Context, path, group string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the socket's own mode guards it
		return nil, fmt.Errorf("admin: make the socket's directory: %w", err)
	}
	if err := clearStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	if err := guard(path, group); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func clearStale(ctx context.Context, path string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("admin: another gateway listens on %s", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("admin: replace the old socket: %w", err)
	}
	return nil
}

func guard(path, group string) error {
	if group == "" {
		return os.Chmod(path, 0o600)
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return fmt.Errorf("admin: group of the socket: %w", err)
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("admin: group %s: %w", group, err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return fmt.Errorf("admin: give the socket to group %s: %w", group, err)
	}
	return os.Chmod(path, 0o660) //nolint:gosec // the group was named for this
}

// Serve answers on l until ctx ends, and closes it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			_ = s.http.Close()
		}
	})
	defer stop()
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin: serve: %w", err)
	}
	return nil
}
