package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// TestUnitKnowsThePath: what the primary has learned of the path to a client, the
// next one knows with its first packet. With sync-mtu: disable it has to learn.
func TestUnitKnowsThePath(t *testing.T) { // B3, C14-C16
	t.Parallel()
	for _, sync := range []string{"enable", "disable"} {
		t.Run(sync, func(t *testing.T) {
			t.Parallel()
			f := newFGCP(t, "  sync-mtu: "+sync+"\n")
			one, two := f.members[0], f.members[1]
			f.site.WAN.SetMTU(narrowMTU)
			f.site.ClientWAN.SetMTU(narrowMTU)
			mtu := f.learns(one)
			standby := map[string]string{"enable": fmt.Sprint(narrowMTU, mtu), "disable": "0 1280"}[sync]
			netlab.Eventually(t, limit, "the subordinate's list has dst_mtu and mtu "+standby, func() error {
				s := two.Tunnel("vpn1")
				if got := fmt.Sprint(s.PathMTU, sas(s)[0].MTU); got != standby {
					return fmt.Errorf("it has %s", got)
				}
				return nil
			})
			far := f.site.Outside.Capture("icmp")
			f.site.Members[0].Unplug()
			one.Kill()
			f.flows()
			if sync == "enable" {
				if r := f.tooBig(narrowMTU); r.MTU != mtu {
					t.Errorf("the server hears of the new primary that %d octets fit, want %d as before\n%s", r.MTU, mtu, r.Output)
				}
				if n := far.Count("icmp.type == 3 && icmp.code == 4"); n != 0 {
					t.Errorf("the router had to refuse %d packets of the new primary", n)
				}
			} else if again := f.learns(two); again != mtu {
				t.Errorf("the new primary learned that %d octets fit, want %d", again, mtu)
			}
			f.unbroken()
		})
	}
}

// learns has the server send what does not fit until the member has learned what
// does, and returns that.
func (f *fgcp) learns(d *gateway.Daemon) int {
	f.t.Helper()
	netlab.Eventually(f.t, limit, "the primary's list has the narrow path's MTU", func() error {
		f.tooBig(narrowMTU)
		if got := d.Tunnel("vpn1").PathMTU; got != narrowMTU {
			return fmt.Errorf("it says dst_mtu=%d", got)
		}
		return nil
	})
	return sas(d.Tunnel("vpn1"))[0].MTU
}

// tooBig sends one packet of that many octets to the client.
func (f *fgcp) tooBig(octets int) netlab.PingResult {
	f.t.Helper()
	r, err := f.site.Server.Ping(f.t.Context(), netlab.Ping{
		To: gateway.ClientHost, Count: 1, Size: octets - 28, DontFragment: true, Wait: 200 * time.Millisecond,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// TestUnitHearsOverAllItsLinks: one heartbeat link that fails moves nothing, and the
// state of tunnels goes on over the other one. The members know each other by a secret.
func TestUnitHearsOverAllItsLinks(t *testing.T) {
	t.Parallel()
	site := gateway.NewPairSite(netlab.New(t), 2)
	site.Secret = "the members of this laboratory share it"
	f := startPair(t, site, metricsConfig)
	one, two := f.members[0], f.members[1]
	elections := one.Stat("ha.reigns") + two.Stat("ha.reigns")
	f.site.Members[0].Port4.Down()
	netlab.Eventually(t, limit, "the tunnels' state goes over the second link", func() error {
		s, err := one.HAStatus()
		if err != nil {
			return err
		}
		for _, l := range s.Heartbeats {
			if second := l.Interface == "port5"; l.Up != second || l.Sync != second {
				return fmt.Errorf("it says %+v", s.Heartbeats)
			}
		}
		return nil
	})
	samples, _ := scrape(t, f.site.Members[0].Host)
	for name, want := range map[string]float64{
		`evergate_ha_unit_role{role="primary"}`: 1, `evergate_ha_unit_role{role="subordinate"}`: 0,
		`evergate_ha_unit_members{role="subordinate"}`: 1, `evergate_ha_unit_heartbeat_links{state="up"}`: 1,
		`evergate_ha_unit_heartbeat_links{state="down"}`: 1, `evergate_ha_unit_interfaces{state="up"}`: 2,
		`evergate_ha_unit_addresses`: 4, `evergate_ha_unit_address_moves_total`: 1, `evergate_ha_reigns_total`: 1,
	} {
		if got, there := samples[name]; !there || got != want {
			t.Errorf("%s is %v, %v; want %v", name, got, there, want)
		}
	}
	f.connect()
	f.waitPrimary(0, one, two)
	if n := one.Stat("ha.reigns") + two.Stat("ha.reigns"); n != elections {
		t.Errorf("a link that failed led to %d elections", n-elections)
	}
	wantText(t, "get system ha status", evergate(t, two, "get", "system", "ha", "status"),
		`^HA Health Status: WARNING, heartbeats of member 1 do not come over port4$`, `^    member 1, port5: .*, up, .*, sync$`, `^Primary +: member 1, EG01, priority 199, `)
	wantText(t, "diagnose sys ha status", evergate(t, one, "diagnose", "sys", "ha", "status"), `is_manage_primary=1$`, `dev=port4 state=down`)

	f.site.Members[0].Unplug()
	f.flows()
	f.waitPrimary(1, two)
	f.unbroken()
}

// TestUnitThatOverrides: with override the member of the higher priority takes the unit
// back when it returns, which costs no client anything either.
func TestUnitThatOverrides(t *testing.T) { // C1, C2
	t.Parallel()
	f := newFGCP(t, "  override: enable\n")
	f.members[0].Kill()
	f.waitPrimary(1, f.members[1])
	f.flows()
	f.members[0].Restart()
	f.waitPrimary(0, f.members...)
	f.flows()
	f.waitReady()
	f.waitStandby(f.members[1])
	f.unbroken()
}

// TestUnitWithVirtualHardwareAddress: neighbours need not learn anything.
func TestUnitWithVirtualHardwareAddress(t *testing.T) {
	t.Parallel()
	f := newFGCP(t, "  virtual-mac: enable\n")
	const virtual = "02:45:47:00:01:00"
	if mac := f.site.Router.Neighbour(gateway.PairAddr); mac != virtual {
		t.Errorf("the router sends to %s, want the virtual address %s", mac, virtual)
	}
	f.operator(0)
	f.waitPrimary(1, f.members...)
	f.flows()
	f.waitStandby(f.members[0])
	f.members[1].Kill()
	f.waitPrimary(0, f.members[0])
	f.flows()
	if mac := f.site.Router.Neighbour(gateway.PairAddr); mac != virtual {
		t.Errorf("the router sends to %s after two failovers, want %s still", mac, virtual)
	}
	f.unbroken()
}

// TestPairsOfAGroup: two units hold each other's tunnels as members of a group
// (FGCP over FGSP). A member that dies is its mate's to replace; a unit that dies as
// a whole is the other unit's.
func TestPairsOfAGroup(t *testing.T) { // F3, F5, C7
	t.Parallel()
	f := startFGSP(t, 3, 0, func(m *gateway.GroupMember) string {
		unit, priority := 1+(m.ID-1)/2, 200-m.ID
		return fmt.Sprintf("ha: {mode: a-p, group-id: %d, priority: %d}\n", unit, priority)
	})
	one, two, three := f.members[0], f.members[1], f.members[2]
	f.site.Lead(f.site.Members[0])
	w := f.connect(two, three)
	one.Kill()
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.waitRole(two, "vpn1_1", "sync-primary")
	w.wantOneOwner(two, three)
	two.Kill()
	f.site.Lead(f.site.Members[2])
	w.flows()
	netlab.Eventually(t, limit, "the other unit owns the tunnel", func() error {
		if got := role(three, "vpn1_1"); got != "primary" && got != "sync-primary" {
			return fmt.Errorf("its role is %q", got)
		}
		return nil
	})
	w.unbroken()
}
