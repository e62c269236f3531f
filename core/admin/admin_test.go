package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/diag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a Gateway that notes what it was asked.
type gateway struct {
	asked []string
	err   error
	// waits is why it does not work yet.
	waits error
}

func (g *gateway) Ready() error { return g.waits }

func (g *gateway) note(s string) error {
	g.asked = append(g.asked, s)
	return g.err
}

func (g *gateway) Status(context.Context) (diag.Status, error) {
	return diag.Status{Version: "v1", PID: 7}, g.note("status")
}

func (g *gateway) Tunnels(_ context.Context, name string, keys bool) ([]diag.Tunnel, error) {
	k := ""
	if keys {
		k = " with keys"
	}
	return []diag.Tunnel{{Name: name}}, g.note("tunnels " + name + k)
}

func (g *gateway) IKEStats(context.Context) (diag.Stats, error) {
	return diag.Stats{{Name: "ike.half_open", Value: 3}}, g.note("stats")
}

func (g *gateway) DataplaneStats(context.Context) (diag.Stats, error) {
	return diag.Stats{{Name: "no-sa", Value: 4}}, g.note("plane")
}

func (g *gateway) DataplaneSAs(context.Context) ([]diag.Held, error) {
	return []diag.Held{{Group: 1, Role: "standby", In: 2, Out: 3}}, g.note("sas")
}

func (g *gateway) StandalonePeers(context.Context) (diag.StandalonePeers, error) {
	s := diag.StandalonePeers{Group: 1, Member: 2, Peers: []diag.StandalonePeer{{Address: netip.MustParseAddrPort("172.31.1.1:708")}}}
	s.Links[2] = []diag.Link{{Name: "port1", MAC: "00:0c:29:06:4e:d6", Up: true}}
	return s, g.note("peers")
}

func (g *gateway) HAStatus(context.Context) (diag.HAStatus, error) {
	return diag.HAStatus{Mode: "a-p", Group: 3, Addresses: []diag.HAAddress{{Prefix: netip.MustParsePrefix("192.0.2.1/24")}}}, g.note("unit")
}

func (g *gateway) Failover(_ context.Context, on bool) error {
	return g.note(fmt.Sprintf("failover set=%v", on))
}

func (g *gateway) Up(_ context.Context, name string) error   { return g.note("up " + name) }
func (g *gateway) Down(_ context.Context, name string) error { return g.note("down " + name) }
func (g *gateway) Rekey(_ context.Context, name string, ike bool) error {
	return g.note(fmt.Sprintf("rekey %s ike=%v", name, ike))
}

func (g *gateway) Reload(context.Context) ([]string, error) {
	return []string{"phase1 vpn1 changed"}, g.note("reload")
}

// serve runs a server for g and returns a client for it.
func serve(t *testing.T, g Gateway) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(t.Context(), path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- NewServer(g, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return Dial(path)
}

func TestEveryCallReachesTheGateway(t *testing.T) {
	g := &gateway{}
	c := serve(t, g)
	ctx := t.Context()
	status, err := c.Status(ctx)
	if err != nil || status.PID != 7 {
		t.Errorf("Status returned %+v, %v", status, err)
	}
	tunnels, err := c.Tunnels(ctx, "a/b c?", true)
	if err != nil || len(tunnels) != 1 || tunnels[0].Name != "a/b c?" {
		t.Errorf("Tunnels returned %+v, %v", tunnels, err)
	}
	stats, err := c.IKEStats(ctx)
	if err != nil || len(stats) != 1 || stats[0].Value != 3 {
		t.Errorf("IKEStats returned %+v, %v", stats, err)
	}
	plane, err := c.DataplaneStats(ctx)
	if err != nil || len(plane) != 1 || plane[0] != (diag.Counter{Name: "no-sa", Value: 4}) {
		t.Errorf("DataplaneStats returned %+v, %v", plane, err)
	}
	held, err := c.DataplaneSAs(ctx)
	if err != nil || len(held) != 1 || held[0] != (diag.Held{Group: 1, Role: "standby", In: 2, Out: 3}) {
		t.Errorf("DataplaneSAs returned %+v, %v", held, err)
	}
	peers, err := c.StandalonePeers(ctx)
	if err != nil || peers.Member != 2 || len(peers.Peers) != 1 || peers.Peers[0].Address.Port() != 708 || len(peers.Links[2]) != 1 || !peers.Links[2][0].Up {
		t.Errorf("StandalonePeers returned %+v, %v", peers, err)
	}
	unit, err := c.HAStatus(ctx)
	if err != nil || unit.Group != 3 || len(unit.Addresses) != 1 || unit.Addresses[0].Prefix.Bits() != 24 {
		t.Errorf("HAStatus returned %+v, %v", unit, err)
	}
	if err := errors.Join(c.Failover(ctx, true), c.Failover(ctx, false)); err != nil {
		t.Error(err)
	}
	changed, err := c.Reload(ctx)
	if err != nil || len(changed) != 1 {
		t.Errorf("Reload returned %q, %v", changed, err)
	}
	if err := errors.Join(c.Up(ctx, "x/y"), c.Down(ctx, "vpn1_0"), c.Rekey(ctx, "vpn1", true), c.Rekey(ctx, "vpn1", false)); err != nil {
		t.Error(err)
	}
	got := strings.Join(g.asked, ", ")
	if want := "status, tunnels a/b c? with keys, stats, plane, sas, peers, unit, failover set=true, failover set=false, reload, up x/y, down vpn1_0, rekey vpn1 ike=true, rekey vpn1 ike=false"; got != want {
		t.Errorf("the gateway was asked for %q, want %q", got, want)
	}
}

func TestErrorsReachTheOperatorWordForWord(t *testing.T) {
	c := serve(t, &gateway{err: errors.New("nothing named vpn9 is up")})
	if err := c.Down(t.Context(), "vpn9"); err == nil || err.Error() != "nothing named vpn9 is up" {
		t.Errorf("Down returned %v", err)
	}
}

func TestGatewayThatWaitsTellsItsStatusOnly(t *testing.T) { // B7
	g := &gateway{waits: errors.New("there is no dataplane")}
	c := serve(t, g)
	if status, err := c.Status(t.Context()); err != nil || status.PID != 7 {
		t.Errorf("Status returned %+v, %v", status, err)
	}
	for _, err := range []error{c.Up(t.Context(), "vpn1"), c.Failover(t.Context(), true)} {
		if err == nil || err.Error() != "there is no dataplane" {
			t.Errorf("another call returned %v", err)
		}
	}
	if len(g.asked) != 1 {
		t.Errorf("the gateway was asked for %q, want its status only", g.asked)
	}
}

func TestNobodyListens(t *testing.T) {
	_, err := Dial(filepath.Join(t.TempDir(), "admin.sock")).Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "is evergated running") {
		t.Errorf("Status returned %v, want a hint that no gateway runs", err)
	}
}

func TestSocketOfADeadGatewayIsReplacedAndOfALiveOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	dead, err := new(net.ListenConfig).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	live, err := Listen(t.Context(), path, "")
	if err != nil {
		t.Fatalf("the socket of a dead gateway was not replaced: %v", err)
	}
	defer live.Close()
	if _, err := Listen(t.Context(), path, ""); err == nil || !strings.Contains(err.Error(), "another gateway") {
		t.Errorf("a second gateway got %v, want an error that names the first", err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v; want 0600", fi.Mode(), err)
	}
}
