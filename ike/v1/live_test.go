package v1_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
	"github.com/evergate/evergate/ike/v1/wire"
)

var errFull = errors.New("no room")

func TestDeadPeer(t *testing.T) { // RFC 3706
	dpd := v1test.Both(func(c *ike.Connection) { c.DPD = ike.DPD{Interval: 10 * time.Second, Retries: 2} })
	t.Run("answers", func(t *testing.T) {
		p := v1test.Establish(t, dpd, v1test.Twins(v1.Resume))
		p.Pass(5 * time.Minute)
		p.WantUp()
		if p.A.Stats.Probes == 0 {
			t.Error("A asked nothing")
		}
	})
	t.Run("is silent", func(t *testing.T) {
		p := v1test.Establish(t, dpd)
		p.PassSilently(29 * time.Second)
		if p.A.Done {
			t.Error("A gave up before its last question had time")
		}
		p.PassSilently(30 * time.Second)
		p.A.WantGone()
		if !errors.Is(p.A.Why, ike.ErrDeadPeer) {
			t.Errorf("A's tunnel ended with %v, want %v", p.A.Why, ike.ErrDeadPeer)
		}
	})
	t.Run("sends ESP", func(t *testing.T) {
		p := v1test.Establish(t, dpd)
		for range 20 {
			p.A.Do(ike.Activity{In: p.Now})
			p.B.Do(ike.Activity{In: p.Now})
			p.PassSilently(5 * time.Second)
		}
		p.WantUp()
		if n := p.A.Stats.Probes; n > 0 {
			t.Errorf("A asked %d times although ESP comes", n)
		}
	})
	t.Run("on demand", func(t *testing.T) {
		p := v1test.Establish(t, v1test.Both(func(c *ike.Connection) {
			c.DPD = ike.DPD{Mode: ike.DPDOnDemand, Interval: 10 * time.Second, Retries: 2}
		}))
		p.PassSilently(10 * time.Minute)
		p.WantUp()
		p.A.Do(ike.Activity{Out: p.Now})
		p.PassSilently(time.Minute)
		p.A.WantGone()
	})
	t.Run("does not know it", func(t *testing.T) {
		p := v1test.Establish(t, dpd)
		p.A.Do(ike.Activity{Out: p.Now})
		if p.A.Tunnel.Status(p.Now).DPD.Mode != ike.DPDOnIdle {
			t.Error("dead peer detection is not what is configured")
		}
	})
}

// TestReplayedProbe: an old R-U-THERE is answered, but is no news.
func TestReplayedProbe(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) { c.A.DPD = ike.DPD{Interval: 10 * time.Second, Retries: 1} })
	p.Now = p.Now.Add(10 * time.Second)
	p.A.Do(ike.Timeout{})
	probe := p.InFlight()[0]
	p.DuplicateAt(0)
	p.Deliver()
	heard := p.B.Tunnel.Status(p.Now).DPD.Heard
	p.Now = p.Now.Add(5 * time.Second)
	p.Release([]v1test.Flight{probe})
	p.Deliver()
	if got := p.B.Tunnel.Status(p.Now).DPD.Heard; got != heard+5*time.Second {
		t.Errorf("B has heard its peer %v ago, want %v: a replay proves nothing", got, heard+5*time.Second)
	}
}

func TestNAT(t *testing.T) { // RFC 3947
	for _, mode := range []string{"main mode", "aggressive mode"} {
		t.Run(mode, func(t *testing.T) {
			p := v1test.Establish(t, append(modes()[mode], v1test.BehindNAT())...)
			a, b := p.A.Tunnel.Status(p.Now), p.B.Tunnel.Status(p.Now)
			if !a.NATLocal || a.NATRemote || b.NATLocal || !b.NATRemote || !a.Encap || !b.Encap {
				t.Errorf("A sees %v/%v/%v and B %v/%v/%v, want A behind a NAT", a.NATLocal, a.NATRemote, a.Encap, b.NATLocal, b.NATRemote, b.Encap)
			}
			if a.Local.Port() != 4500 || a.Remote.Port() != 4500 || b.Remote.Addr() != v1test.NATIP {
				t.Errorf("A talks from %v to %v, B to %v", a.Local, a.Remote, b.Remote)
			}
			in, _ := p.B.Child()
			if in.Encap == nil || in.Encap.RemotePort != b.Remote.Port() {
				t.Errorf("B's SA is encapsulated as %+v, want the port of the NAT's mapping", in.Encap)
			}
		})
	}
}

func TestKeepalive(t *testing.T) {
	p := v1test.Establish(t, v1test.BehindNAT())
	p.Pass(5 * time.Minute)
	if n := p.A.Keepalives; n < 14 || n > 15 {
		t.Errorf("A sent %d keepalives in five minutes, want one each 20 s", n)
	}
	if p.B.Keepalives > 0 {
		t.Error("B sent keepalives, although it is not behind the NAT")
	}
}

func TestNATRebinds(t *testing.T) {
	p := v1test.Establish(t, v1test.BehindNAT())
	p.Rebind()
	rekeyChild(p.A)
	p.Pass(time.Minute)
	p.WantPairs(1)
	if len(p.B.Moves) != 1 || p.B.Moves[0].Encap == nil {
		t.Fatalf("B told its dataplane of %d moves, want one", len(p.B.Moves))
	}
	if got := p.B.Tunnel.Status(p.Now).Remote; got != p.B.Moves[0].Remote {
		t.Errorf("B talks to %v, its dataplane to %v", got, p.B.Moves[0].Remote)
	}
}

// TestProbeAgainTellsWherePeerIs: what is asked again, because the answer went to where
// the peer had been, says where it is now; a copy says nothing.
func TestProbeAgainTellsWherePeerIs(t *testing.T) { // RFC 3706 section 6.2
	p := v1test.Establish(t, v1test.BehindNAT(), v1test.Twins(v1.Resume), func(c *v1test.Config) {
		c.A.DPD = ike.DPD{Interval: 10 * time.Second, Retries: 3}
	})
	ask := func() v1test.Flight {
		p.Now = p.Now.Add(10 * time.Second)
		p.A.Do(ike.Timeout{})
		return p.InFlight()[0]
	}
	first := ask()
	p.Next()    // B is asked
	p.DropAll() // and its answer is lost
	p.Rebind()
	again := ask()
	p.Next()
	if len(p.B.Moves) != 1 || p.B.Moves[0].Remote != again.Datagram.Remote {
		t.Fatalf("B has followed its peer with %+v, want once, to %v", p.B.Moves, again.Datagram.Remote)
	}
	p.Deliver()
	p.WantUp()
	for _, copied := range []v1test.Flight{first, again} {
		copied.Datagram.Remote = addrPort(v1test.AddrA, 9999)
		p.Release([]v1test.Flight{copied})
		p.Next()
		p.DropAll()
	}
	if n := len(p.B.Moves); n != 1 {
		t.Errorf("B has followed its peer %d times, want once: anybody may send a copy", n)
	}
}

func TestNATTModes(t *testing.T) {
	mode := func(m ike.NATT) v1test.Option { return v1test.Both(func(c *ike.Connection) { c.NATT = m }) }
	p := v1test.Establish(t, mode(ike.NATTForced))
	if s := p.A.Tunnel.Status(p.Now); !s.Encap {
		t.Error("encapsulation is forced, and not used")
	}
	p = v1test.Establish(t, mode(ike.NATTOff))
	if s := p.A.Tunnel.Status(p.Now); s.Encap || s.Remote.Port() != 500 {
		t.Errorf("NAT traversal is off, but A talks to %v, encapsulated: %t", s.Remote, s.Encap)
	}
}

func TestTransportMode(t *testing.T) {
	transport := children(func(c *ike.Child) { c.Mode = ipsec.Transport })
	t.Run("both want it", func(t *testing.T) {
		p := v1test.Establish(t, transport)
		in, _ := p.A.Child()
		if in.Mode != ipsec.Transport || in.Selectors.Remote[0] != selector(v1test.AddrB.String()+"/32") {
			t.Errorf("A's SA is in %v mode for %v", in.Mode, in.Selectors)
		}
	})
	t.Run("one wants it", func(t *testing.T) {
		p := v1test.Establish(t, func(c *v1test.Config) { c.A.Children[0].Mode = ipsec.Transport })
		p.WantPairs(0)
		p.B.WantFailure(ike.FailNoProposal)
	})
	t.Run("through a NAT", func(t *testing.T) { // RFC 3947 section 5.2
		p := v1test.Establish(t, transport, v1test.BehindNAT())
		in, _ := p.B.Child()
		if in.Selectors.Remote[0].Min != v1test.NATIP {
			t.Errorf("B selects %v, want the NAT's address", in.Selectors.Remote)
		}
		in, _ = p.A.Child()
		if in.Selectors.Local[0].Min != v1test.AddrA {
			t.Errorf("A selects %v, want its own address", in.Selectors.Local)
		}
	})
}

// TestCommitBit: "If set(1), the entity which did not set the Commit Bit MUST wait
// for an Informational Exchange containing a Notify payload (with the CONNECTED
// Notify Message) from the entity which set the Commit Bit." RFC 2408 section 3.1.
func TestCommitBit(t *testing.T) {
	commit := func(c *v1test.Config) { c.B.V1.Commit = true }
	t.Run("CONNECTED comes", func(t *testing.T) {
		p := v1test.Establish(t, commit, v1test.Twins(v1.Resume))
		p.WantPairs(1)
	})
	t.Run("CONNECTED is lost", func(t *testing.T) {
		p := v1test.Establish(t, commit, v1test.Twins(v1.Resume))
		rekeyChild(p.A)
		p.Next() // 1
		p.Next() // 2
		before := len(p.A.Installed)
		p.Next() // 3
		p.DropAll()
		if len(p.A.Installed) != before || before != 3 {
			t.Errorf("A has %d SAs, want the old pair and a new inbound SA until B says CONNECTED", len(p.A.Installed))
		}
		p.Pass(time.Minute)
		p.WantPairs(1)
	})
	t.Run("CONNECTED never comes", func(t *testing.T) {
		p := v1test.New(t, commit)
		p.A.Initiate()
		for p.A.Tunnel == nil || len(p.A.Installed) == 0 {
			p.Next()
		}
		p.PassSilently(time.Minute)
		if n := len(p.A.Installed); n != 2 {
			t.Errorf("A has %d SAs, want a pair all the same", n)
		}
	})
}

func TestSeveralSelectors(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) {
		nets := []ipsec.TrafficSelector{selector("10.1.0.0/16"), selector("10.2.0.0/16")}
		c.A.Children[0].Selectors = ipsec.Selectors{Local: nets, Remote: []ipsec.TrafficSelector{selector("10.9.0.0/24"), selector("fd00::/64")}}
		c.B.Children[0].Selectors.Remote = nets
		c.B.Children[0].Selectors.Local = []ipsec.TrafficSelector{selector("10.9.0.0/16")}
	}, v1test.Twins(v1.Resume))
	p.WantPairs(2) // of one family each
	p.A.Do(ike.Initiate{})
	p.Deliver()
	p.WantPairs(2)
	// A packet asks for the one that is missing.
	in, _ := p.A.Child()
	p.A.Do(ike.CloseChild{ID: in.ID})
	p.Deliver()
	p.WantPairs(1)
	p.A.Do(ike.Initiate{For: &ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{{Min: in.Selectors.Local[0].Min.Next(), Max: in.Selectors.Local[0].Min.Next(), Proto: 6, PortMin: 9, PortMax: 9}},
		Remote: []ipsec.TrafficSelector{{Min: in.Selectors.Remote[0].Min.Next(), Max: in.Selectors.Remote[0].Min.Next(), Proto: 6, PortMin: 80, PortMax: 80}},
	}})
	p.Deliver()
	p.WantPairs(2)
}

func TestInitialContact(t *testing.T) { // RFC 2407 section 4.6.3.3
	for _, mode := range []string{"main mode", "aggressive mode"} {
		t.Run(mode, func(t *testing.T) {
			p := v1test.Establish(t, modes()[mode]...)
			if !p.B.Established[0].InitialContact {
				t.Error("A's first tunnel to B came without INITIAL-CONTACT")
			}
			first := p.B.Tunnel
			p.A.Demux.Forget(p.A.Tunnel) // A starts anew
			clear(p.A.Installed)
			p.A.Initiate()
			p.Deliver()
			if p.B.Tunnel == first || len(p.B.Established) != 2 || !p.B.Established[1].InitialContact {
				t.Errorf("B announced %+v, want another tunnel with INITIAL-CONTACT", p.B.Established)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*v1test.Config)
		a, b   ike.Failure
		up     bool // phase 1 is
		says   []string
	}{
		{
			"the key", func(c *v1test.Config) { c.A.PSK = ipsec.CopyKey([]byte("another secret")) }, ike.FailTimeout, ike.FailPSK, false,
			[]string{"proof of identity did not verify", "psksecret", "peer did not answer"},
		},
		{
			"the initiator's identity", func(c *v1test.Config) { c.B.RemoteID = ike.Identity{Type: ike.IDText, Data: "someone"} }, ike.FailSelectors, ike.FailIdentity, false,
			[]string{"no connection for the peer's identity", "a.example", "peerid", "peer refused phase 1"},
		},
		{
			"the responder's identity", func(c *v1test.Config) { c.A.RemoteID = ike.Identity{Type: ike.IDText, Data: "someone"} }, ike.FailIdentity, 0, false,
			[]string{"b.example", "someone"},
		},
		{
			"the mode", func(c *v1test.Config) { c.A.V1.Aggressive = true }, ike.FailNoProposal, 0, false,
			[]string{"no connection of version 1", "aggressive mode"},
		},
		{
			"the selectors", func(c *v1test.Config) {
				c.B.Children[0].Selectors.Local = []ipsec.TrafficSelector{selector("10.9.0.0/16")}
			}, ike.FailSelectors, ike.FailSelectors, true,
			[]string{"child sa refused", "INVALID-ID-INFORMATION", "src-subnet", "peer refused the child sa"},
		},
		{"the proposal of phase 2", func(c *v1test.Config) {
			c.B.Children[0].Proposals = []ipsec.Proposal{v1test.Must(ipsec.ParseESPProposal("aes256gcm"))}
		}, ike.FailNoProposal, ike.FailNoProposal, true, []string{"peer offers aes128-sha256", "we accept aes256gcm"}},
		{"PFS", func(c *v1test.Config) {
			c.B.Children[0].Proposals = []ipsec.Proposal{v1test.Must(ipsec.ParseESPProposal("aes128-sha256")).WithGroups(ipsec.GroupECP256)}
		}, ike.FailNoProposal, ike.FailNoProposal, true, []string{"ecp256"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			p := v1test.New(t, logged(&log), tt.change)
			p.A.Initiate()
			p.Pass(2 * time.Minute)
			p.A.WantFailure(tt.a)
			if tt.b != 0 {
				p.B.WantFailure(tt.b)
			}
			wantLogged(t, &log, tt.says...)
			if strings.Contains(log.String(), "another secret") {
				t.Error("the log has the secret")
			}
			if tt.up {
				p.WantUp()
				p.WantPairs(0)
				return
			}
			p.A.WantGone()
			if n := p.B.Stats.HalfOpen; n > 0 {
				t.Errorf("%d tunnels are half-open at B", n)
			}
		})
	}
}

// TestConnectionByKey: in main mode nothing but the key tells which of several
// dialup servers a peer is for, and then its identity.
func TestConnectionByKey(t *testing.T) {
	for _, tt := range []struct{ id, psk, want string }{
		{"alice", "alice's", "alice"},
		{"bob", "bob's", "bob"},
		{"carol", "anybody's", "anybody"},
		{"bob", "alice's", ""},
	} {
		for _, aggressive := range []bool{false, true} {
			t.Run(tt.id+" with "+tt.psk, func(t *testing.T) {
				p := v1test.New(t, func(c *v1test.Config) {
					c.A.LocalID = ike.Identity{Type: ike.IDFQDN, Data: tt.id}
					c.A.PSK = ipsec.CopyKey([]byte(tt.psk))
					c.A.V1.Aggressive = aggressive
				})
				p.B.Policy.Connections = nil
				for _, name := range []string{"anybody", "alice", "bob"} {
					c := v1test.Connection(name, v1test.AddrB, addrFrom4([4]byte{}))
					c.Remote = v1test.AddrA
					c.PSK = ipsec.CopyKey([]byte(name + "'s"))
					c.V1.Aggressive = aggressive
					if name != "anybody" {
						c.RemoteID = ike.Identity{Type: ike.IDText, Data: name}
					}
					p.B.Policy.Connections = append(p.B.Policy.Connections, c)
				}
				p.A.Initiate()
				p.Pass(2 * time.Minute)
				if tt.want == "" {
					p.A.WantGone()
					return
				}
				p.WantUp()
				if got := p.B.Tunnel.Connection().Name; got != tt.want {
					t.Errorf("the peer got connection %s, want %s", got, tt.want)
				}
			})
		}
	}
}

func TestClose(t *testing.T) {
	p := v1test.Establish(t)
	p.A.Do(ike.Close{Reason: "the test says so"})
	p.Deliver()
	p.A.WantGone()
	p.B.WantGone()
	if !errors.Is(p.B.Why, ike.ErrDeletedByPeer) {
		t.Errorf("B's tunnel ended with %v, want %v", p.B.Why, ike.ErrDeletedByPeer)
	}
	p = v1test.Establish(t)
	p.A.Do(ike.Superseded{Reason: "the test says so"})
	p.A.WantGone()
	if n := len(p.InFlight()); n > 0 {
		t.Errorf("A said %d words to B, want none", n)
	}
}

func TestRefusedByDataplane(t *testing.T) {
	for _, direction := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
		for name, end := range map[string]func(*v1test.Pair) *v1test.End{
			"A": func(p *v1test.Pair) *v1test.End { return p.A }, "B": func(p *v1test.Pair) *v1test.End { return p.B },
		} {
			t.Run(name+" "+direction.String(), func(t *testing.T) {
				p := v1test.New(t)
				e := end(p)
				e.Refuse = func(sa ipsec.SA) error {
					if sa.Direction == direction {
						return errFull
					}
					return nil
				}
				p.A.Initiate()
				p.Pass(2 * time.Minute)
				p.WantUp()
				p.WantPairs(0)
				e.WantFailure(ike.FailDataplane)
				if n := len(p.A.Installed) + len(p.B.Installed); n > 0 {
					t.Errorf("%d SAs are left", n)
				}
			})
		}
	}
}

// TestIsV1 tells the versions apart.
func TestIsV1(t *testing.T) {
	b := make([]byte, wire.HeaderLen)
	for version, want := range map[byte]bool{0x10: true, 0x11: true, 0x20: false, 0x00: false} {
		b[17] = version
		if got := v1.IsV1(b); got != want {
			t.Errorf("version %#02x is IKEv1: %t, want %t", version, got, want)
		}
	}
	if v1.IsV1(b[:17]) {
		t.Error("half a header has a version")
	}
}
