package ike_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// logged collects an end's log as text.
func logged(into *bytes.Buffer) iketest.Option {
	return func(c *iketest.Config) {
		c.Log = slog.New(slog.NewTextHandler(into, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
}

func wantLogged(t *testing.T, log *bytes.Buffer, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(log.String(), w) {
			t.Errorf("the log does not say %q: %s", w, log)
		}
	}
}

func selector(prefix string) ipsec.TrafficSelector {
	return ipsec.SelectorOf(netip.MustParsePrefix(prefix))
}

func TestEstablish(t *testing.T) { // RFC 7296 section 1.2: two exchanges, one child
	p := iketest.New(t)
	p.A.Initiate()
	for i := range 4 {
		if !p.Next() {
			t.Fatalf("the ends fall silent after %d messages, want 4", i)
		}
	}
	if n := len(p.InFlight()); n != 0 {
		t.Errorf("%d messages follow the 4 of the set-up, want none", n)
	}
	p.WantUp()
	p.WantPairs(1)
	for _, e := range []*iketest.End{p.A, p.B} {
		if len(e.Established) != 1 {
			t.Errorf("%s says %d times who its peer is, want once", e.Name, len(e.Established))
		}
		if id := e.Tunnel.ID(); ipsec.IKESPI(id).Member() != e.Env.Member {
			t.Errorf("%s's SPI %v is not that of member %d", e.Name, id, e.Env.Member)
		}
		in, _ := e.Child()
		if in.ID.SPI.Member() != e.Env.Member {
			t.Errorf("%s's SPI %v is not that of member %d", e.Name, in.ID.SPI, e.Env.Member)
		}
	}
	if got := p.B.Established[0].Remote.String(); got != "a.example" {
		t.Errorf("B's peer is %q, want a.example", got)
	}
}

// TestSuites goes through all ciphers, hashes and kinds of key exchange, by
// FortiOS's words.
func TestSuites(t *testing.T) { // F14, F15
	for _, tt := range []struct {
		phase1, phase2 string
		group          ipsec.GroupID
	}{
		{"aes128-sha1", "aes128-sha1", ipsec.GroupMODP1024},
		{"aes256-sha512", "aes256-sha512", ipsec.GroupECP521},
		{"aes192-sha384", "aes192-sha384", ipsec.GroupECP384},
		{"aes128gcm-prfsha256", "aes128gcm", ipsec.GroupECP256},
		{"aes256gcm12-prfsha384", "aes256gcm12", ipsec.GroupX25519},
		{"aes128gcm8-prfsha1", "aes128gcm8", ipsec.GroupX25519},
		{"chacha20poly1305-prfsha512", "chacha20poly1305", ipsec.GroupX25519},
		{"aes128ctr-sha256", "aes128ctr-sha256", ipsec.GroupX25519},
		{"3des-sha1", "3des-sha1", ipsec.GroupMODP1536},
		{"aes128-sha256-prfsha512", "null-sha256", ipsec.GroupMODP2048},
	} {
		t.Run(fmt.Sprintf("%s %v", tt.phase1, tt.group), func(t *testing.T) {
			p := iketest.Establish(t, iketest.Suite(tt.phase1, tt.phase2, tt.group))
			p.A.Do(ike.RekeyIKE{})
			p.Deliver()
			rekeyChild(p.B)
			p.Pass(time.Minute)
			p.WantPairs(1)
			if got := p.A.Tunnel.Status(p.Now).Suite.Group; got != tt.group {
				t.Errorf("the IKE SA uses %v, want %v", got, tt.group)
			}
		})
	}
}

func TestESN(t *testing.T) {
	p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
		ps := c.Children[0].Proposals
		ps[0].Transforms = append(ps[0].Transforms, ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.UseESN})
	}))
	if in, _ := p.A.Child(); !in.Algorithms.ESN {
		t.Error("both want extended sequence numbers, the SA has none")
	}
	p.WantMirrored()
}

func TestIdentities(t *testing.T) {
	text := func(s string) ike.Identity { return ike.Identity{Type: ike.IDText, Data: s} }
	for _, tt := range []struct {
		name        string
		local, want ike.Identity
		ok          bool
	}{
		{"anybody", ike.Identity{}, ike.Identity{}, true},
		{"address by default", ike.Identity{}, ike.AddrIdentity(iketest.AddrA), true},
		{"fqdn without case", ike.Identity{Type: ike.IDFQDN, Data: "Nokia_Peer"}, ike.Identity{Type: ike.IDFQDN, Data: "nokia_peer"}, true},
		{"mail address", ike.Identity{Type: ike.IDRFC822, Data: "a@example.org"}, text("a@example.org"), true},
		{"key id", ike.Identity{Type: ike.IDKeyID, Data: "\x01\x02"}, ike.Identity{Type: ike.IDKeyID, Data: "\x01\x02"}, true},
		{"text is an fqdn", text("Nokia_Peer"), text("Nokia_Peer"), true}, // F14
		{"text is a mail address", text("a@example.org"), ike.Identity{Type: ike.IDRFC822, Data: "a@example.org"}, true},
		{"text is an address", text("192.0.2.1"), ike.AddrIdentity(iketest.AddrA), true},
		{"distinguished name", ike.Identity{Type: ike.IDDERDN, Data: "\x30\x00"}, ike.Identity{Type: ike.IDDERDN, Data: "\x30\x00"}, true},
		{"another name", ike.Identity{Type: ike.IDFQDN, Data: "a"}, ike.Identity{Type: ike.IDFQDN, Data: "b"}, false},
		{"another type", ike.Identity{Type: ike.IDKeyID, Data: "a"}, ike.Identity{Type: ike.IDFQDN, Data: "a"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			p := iketest.New(t, logged(&log), func(c *iketest.Config) {
				c.A.LocalID, c.B.RemoteID = tt.local, tt.want
			})
			p.A.Initiate()
			p.Deliver()
			if tt.ok {
				p.WantUp()
				return
			}
			p.A.WantGone()
			p.A.WantFailure(ike.FailPSK)
			p.B.WantFailure(ike.FailIdentity)
			wantLogged(t, &log, "no connection for the peer's identity", "b: "+tt.want.String(), "peerid")
			p.Pass(time.Minute)
			p.B.WantGone()
		})
	}
}

func TestResponderHasAnotherIdentity(t *testing.T) {
	var log bytes.Buffer
	p := iketest.New(t, logged(&log), func(c *iketest.Config) {
		c.A.RemoteID = ike.Identity{Type: ike.IDText, Data: "somebody-else"}
	})
	p.A.Initiate()
	p.Deliver()
	p.A.WantGone()
	p.B.WantGone() // A told it, RFC 7296 section 2.21.2
	wantLogged(t, &log, "peer has another identity", "somebody-else", "peer does not accept our proof of identity")
}

func TestWrongPSK(t *testing.T) {
	var log bytes.Buffer
	p := iketest.New(t, logged(&log), func(c *iketest.Config) { c.A.PSK = ipsec.CopyKey([]byte("another secret")) })
	p.A.Initiate()
	p.Deliver()
	p.A.WantGone()
	p.B.WantFailure(ike.FailPSK)
	wantLogged(t, &log, "proof of identity did not verify", "connections=b", "check=psksecret", "a.example", "AUTHENTICATION_FAILED")
	if strings.Contains(log.String(), "another secret") {
		t.Error("the log has the secret")
	}
	p.Pass(time.Minute)
	p.B.WantGone()
	if p.B.Stats.HalfOpen != 0 {
		t.Errorf("%d IKE SAs are still half-open", p.B.Stats.HalfOpen)
	}
}

// TestRefusalIsRepeated: a peer that did not get AUTHENTICATION_FAILED asks again,
// and is answered the same.
func TestRefusalIsRepeated(t *testing.T) {
	p := iketest.New(t, func(c *iketest.Config) { c.A.PSK = ipsec.CopyKey([]byte("another secret")) })
	p.A.Initiate()
	p.Next()
	p.Next()
	p.Next()    // IKE_AUTH reaches B
	p.DropAll() // and its answer nobody
	p.Pass(5 * time.Second)
	p.A.WantGone()
	if p.B.Stats.Repeated == 0 {
		t.Error("B did not repeat its refusal")
	}
}

// TestConnectionByIdentity: several dialup servers share an address, so the
// connection is known only when the peer says who it is.
func TestConnectionByIdentity(t *testing.T) { // F1, F14
	for _, tt := range []struct {
		id, psk string
		want    string // connection, empty for a refusal
	}{
		{"alice", "alice's", "alice"},
		{"bob", "bob's", "bob"},
		{"carol", "anybody's", "anybody"},
		{"bob", "anybody's", "anybody"},
		{"bob", "alice's", ""},
	} {
		t.Run(tt.id+" with "+tt.psk+" key", func(t *testing.T) {
			p := iketest.New(t, func(c *iketest.Config) {
				c.A.LocalID = ike.Identity{Type: ike.IDFQDN, Data: tt.id}
				c.A.PSK = ipsec.CopyKey([]byte(tt.psk))
			})
			p.B.Policy.Connections = nil
			for _, name := range []string{"anybody", "alice", "bob"} {
				c := iketest.Connection(name, iketest.AddrB, netip.Addr{})
				c.PSK = ipsec.CopyKey([]byte(name + "'s"))
				if name != "anybody" {
					c.RemoteID = ike.Identity{Type: ike.IDText, Data: name}
				}
				p.B.Policy.Connections = append(p.B.Policy.Connections, c)
			}
			p.A.Initiate()
			p.Deliver()
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

func TestPeerNamesTheResponder(t *testing.T) {
	p := iketest.New(t, func(c *iketest.Config) {
		c.A.RemoteID = ike.Identity{Type: ike.IDFQDN, Data: "second.example"}
	})
	second := iketest.Connection("second", iketest.AddrB, netip.Addr{})
	p.B.Policy.Connections = append(p.B.Policy.Connections, second)
	p.A.Initiate()
	p.Deliver()
	p.WantUp()
	if got := p.B.Tunnel.Connection().Name; got != "second" {
		t.Errorf("A asked for second.example and got connection %s", got)
	}
}

func TestNoProposalChosen(t *testing.T) {
	var log bytes.Buffer
	p := iketest.New(t, logged(&log), func(c *iketest.Config) {
		c.B.Proposals = []ipsec.Proposal{iketest.Must(ipsec.ParseIKEProposal("aes256-sha512")).WithGroups(ipsec.GroupX25519)}
	})
	p.A.Initiate()
	p.Deliver()
	p.A.WantGone()
	p.A.WantFailure(ike.FailNoProposal)
	p.B.WantDropped(ike.DropNoProposal)
	wantLogged(t, &log, "no proposal chosen", "peer offered aes128, we accept aes256", "NO_PROPOSAL_CHOSEN")
}

func TestNoConnectionForAddresses(t *testing.T) {
	var log bytes.Buffer
	p := iketest.New(t, logged(&log), func(c *iketest.Config) { c.B.Remote = netip.MustParseAddr("192.0.2.99") })
	p.A.Initiate()
	p.Deliver()
	p.A.WantGone()
	p.B.WantDropped(ike.DropNoConnection)
	wantLogged(t, &log, "no connection for these addresses", "local-gw")
}

// TestChildRefused: what is wrong with the first child does not touch the IKE SA.
//
// "A failed attempt to create a Child SA SHOULD NOT tear down the IKE SA: there is
// no reason to lose the work done to set up the IKE SA." RFC 7296 section 1.3.1.
func TestChildRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*ike.Child)
		reason ike.Failure
		says   string
	}{
		{"selectors", func(c *ike.Child) {
			c.Selectors.Local = []ipsec.TrafficSelector{selector("10.9.0.0/16")}
			c.Selectors.Remote = []ipsec.TrafficSelector{ipsec.AnySelector(true)}
		}, ike.FailSelectors, "TS_UNACCEPTABLE"},
		{"proposal", func(c *ike.Child) {
			c.Proposals = []ipsec.Proposal{iketest.Must(ipsec.ParseESPProposal("aes256gcm"))}
		}, ike.FailNoProposal, "NO_PROPOSAL_CHOSEN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log bytes.Buffer
			p := iketest.Establish(t, logged(&log), func(c *iketest.Config) { tt.change(c.B.Children[0]) })
			p.WantPairs(0)
			p.A.WantFailure(tt.reason)
			p.B.WantFailure(tt.reason)
			wantLogged(t, &log, tt.says, "child sa refused", "peer refused the child sa")
			// The same again on the IKE SA that is up.
			p.A.Do(ike.Initiate{})
			p.Deliver()
			p.WantUp()
			p.WantPairs(0)
		})
	}
}

func TestSecondChild(t *testing.T) {
	p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
		second := *c.Children[0]
		second.Name = "second"
		second.Selectors = ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(true)},
			Remote: []ipsec.TrafficSelector{ipsec.AnySelector(true)},
		}
		c.Children = append(c.Children, &second)
	}))
	p.WantPairs(2)
	p.B.Do(ike.Initiate{Child: "second"})
	p.Deliver()
	p.WantPairs(2) // it is there already
}

func TestNarrowing(t *testing.T) { // RFC 7296 section 2.9
	p := iketest.Establish(t, func(c *iketest.Config) {
		c.A.Children[0].Selectors.Local = []ipsec.TrafficSelector{selector("10.1.0.0/16"), selector("172.16.0.0/12")}
		c.B.Children[0].Selectors.Remote = []ipsec.TrafficSelector{selector("10.1.2.0/24"), selector("10.1.0.0/23")}
		c.B.Children[0].Selectors.Local = []ipsec.TrafficSelector{selector("10.100.0.0/16")}
	})
	in, _ := p.A.Child()
	if got, want := fmt.Sprint(in.Selectors), fmt.Sprint(ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{selector("10.1.2.0/24"), selector("10.1.0.0/23")},
		Remote: []ipsec.TrafficSelector{selector("10.100.0.0/16")},
	}); got != want {
		t.Errorf("A has selectors %v, want %v", got, want)
	}
	rekeyChild(p.A)
	p.Pass(time.Minute)
	again, _ := p.A.Child()
	if fmt.Sprint(again.Selectors) != fmt.Sprint(in.Selectors) {
		t.Errorf("the rekey changed the selectors from %v to %v", in.Selectors, again.Selectors)
	}
}

func TestTransportMode(t *testing.T) {
	transport := func(c *ike.Connection) { c.Children[0].Mode = ipsec.Transport }
	t.Run("both want it", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(transport))
		in, _ := p.A.Child()
		if in.Mode != ipsec.Transport {
			t.Errorf("A's SA is in %v mode", in.Mode)
		}
		if want := iketest.AddrB; in.Selectors.Remote[0].Min != want || in.Selectors.Remote[0].Max != want {
			t.Errorf("A selects %v, want %v only", in.Selectors.Remote, want)
		}
		p.WantPairs(1)
	})
	t.Run("the responder declines", func(t *testing.T) {
		p := iketest.Establish(t, func(c *iketest.Config) { transport(c.A) })
		p.WantPairs(0)
		if len(p.A.Installed)+len(p.B.Installed) > 0 {
			t.Error("a pair is left although A insists on transport mode")
		}
	})
	t.Run("through a NAT", func(t *testing.T) { // RFC 7296 section 2.23.1
		p := iketest.Establish(t, iketest.BehindNAT(), iketest.Both(transport))
		in, _ := p.B.Child()
		if in.Selectors.Remote[0].Min != iketest.NATIP {
			t.Errorf("B selects %v, want the NAT's address", in.Selectors.Remote)
		}
		in, _ = p.A.Child()
		if in.Selectors.Local[0].Min != iketest.AddrA {
			t.Errorf("A selects %v, want its own address", in.Selectors.Local)
		}
	})
}

func TestIPv6(t *testing.T) {
	p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
		c.Children[0].Selectors = ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false), ipsec.AnySelector(true)},
			Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false), ipsec.AnySelector(true)},
		}
	}))
	if in, _ := p.A.Child(); len(in.Selectors.Local) != 2 {
		t.Errorf("A has selectors %v, want both families", in.Selectors)
	}
}

func TestInitialContact(t *testing.T) { // RFC 7296 section 2.4
	p := iketest.Establish(t)
	if !p.B.Established[0].InitialContact {
		t.Error("A's first tunnel to B came without INITIAL_CONTACT")
	}
	first := p.A.Tunnel
	p.A.Initiate()
	p.Deliver()
	p.WantUp()
	if p.B.Established[1].InitialContact {
		t.Error("A's second tunnel to B came with INITIAL_CONTACT, although the first is up")
	}
	if p.A.Demux.ByID(first.ID()) != first {
		t.Error("A's first tunnel is gone")
	}
}

func TestCloseBeforeUp(t *testing.T) {
	p := iketest.New(t)
	p.A.Initiate()
	p.A.Do(ike.Close{Reason: "changed my mind"})
	p.A.WantGone()
	p.Deliver()
	p.Pass(time.Minute)
	p.B.WantGone()
	if p.B.Stats.HalfOpen != 0 {
		t.Error("B still has a half-open IKE SA")
	}
}

func TestSuperseded(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.Superseded{Reason: "the test says so"})
	p.A.WantGone()
	if n := len(p.InFlight()); n > 0 {
		t.Errorf("A said %d words to B, want none", n)
	}
}
