package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// keepsState is what a gateway that stands alone needs to go on after a restart.
const keepsState = `
state: {seal-key: {literal: a key that the operator has made}}
dataplane: {orphan-time: 120}
`

// adopted is a gateway whose tunnels outlive its process, with a client.
type adopted struct {
	*ends
	binary string
	plugin int
}

// keepUp starts a gateway that keeps its state, from an executable of its own, and
// has the client's tunnel up.
func keepUp(t *testing.T) *adopted {
	t.Helper()
	a := &adopted{ends: &ends{t: t, Site: gateway.NewSite(netlab.New(t)), name: "vpn1_0"}, binary: filepath.Join(t.TempDir(), "evergated")}
	a.put("")
	a.evergate = gateway.Start(a.Gateway, gateway.Settings{
		Binary: a.binary, Config: config([]entry{server1()}, []entry{server2()}) + keepsState, Env: []string{"GORACE=halt_on_error=1"},
	})
	a.charon = strongswan.Start(a.Client, strongswan.Settings{})
	a.charon.Load(client())
	a.up("net")
	a.ping()
	a.plugin = plugin(t, a.evergate)
	t.Cleanup(func() {
		if err := syscall.Kill(-a.plugin, syscall.SIGKILL); err != nil {
			t.Errorf("the dataplane cannot be ended: %v", err)
		}
	})
	return a
}

// put puts an executable in place as a package manager does: another file under
// the same name.
func (a *adopted) put(version string) {
	a.t.Helper()
	b, err := os.ReadFile(programs.Path("evergated"))
	if err == nil {
		err = os.WriteFile(a.binary+".new", append(b, version...), 0o755)
	}
	if err == nil {
		err = os.Rename(a.binary+".new", a.binary)
	}
	if err != nil {
		a.t.Fatalf("put an executable in place: %v", err)
	}
}

// wantAdopted checks that a new process goes on with the dataplane of the old one.
func (a *adopted) wantAdopted(how string) {
	a.t.Helper()
	if now := plugin(a.t, a.evergate); now != a.plugin {
		a.t.Errorf("%s: the dataplane is process %d, want %d still", how, now, a.plugin)
	}
	if n := a.evergate.Stat("ike.started.responder"); n != 0 {
		a.t.Errorf("%s: %d IKE SAs were negotiated, want none", how, n)
	}
}

// TestDaemonAndDataplaneDie: the IKE SA goes on, with new keys for its child, as
// nobody knows what had been accepted with the old ones.
func TestDaemonAndDataplaneDie(t *testing.T) { // B6, I9
	t.Parallel()
	a := keepUp(t)
	wire := a.ClientWAN.Capture("udp port 500 or udp port 4500")
	before := a.evergate.Tunnel(a.name)
	a.evergate.KillDaemon()
	if err := syscall.Kill(-a.plugin, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	a.evergate.Restart()
	a.plugin = plugin(t, a.evergate)
	a.wantAgreement()
	a.ping()
	var after diag.Tunnel
	netlab.Eventually(t, limit, "the child has its successor alone", func() error {
		after = a.evergate.Tunnel(a.name)
		if n := len(after.Proxies[0].SAs); n != 1 {
			return fmt.Errorf("it has %d pairs of SAs", n)
		}
		return nil
	})
	if after.IKESPIs != before.IKESPIs || pair(t, after).Dec.SPI == pair(t, before).Dec.SPI {
		t.Errorf("the tunnel went from %v to %v, want the same IKE SA and another child", before, after)
	}
	for _, m := range wire.IKE("") {
		if m.ExchangeType == ikeSAInit {
			t.Errorf("another IKE SA was negotiated: %+v", m)
		}
	}
}

// TestRestartLosesNothing kills the daemon, stops it and upgrades it under numbered
// streams in both directions. The client notices nothing, and all that comes later,
// rekeying by either side and dead peer detection, works as before.
func TestRestartLosesNothing(t *testing.T) { // B6
	t.Parallel()
	a := keepUp(t)
	wire := a.ClientWAN.Capture("udp port 500 or udp port 4500")
	before := a.charon.SAs()
	streams := a.streams()
	for _, step := range []struct {
		how string
		end func()
	}{
		{"killed at once", a.evergate.KillDaemon},
		{"stopped", a.evergate.Stop},
		{"upgraded", func() { a.put("another version"); a.evergate.Stop() }},
		{"killed at once again", a.evergate.KillDaemon},
	} {
		step.end()
		streams.flow()
		a.evergate.Restart()
		streams.flow()
		a.wantAdopted(step.how)
	}
	wantSameSAs(t, before, a.charon.SAs())
	wantNoneNegotiated(t, wire)
	for _, step := range []struct {
		who string
		do  func() error
	}{
		{"the client rekeys the child", func() error { return a.charon.RekeyChild("net") }},
		{"the gateway rekeys the IKE SA", func() error { return a.rekeyed(true) }},
		{"the gateway rekeys the child", func() error { return a.rekeyed(false) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("after the restarts %s: %v", step.who, err)
		}
		a.evergate.KillDaemon()
		a.evergate.Restart()
		streams.flow()
		a.wantAdopted(step.who)
	}
	streams.wantWhole()
	a.wantAgreement()
	if !a.Gateway.HasRoute(gateway.ClientNet) {
		t.Error("the route to the client is gone")
	}
}

// impatient is a client that soon notices when its tunnel is gone.
var impatient = strings.NewReplacer("type: static,", "type: static, dpd: on-idle, dpd-retryinterval: 1, dpd-retrycount: 1,")

// begunAnew waits until the client has another tunnel than before.
func begunAnew(p *evergates, before, why string) {
	p.t.Helper()
	p.wantAnswer(why)
	if after := identity(p.server.WaitUp("vpn1", 1)); after == before {
		p.t.Errorf("%s: the tunnel is the one of before", why)
	}
}

// TestWhatCannotBeAdoptedBeginsAnew: a gateway that keeps its state does not use it
// where that would not be safe, and says why.
func TestWhatCannotBeAdoptedBeginsAnew(t *testing.T) { // B6
	t.Parallel()
	server := dialupConfig + strings.Replace(keepsState, "orphan-time: 120", "orphan-time: 2", 1)
	p := connectWith(t, server, impatient.Replace(officeConfig))

	before, dead := identity(p.server.WaitUp("vpn1", 1)), plugin(t, p.server)
	p.server.Process().Signal(syscall.SIGINT)
	if err := p.server.Process().Wait(limit); err != nil {
		t.Errorf("after SIGINT evergated ended with %v", err)
	}
	netlab.Eventually(t, limit, "SIGINT ends the dataplane too", func() error { return gone(dead) })
	p.server.Restart()
	begunAnew(p, before, "after SIGINT")

	before, dead = identity(p.server.WaitUp("vpn1", 1)), plugin(t, p.server)
	p.server.KillDaemon()
	netlab.Eventually(t, limit, "a dataplane that no daemon comes for ends by itself", func() error { return gone(dead) })
	p.server.Restart()
	p.server.Log().Wait("the dataplane did not outlive the last life", limit)
	begunAnew(p, before, "after the end of the dataplane")

	before = identity(p.server.WaitUp("vpn1", 1))
	p.server.KillDaemon()
	p.server.Write(strings.Replace(server, "the operator has made", "somebody else has made", 1))
	p.server.Restart()
	p.server.Log().Wait("tunnels.sealed is not used: .*another key", limit)
	begunAnew(p, before, "with another key")

	before, dead = identity(p.server.WaitUp("vpn1", 1)), plugin(t, p.server)
	p.server.KillDaemon()
	p.server.Write(server + "ike-restart: flush\n")
	p.server.Restart()
	netlab.Eventually(t, limit, "the dataplane is replaced", func() error { return gone(dead) })
	begunAnew(p, before, "with ike-restart: flush")
	if left, err := filepath.Glob(filepath.Join(p.server.Dir(), "state", "*.sealed")); err != nil || len(left) > 0 {
		t.Errorf("with ike-restart: flush %v is on disk (%v)", left, err)
	}
}

// TestRestartFlushes has the seed's way: an IKE process that stops deletes the
// dialup tunnels that exist, peers are told, and dial again.
func TestRestartFlushes(t *testing.T) { // C11
	t.Parallel()
	p := connectWith(t, dialupConfig+"ike-restart: flush\n", officeConfig)
	before, dead := identity(p.server.WaitUp("vpn1", 1)), plugin(t, p.server)
	p.server.Stop()
	p.client.WaitGone("office", limit)
	if err := gone(dead); err != nil {
		t.Errorf("the dataplane did not end with the daemon: %v", err)
	}
	if p.Gateway.HasRoute(gateway.ClientNet) {
		t.Error("the tunnel is gone, its route is not")
	}
	p.server.Restart()
	begunAnew(p, before, "after a restart that flushes")
}

// TestMemberThatFlushesTakesItsTunnelsAlong: in a group too the seed's restart ends
// tunnels, instead of leaving them to the others.
func TestMemberThatFlushesTakesItsTunnelsAlong(t *testing.T) { // C11
	t.Parallel()
	f := startFGSP(t, 2, 0, func(*gateway.GroupMember) string { return "ike-restart: flush\n" })
	one, two := f.members[0], f.members[1]
	f.site.Lead(f.site.Members[0])
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(one, "vpn1_1", "sync-primary")
	f.waitRole(two, "vpn1_1", "standby")
	one.Stop()
	f.client.Log().Wait("received DELETE for IKE_SA", limit)
	two.WaitGone("vpn1", limit)
	f.site.Lead(f.site.Members[1])
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	two.WaitUp("vpn1", 1)
	pingThrough(t, f)
}
