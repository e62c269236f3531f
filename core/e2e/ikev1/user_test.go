package ikev1_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab/strongswan"
	"github.com/evergate/evergate/ike"
)

// weServe makes the gateway a dialup server that asks for users and assigns
// addresses.
func weServe(s *set) {
	s.ours.V1.XAuth.Users = []ike.User{{Name: "bob", Password: ipsec.CopyKey([]byte("bob's"))}, {Name: "alice", Password: ipsec.CopyKey([]byte("alice's"))}}
	s.ours.V1.Config = ike.ModeConfig{Role: ike.ModeConfigServer, DNS: []netip.Addr{netip.MustParseAddr("10.88.0.53")}}
	s.ours.Children[0].Selectors.Remote = []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	s.pool = "10.99.0.0/29"
	s.theirs.XAuth = strongswan.XAuth{User: "alice", Password: "alice's"}
	s.theirs.VIPs = []string{"0.0.0.0"}
	s.theirs.Children[0].LocalTS = nil // dynamic: the address that is assigned
}

// theyServe is the other way round.
func theyServe(s *set) {
	s.ours.V1.XAuth.As = &ike.User{Name: "carol", Password: ipsec.CopyKey([]byte("carol's"))}
	s.ours.V1.Config.Role = ike.ModeConfigClient
	s.theirsIP = "10.99.1.0/29"
	s.theirs.Pools = []string{"inner"}
	s.theirs.XAuth = strongswan.XAuth{Server: true, User: "carol", Password: "carol's"}
	s.theirs.Children[0].RemoteTS = nil
}

func push(s *set) {
	s.ours.V1.Config.Push = true
	s.theirs.PushConfig = true
}

func TestUserWithAddress(t *testing.T) {
	for name, changes := range map[string][]func(*set){
		"asked for in main mode":       {weServe},
		"asked for in aggressive mode": {weServe, aggressive},
		"pushed":                       {weServe, push},
	} {
		t.Run(name, func(t *testing.T) {
			e := connect(t, changes...)
			e.initiate()
			s := e.gateway.waitUp(1)
			if s.RemoteID.Data != "alice" {
				t.Errorf("The tunnel is of %v, want alice.", s.RemoteID)
			}
			if got := e.pairInUse().Selectors.Remote[0].String(); got != "0:10.99.0.1-10.99.0.1:0" {
				t.Errorf("The pair is for %s, want the first address of the pool.", got)
			}
			if ts := e.charon.Child("net").LocalTS; len(ts) != 1 || ts[0] != "10.99.0.1/32" {
				t.Errorf("The client selects %v, want its address.", ts)
			}
		})
	}
}

func TestGatewayIsTheUser(t *testing.T) {
	for name, changes := range map[string][]func(*set){
		"asks":         {theyServe},
		"aggressively": {theyServe, aggressive},
		"is told":      {theyServe, push},
	} {
		t.Run(name, func(t *testing.T) {
			e := connect(t, changes...)
			e.dial()
			if got := e.pairInUse().Selectors.Local[0].String(); !strings.HasPrefix(got, "0:10.99.1.") {
				t.Errorf("The pair is for %s, want an address of the client's pool.", got)
			}
		})
	}
}

// TestUserRekeysPhase1: the user proves himself again, and keeps his address.
func TestUserRekeysPhase1(t *testing.T) {
	e := connect(t, weServe)
	e.initiate()
	tunnel, pair := e.gateway.waitUp(1), e.pairInUse()
	e.rekeyIKE()
	e.wantRekeyed(tunnel, pair)
}

func TestUserIsNotLetIn(t *testing.T) {
	t.Run("by us", func(t *testing.T) {
		e := connect(t, weServe, func(s *set) { s.theirs.XAuth.Password = "bob's" })
		if err := e.charon.Initiate("net"); err == nil {
			t.Error("The client has come up with a wrong password.")
		}
		e.gateway.wantLogged("user was not let in", "alice")
		e.gateway.waitOver()
		if strings.Contains(e.gateway.log.String(), "bob's") {
			t.Error("The log has the password.")
		}
	})
	t.Run("by the peer", func(t *testing.T) {
		e := connect(t, theyServe, func(s *set) { s.theirs.XAuth.Password = "other" })
		e.gateway.dial()
		e.gateway.wantLogged("peer does not let us in", "carol")
		e.gateway.waitOver()
	})
}

// TestFragments: neither end sends a datagram that is too long, and each joins the
// other's.
func TestFragments(t *testing.T) {
	for name, start := range map[string]func(*ends){"dialled in": (*ends).initiate, "dialled out": (*ends).dial} {
		t.Run(name, func(t *testing.T) {
			e := connect(t, suiteOf("aes128-sha256", "aes128-sha256-modp3072", ipsec.GroupMODP3072, "aes128-sha256", "aes128-sha256"), func(s *set) {
				s.ours.FragmentSize = 300
				s.settings.FragmentSize = 300
				s.theirs.Fragmentation = "yes"
			})
			start(e)
			s := e.gateway.stats()
			if s.FragmentsIn == 0 || s.FragmentsOut == 0 {
				t.Errorf("%d fragments came and %d were sent, want some.", s.FragmentsIn, s.FragmentsOut)
			}
		})
	}
}

// TestSeveralNetworks: IKEv1 has one network on each side of a quick mode, so there
// is one for each pair of networks.
func TestSeveralNetworks(t *testing.T) {
	e := connect(t, func(s *set) {
		s.ours.Children[0].Selectors.Local = append(host(gatewayInner), ipsec.SelectorOf(netip.MustParsePrefix("10.77.0.0/16")))
		s.theirs.Children = append(s.theirs.Children, s.theirs.Children[0])
		s.theirs.Children[1].Name = "second"
		s.theirs.Children[1].RemoteTS = []string{"10.77.0.0/16"}
	})
	e.gateway.dial()
	e.gateway.waitUp(2)
	e.charon.WaitChild("net", patience)
	e.charon.WaitChild("second", patience)
}
