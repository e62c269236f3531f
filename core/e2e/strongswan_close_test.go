package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

func TestEitherSideDeletes(t *testing.T) { // C12, C13
	t.Parallel()
	d := connect(t)

	t.Run("the client the child", func(t *testing.T) {
		d := d.within(t)
		if err := d.charon.TerminateChild("net"); err != nil {
			t.Fatal(err)
		}
		// The response to the Delete says that it is done: nothing to wait for.
		if tunnel := d.evergate.Tunnel("vpn1_0"); len(tunnel.Proxies) != 0 || len(tunnel.Routes) != 0 || d.Gateway.HasRoute(gateway.ClientNet) {
			t.Errorf("the child is gone, but the gateway has %+v and the routes %v", tunnel.Proxies, tunnel.Routes)
		}
		d.up("net") // a new one on the same IKE SA
		d.ping()
	})

	t.Run("the client the tunnel", func(t *testing.T) {
		d := d.within(t)
		if err := d.charon.TerminateIKE("home"); err != nil {
			t.Fatal(err)
		}
		if tunnels := d.evergate.Tunnels("vpn1"); len(tunnels) != 0 || d.Gateway.HasRoute(gateway.ClientNet) {
			t.Errorf("the tunnel is deleted, but the gateway has %+v, or its route", tunnels)
		}
		d.up("net")
		d.ping()
	})

	t.Run("the gateway the tunnel", func(t *testing.T) {
		d := d.within(t)
		if err := d.evergate.Down("vpn1_0"); err != nil {
			t.Fatal(err)
		}
		if d.Gateway.HasRoute(gateway.ClientNet) {
			t.Errorf("the tunnel is taken down, but its route to %s is there", gateway.ClientNet)
		}
		d.wantGone("vpn1")
		d.charon.Log().Wait("received DELETE for IKE_SA home", limit)
		netlab.Eventually(t, limit, "the client has forgotten the tunnel", func() error {
			if sas := d.charon.SAs(); len(sas) > 0 {
				return fmt.Errorf("it has %+v", sas)
			}
			return nil
		})
	})
}

func TestGatewayStopsCleanly(t *testing.T) { // C13
	t.Parallel()
	d := connect(t)
	d.evergate.Stop()
	d.charon.Log().Wait("received DELETE for IKE_SA home", limit)
	if d.Gateway.HasRoute(gateway.ClientNet) {
		t.Errorf("the gateway has stopped, its route to %s is there", gateway.ClientNet)
	}
}

// redial starts another charon in the client's place, as a client does that lost
// its power.
func (d *ends) redial(c strongswan.Connection) {
	d.t.Helper()
	d.charon.Kill()
	<-d.charon.Process().Done()
	d.charon = strongswan.Start(d.Client, strongswan.Settings{})
	d.charon.Load(c)
	d.up("net")
}

// TestClientComesBackAfterACrash holds what INITIAL_CONTACT means.
//
// "[...] asserts that this IKE SA is the only IKE SA currently active between the
// authenticated identities. [...] it MAY choose to delete any other IKE SAs"
// RFC 7296 section 2.4 and 3.10.1.
func TestClientComesBackAfterACrash(t *testing.T) {
	t.Parallel()
	d := connect(t)
	before := d.evergate.Tunnel("vpn1_0")
	// The new tunnel takes a name before the old one gives its own back.
	for _, name := range []string{"vpn1_1", "vpn1_0"} {
		d.redial(client())
		netlab.Eventually(t, limit, "the gateway has the new tunnel only", func() error {
			if tunnels := d.evergate.Tunnels("vpn1"); len(tunnels) != 1 {
				return fmt.Errorf("it has %d", len(tunnels))
			}
			return nil
		})
		now := d.evergate.Tunnels("vpn1")[0]
		if now.Name != name || now.Serial == before.Serial || now.IKESPIs == before.IKESPIs {
			t.Errorf("the tunnel is %+v, want another one than before the crash, named %s", now, name)
		}
		if !d.Gateway.HasRoute(gateway.ClientNet) || len(now.Routes) != 1 || now.Routes[0].String() != gateway.ClientNet {
			t.Errorf("the new tunnel has the routes %v, want %s, and the kernel it too", now.Routes, gateway.ClientNet)
		}
		d.ping()
		before = now
	}
	if n := d.evergate.Stat("ike.initial_contacts_in"); n < 3 {
		t.Errorf("the gateway counted %d INITIAL_CONTACT notifications, want 3", n)
	}
}

// TestUniqueIdentityReplacesTheOldTunnel is for clients that do not say
// INITIAL_CONTACT.
func TestUniqueIdentityReplacesTheOldTunnel(t *testing.T) {
	t.Parallel()
	c := client()
	c.Unique = "never" // charon's word for not saying it
	d := dialIn(t, config([]entry{server1().with(entry{"enforce-unique-id": "keep-new"})}, []entry{server2()}), strongswan.Settings{}, c)
	d.up("net")
	before := d.evergate.Tunnel("vpn1_0")
	d.redial(c)
	netlab.Eventually(t, limit, "the gateway has one tunnel, the new one", func() error {
		if tunnels := d.evergate.Tunnels("vpn1"); len(tunnels) != 1 || tunnels[0].Serial == before.Serial {
			return fmt.Errorf("it has %+v", tunnels)
		}
		return nil
	})
	d.ping()
	if n := d.evergate.Stat("ike.initial_contacts_in"); n != 0 {
		t.Errorf("the client said INITIAL_CONTACT %d times, which this test is not about", n)
	}
}

// TestDeadPeerIsDetected kills the client: the gateway asks, gets no answer, and
// drops the tunnel with its SAs and routes. On demand it asks only when it has
// sent something for which nothing came back.
func TestDeadPeerIsDetected(t *testing.T) { // C13
	t.Parallel()
	for _, mode := range []string{"on-idle", "on-demand"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			d := dialIn(t, config(
				[]entry{server1().with(entry{"dpd": mode, "dpd-retryinterval": "1", "dpd-retrycount": "2"})}, []entry{server2()},
			), strongswan.Settings{}, client())
			d.up("net")
			d.ping()
			d.charon.Kill()
			<-d.charon.Process().Done()
			if mode == "on-demand" {
				d.toDeadClient()
			}
			d.evergate.Log().Wait(`level=WARN msg="peer is dead" .*unanswered=3 `, limit)
			d.wantGone("vpn1")
			if got := d.evergate.Stat("ike.dead_peers"); got != 1 {
				t.Errorf("the gateway counted %d dead peers, want 1", got)
			}
		})
	}
}

// toDeadClient lets three intervals pass without a probe, because nothing was
// sent, and then has the server send something to the client's network.
func (d *ends) toDeadClient() {
	d.t.Helper()
	before := d.evergate.Tunnel("vpn1_0")
	netlab.Eventually(d.t, limit, "the tunnel has been silent for three intervals", func() error {
		if idle := d.evergate.Tunnel("vpn1_0").IdleIn; idle < 3*time.Second {
			return fmt.Errorf("it has been for %v", idle)
		}
		return nil
	})
	if now := d.evergate.Tunnel("vpn1_0"); now.DPD.Seqno != before.DPD.Seqno {
		d.t.Errorf("the gateway has sent %d probes to a client that nobody sent anything to", now.DPD.Seqno-before.DPD.Seqno)
	}
	conn, err := d.Server.Dial(d.t.Context(), "udp", "", gateway.ClientHost+":9")
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("anybody there?")); err != nil {
		d.t.Fatalf("send to the dead client: %v", err)
	}
}
