package e2e_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// fgsp is a group of members with a strongSwan client.
type fgsp struct {
	t       *testing.T
	site    *gateway.GroupSite
	members []*gateway.Daemon
	client  *strongswan.Daemon
}

// patience makes a member that gets no processor for up to three seconds none that has
// died, and an answer of its that takes as long one that came.
const patience = 60

// newFGSP starts n members with sync enabled, and as many more with it disabled. They
// are patient: the machine may be busy.
func newFGSP(t *testing.T, n, disabled int) *fgsp {
	t.Helper()
	f := startFGSP(t, n, disabled, func(*gateway.GroupMember) string { return "" })
	f.site.Lead(f.site.Members[0])
	return f
}

// startFGSP is newFGSP with more configuration of each member, and leads nothing
// to any of them.
func startFGSP(t *testing.T, n, disabled int, more func(*gateway.GroupMember) string) *fgsp {
	t.Helper()
	f := &fgsp{t: t, site: groupSite(t, n+disabled)}
	f.startMembers(n, more)
	return f
}

// groupSite builds a site of n members that are patient.
func groupSite(t *testing.T, n int) *gateway.GroupSite {
	t.Helper()
	site := gateway.NewGroupSite(netlab.New(t), n)
	site.Patience = patience
	return site
}

// startMembers starts the daemons of all members, the first n of which
// synchronize, and the client.
func (f *fgsp) startMembers(n int, more func(*gateway.GroupMember) string) {
	f.t.Helper()
	for i, m := range f.site.Members {
		sync := "    fgsp-sync: enable"
		if i >= n {
			sync = "    fgsp-sync: disable"
		}
		f.members = append(f.members, startGateway(m.Host, f.site.Config(m, sync, more(m))))
	}
	f.waitSynced(f.members[:n]...)
	f.site.WAN.Single() // for who counts the client's packets
	f.client = strongswan.Start(f.site.Client, strongswan.Settings{LogKeys: true, RetransmitTimeout: time.Second})
	f.client.Load(office())
}

// office is the client's connection.
func office() strongswan.Connection {
	return strongswan.Connection{
		Name: "office", LocalAddrs: []string{gateway.ClientAddr}, RemoteAddrs: []string{gateway.GatewayAddr},
		Proposals: []string{"aes128-sha1-modp1024"}, Local: strongswan.Auth{ID: strongswan.FQDN("client.example")},
		Remote: strongswan.Auth{ID: strongswan.IPv4(gateway.GatewayAddr)}, PSK: gateway.GroupPSK,
		Children: []strongswan.Child{{
			Name: "lan", LocalTS: []string{gateway.ClientNet}, RemoteTS: []string{gateway.ServerLoopback + "/32"},
			Proposals: []string{"aes128-sha1"},
		}},
	}
}

// waitSynced waits until all of these members hold each other's tunnels.
func (f *fgsp) waitSynced(members ...*gateway.Daemon) {
	f.t.Helper()
	for _, d := range members {
		netlab.Eventually(f.t, time.Minute, "the members are synced", func() error {
			p, err := d.StandalonePeers()
			if err != nil {
				return err
			}
			n := 0
			for _, peer := range p.Peers {
				if peer.Detected && peer.Synced && peer.Complete {
					n++
				}
			}
			if n < len(members)-1 {
				return fmt.Errorf("%d of %d are: %+v", n, len(members)-1, p.Peers)
			}
			return nil
		})
	}
}

// role is that of a tunnel at a member, empty when it is not there.
func role(d *gateway.Daemon, name string) string {
	for _, t := range d.Tunnels(name) {
		return t.Role
	}
	return ""
}

func (f *fgsp) waitRole(d *gateway.Daemon, name, want string) {
	f.t.Helper()
	netlab.Eventually(f.t, time.Minute, "the member's role is "+want, func() error {
		if got := role(d, name); got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

func saPair(t diag.Tunnel) string {
	if len(t.Proxies) != 1 || len(t.Proxies[0].SAs) != 1 {
		return fmt.Sprintf("%d proxies", len(t.Proxies))
	}
	s := t.Proxies[0].SAs[0]
	return s.Dec.SPI + s.Dec.Key + s.Dec.HashKey + "/" + s.Enc.SPI + s.Enc.Key + s.Enc.HashKey
}

func TestMemberDiesAndItsTunnelGoesOn(t *testing.T) { // F1, F2, F4, F5, F7, F10, F12, F19-F23, C10
	t.Parallel()
	f := newFGSP(t, 3, 1)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	one, two, three, four := f.members[0], f.members[1], f.members[2], f.members[3]
	f.waitRole(one, "vpn1_1", "sync-primary")
	f.waitRole(two, "vpn1_1", "standby")
	f.waitRole(three, "vpn1_1", "standby")
	if n := len(four.Tunnels("")); n != 0 {
		t.Errorf("the member with fgsp-sync disabled has %d tunnels, want none", n)
	}
	primary, standby := one.Tunnel("vpn1_1"), two.Tunnel("vpn1_1")
	if saPair(primary) != saPair(standby) || saPair(primary) != saPair(three.Tunnel("vpn1_1")) {
		t.Errorf("the SAs are %s at the primary and %s at a standby, want the same", saPair(primary), saPair(standby))
	}
	if s := standby.Proxies[0].SAs[0]; s.Seqno != 0x10000001 {
		t.Errorf("a standby shows seqno %x, want 10000001", s.Seqno)
	}
	w := f.watch()
	one.Kill()
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.waitRole(two, "vpn1_1", "sync-primary")
	w.wantOneOwner(two, three)
	if after := two.Tunnel("vpn1_1"); saPair(after) != saPair(primary) {
		t.Errorf("the survivor has the SAs %s, want those of before, %s", saPair(after), saPair(primary))
	}
	w.unbroken()
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the survivor does not rekey: %v", err)
	}
	pingThrough(t, f)
}

// pingThrough goes from the client's network to the server and back.
func pingThrough(t *testing.T, f *fgsp) {
	t.Helper()
	netlab.Eventually(t, time.Minute, "the client reaches the server", func() error {
		r, err := f.site.Client.Ping(t.Context(), netlab.Ping{To: gateway.ServerLoopback, From: gateway.ClientHost, Count: 3})
		return errors.Join(err, r.Err())
	})
}
