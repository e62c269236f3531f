package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire carries datagrams from one engine to another.
type wire struct{ to *Engine }

func (w wire) Send(dgs []ike.Datagram) int {
	out := make([]ike.Datagram, len(dgs))
	for i, dg := range dgs {
		out[i] = ike.Datagram{Local: dg.Remote, Remote: dg.Local, Payload: append([]byte(nil), dg.Payload...)}
	}
	w.to.Receive(out)
	return len(out)
}

// routeSet is Routes in memory.
type routeSet struct {
	mu  sync.Mutex
	set map[netip.Prefix]bool
}

func (r *routeSet) Add(routes ...Route) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, route := range routes {
		r.set[route.Prefix] = true
	}
	return nil
}

func (r *routeSet) Del(route Route) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.set, route.Prefix)
	return nil
}

func (r *routeSet) Yield(Route) error { return nil }
func (r *routeSet) Refresh() error    { return nil }

func (r *routeSet) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.set)
}

// running is an engine in its goroutines, over a dataplane in memory.
type running struct {
	*Engine
	plane  *mem.Engine
	routes *routeSet
}

func newRunning(t *testing.T, shards int, c *Connection) *running {
	t.Helper()
	r := &running{plane: mem.New(mem.Options{}), routes: &routeSet{set: make(map[netip.Prefix]bool)}}
	if _, err := r.plane.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{serverAddr, clientAddr}}); err != nil {
		t.Fatal(err)
	}
	r.Engine = New(Options{
		Shards: shards, Epoch: offload.NewEpoch(1, 0), Policy: NewPolicy(c), Env: ike.Env{Rand: rand.Reader, Boot: 1},
		Plane: r.plane, Routes: r.routes, Log: slog.New(slog.DiscardHandler),
	})
	return r
}

// start runs the engine until the test ends.
func (r *running) start(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("the engine ended with %v", err)
		}
	})
}

func TestEnginesDialDrainAndStop(t *testing.T) {
	server, client := newRunning(t, 4, dialupServer()), newRunning(t, 3, dialupClient())
	server.o.Network, client.o.Network = wire{client.Engine}, wire{server.Engine}
	server.start(t)
	client.start(t)
	up := waitFor(t, server, func(ts []TunnelStatus) bool { return len(ts) == 1 && len(ts[0].Children) == 1 })
	if up[0].Name != "vpn1_0" || server.routes.len() != 1 {
		t.Errorf("the server has tunnel %q and %d routes, want vpn1_0 and one", up[0].Name, server.routes.len())
	}
	if err := client.Down(t.Context(), "nothing"); !errors.Is(err, ErrNoSuchTunnel) {
		t.Errorf("taking down an unknown tunnel returned %v", err)
	}
	if err := server.Up(t.Context(), "vpn1"); err == nil {
		t.Error("a dialup server could be initiated")
	}
	if err := server.Rekey(t.Context(), "vpn1_0", true); err != nil {
		t.Error(err)
	}
	if err := client.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	waitFor(t, server, func(ts []TunnelStatus) bool { return len(ts) == 0 })
	if n := server.routes.len(); n != 0 {
		t.Errorf("%d routes are left", n)
	}
	stats, err := server.Stats(t.Context())
	if err != nil || stats.IKE.Established[1] != 1 {
		t.Errorf("%d IKE SAs were counted (%v), want 1", stats.IKE.Established[1], err)
	}
}

// waitFor asks for the tunnels until they are as wanted.
func waitFor(t *testing.T, r *running, ok func([]TunnelStatus) bool) []TunnelStatus {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		ts, err := r.Tunnels(t.Context())
		if err != nil {
			t.Fatalf("list tunnels: %v; the last were %+v", err, ts)
		}
		if ok(ts) {
			return ts
		}
	}
}
