package ikev1_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/strongswan"
	"github.com/evergate/evergate/core/netlab/vici"
	"github.com/evergate/evergate/ike"
)

// pairInUse is the gateway's pair.
func (e *ends) pairInUse() ike.ChildStatus {
	e.t.Helper()
	for _, c := range e.gateway.waitUp(1).Children {
		if c.State == "up" {
			return c
		}
	}
	e.t.Fatal("The gateway has no pair in use.")
	return ike.ChildStatus{}
}

func TestClientRekeysItsPair(t *testing.T) {
	e := connect(t, pfs)
	e.initiate()
	before := e.pairInUse()
	if err := e.charon.RekeyChild("net"); err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, patience, "the gateway has another pair", func() error {
		if c := e.pairInUse(); c.In == before.In {
			return errors.New("it is the old one")
		}
		return nil
	})
}

func TestGatewayRekeysAPair(t *testing.T) {
	e := connect(t, pfs)
	e.initiate()
	before := e.pairInUse()
	e.gateway.input(ike.RekeyChild{ID: before.In})
	netlab.Eventually(t, patience, "both ends have one pair, another one", func() error {
		sas := e.charon.SAs()
		if len(sas) != 1 || len(sas[0].Children) != 1 || ipsec.SPI(sas[0].Children[0].SPIOut) == before.In.SPI {
			return fmt.Errorf("the client has %+v", sas)
		}
		return nil
	})
	e.wantSameKeys()
	if n := len(e.gateway.sas()); n != 2 {
		t.Errorf("The gateway has %d SAs, want one pair.", n)
	}
}

// TestBothRekeyAtOnce has the client rekey, and then both ends at once, the client twice.
// What each sends on the other one knows, also when the pairs that the gateway has replaced
// are gone, while charon keeps those that it has; and the gateway uses one pair.
func TestBothRekeyAtOnce(t *testing.T) {
	e := connect(t)
	e.initiate()
	if err := e.charon.RekeyChild("net"); err != nil {
		t.Fatal(err)
	}
	var net vici.Message
	net.Set("child", "net")
	for range 3 {
		e.gateway.input(ike.RekeyChild{ID: e.pairInUse().In})
		for range 2 {
			if _, err := e.charon.Call("rekey", net); err != nil {
				t.Fatal(err)
			}
		}
		netlab.Eventually(t, patience, "both ends know what the other one sends on", e.agree)
	}
	netlab.Eventually(t, patience, "what the gateway has replaced is deleted", func() error {
		if n := e.gateway.stats().ChildrenDeleted; n == 0 {
			return errors.New("nothing is")
		}
		return nil
	})
	netlab.Eventually(t, patience, "both ends know what the other one sends on", e.agree)
}

// agree tells what one end sends on and the other one does not know, or that the gateway
// sends on more than one pair.
func (e *ends) agree() error {
	theirs, newest := make(map[ipsec.SPI]bool), ipsec.SPI(0)
	for _, sa := range e.charon.SAs() {
		for _, c := range sa.Children {
			theirs[ipsec.SPI(c.SPIIn)] = true
			if c.State == "INSTALLED" {
				newest = ipsec.SPI(c.SPIOut)
			}
		}
	}
	ours, sending := e.gateway.sas(), 0
	for spi, sa := range ours {
		if sa.Direction != ipsec.Outbound {
			continue
		}
		if sending++; !theirs[spi] {
			return fmt.Errorf("the gateway sends on %v, the client has %v", sa.ID, theirs)
		}
	}
	if _, known := ours[newest]; !known || sending != 1 {
		return fmt.Errorf("the client sends on %v, known: %v; the gateway sends on %d pairs", newest, known, sending)
	}
	return nil
}

// TestClientRekeysPhase1: charon calls it reauthentication. The ESP SAs are
// carried over.
func TestClientRekeysPhase1(t *testing.T) {
	e := connect(t)
	e.initiate()
	tunnel, pair := e.gateway.waitUp(1), e.pairInUse()
	e.rekeyIKE()
	e.wantRekeyed(tunnel, pair)
}

func TestGatewayRekeysPhase1(t *testing.T) {
	for name, start := range map[string]func(*ends){"dialled in": (*ends).initiate, "dialled out": (*ends).dial} {
		t.Run(name, func(t *testing.T) {
			e := connect(t)
			start(e)
			tunnel, pair := e.gateway.waitUp(1), e.pairInUse()
			e.gateway.input(ike.RekeyIKE{})
			e.wantRekeyed(tunnel, pair)
			netlab.Eventually(t, patience, "the old phase 1 is gone at both ends", func() error {
				if s, theirs := e.gateway.waitUp(1), e.charon.SAs(); s.Generations != 1 || len(theirs) != 1 {
					return fmt.Errorf("the gateway has %+v, the client %+v", s, theirs)
				}
				return nil
			})
			e.wantSameKeys()
		})
	}
}

// rekeyIKE has the client begin a new phase 1. It leaves the old one to us to
// delete, so there is no waiting for that.
func (e *ends) rekeyIKE() {
	e.t.Helper()
	var m vici.Message
	m.Set("ike", "home")
	if _, err := e.charon.Call("rekey", m); err != nil {
		e.t.Fatal(err)
	}
}

// wantRekeyed waits until both ends use one new ISAKMP SA, of the same tunnel and
// with the same pair. The old one stays until whoever rekeyed deletes it.
func (e *ends) wantRekeyed(tunnel ike.Status, pair ike.ChildStatus) {
	e.t.Helper()
	netlab.Eventually(e.t, patience, "both ends use a new phase 1", func() error {
		s := e.gateway.waitUp(1)
		for _, sa := range e.charon.SAs() {
			if s.SPIi != tunnel.SPIi && sa.InitiatorSPI == uint64(s.SPIi) && len(sa.Children) == 1 {
				return nil
			}
		}
		return fmt.Errorf("the gateway has %+v", s)
	})
	if s := e.gateway.waitUp(1); s.ID != tunnel.ID {
		e.t.Errorf("The tunnel is %v after the rekeying, it was %v.", s.ID, tunnel.ID)
	}
	if c := e.pairInUse(); c.In != pair.In || c.Out != pair.Out {
		e.t.Errorf("The pair is %v/%v after the rekeying, it was %v/%v.", c.In, c.Out, pair.In, pair.Out)
	}
	if over := e.gateway.stats().ChildrenDeleted; over != 0 {
		e.t.Errorf("%d pairs were deleted with phase 1, want none.", over)
	}
	e.wantSameKeys()
}

func TestDeletion(t *testing.T) {
	t.Run("of a pair by the client", func(t *testing.T) {
		e := connect(t)
		e.initiate()
		if err := e.charon.TerminateChild("net"); err != nil {
			t.Fatal(err)
		}
		e.gateway.waitUp(0)
	})
	t.Run("of a pair by the gateway", func(t *testing.T) {
		e := connect(t)
		e.initiate()
		e.gateway.input(ike.CloseChild{ID: e.pairInUse().In})
		netlab.Eventually(t, patience, "the client has no pair", func() error {
			if sas := e.charon.SAs(); len(sas) != 1 || len(sas[0].Children) != 0 {
				return fmt.Errorf("it has %+v", sas)
			}
			return nil
		})
	})
	t.Run("of all by the client", func(t *testing.T) {
		e := connect(t)
		e.initiate()
		if err := e.charon.TerminateIKE("home"); err != nil {
			t.Fatal(err)
		}
		if why := e.gateway.waitOver(); !errors.Is(why, ike.ErrDeletedByPeer) {
			t.Errorf("The tunnel ended with %v, want %v.", why, ike.ErrDeletedByPeer)
		}
	})
	t.Run("of all by the gateway", func(t *testing.T) {
		e := connect(t)
		e.initiate()
		e.gateway.input(ike.Close{Reason: "the test says so"})
		e.gateway.waitOver()
		netlab.Eventually(t, patience, "the client has no tunnel", func() error {
			if sas := e.charon.SAs(); len(sas) > 0 {
				return fmt.Errorf("it has %+v", sas)
			}
			return nil
		})
	})
}

func TestDeadPeerDetection(t *testing.T) {
	dpd := func(s *set) {
		s.ours.DPD = ike.DPD{Mode: ike.DPDOnIdle, Interval: time.Second, Retries: 1}
		s.theirs.DPDDelay = time.Second
		s.theirs.DPDTimeout = 3 * time.Second
	}
	t.Run("both answer", func(t *testing.T) {
		e := connect(t, dpd)
		e.initiate()
		e.charon.Log().Wait(`parsed INFORMATIONAL_V1 request \d+ \[ HASH N\(DPD_ACK\) \]`, patience)
		netlab.Eventually(t, patience, "the gateway has asked", func() error {
			if e.gateway.stats().Probes == 0 {
				return errors.New("it has not")
			}
			return nil
		})
		e.pairInUse()
	})
	t.Run("the client dies", func(t *testing.T) {
		e := connect(t, dpd)
		e.initiate()
		e.charon.Kill()
		if why := e.gateway.waitOver(); !errors.Is(why, ike.ErrDeadPeer) {
			t.Errorf("The tunnel ended with %v, want %v.", why, ike.ErrDeadPeer)
		}
	})
}

// TestTakeover: who restores the gateway's last snapshot goes on, with the keys and
// IVs that are in it.
func TestTakeover(t *testing.T) {
	e := connect(t, pfs)
	e.initiate()
	tunnel, pair := e.gateway.waitUp(1), e.pairInUse()
	e.gateway.takeOver()
	if err := e.charon.RekeyChild("net"); err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, patience, "the gateway has another pair", func() error {
		if c := e.pairInUse(); c.In == pair.In {
			return errors.New("it is the old one")
		}
		return nil
	})
	e.gateway.takeOver()
	pair = e.pairInUse()
	e.gateway.input(ike.RekeyIKE{})
	netlab.Eventually(t, patience, "both ends have a new phase 1", func() error {
		if s := e.gateway.waitUp(1); s.SPIi == tunnel.SPIi || e.charon.SAs()[0].InitiatorSPI != uint64(s.SPIi) {
			return fmt.Errorf("the gateway has %+v", s)
		}
		return nil
	})
	if c := e.pairInUse(); c.In != pair.In {
		t.Errorf("The pair is %v after the rekeying, it was %v.", c.In, pair.In)
	}
}

func TestRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*set)
		says   string   // charon's account
		logged []string // by the gateway
	}{
		"another key": {
			func(s *set) { s.theirs.PSK = "wrong horse"; s.settings.RetransmitTries = 1 },
			"",
			[]string{"proof of identity did not verify", "psksecret"},
		},
		"another identity": {
			func(s *set) { s.theirs.Local.ID = strongswan.FQDN("stranger.example") },
			"INVALID_ID_INFORMATION",
			[]string{"no connection for the peer's identity", "stranger.example"},
		},
		"another proposal": {
			func(s *set) { s.theirs.Proposals = []string{"aes256-sha512-modp3072"} },
			"NO_PROPOSAL_CHOSEN",
			[]string{"no proposal chosen", "aes256-sha512", "modp3072"},
		},
		"another mode": {
			func(s *set) { aggressive(s); s.ours.V1.Aggressive = false },
			"NO_PROPOSAL_CHOSEN",
			[]string{"no connection of version 1", "aggressive mode"},
		},
		"other networks": {
			func(s *set) { s.theirs.Children[0].RemoteTS = []string{"172.16.0.0/16"} },
			"INVALID_ID_INFORMATION",
			[]string{"child sa refused", "172.16.0.0", "src-subnet"},
		},
		"another proposal of phase 2": {
			func(s *set) { s.theirs.Children[0].Proposals = []string{"aes256-sha512"} },
			"NO_PROPOSAL_CHOSEN",
			[]string{"child sa refused", "aes256-sha512", "aes128-sha256"},
		},
		"no PFS": {
			func(s *set) { pfs(s); s.theirs.Children[0].Proposals = []string{"aes128-sha256"} },
			"NO_PROPOSAL_CHOSEN",
			[]string{"child sa refused", "modp2048"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := connect(t, tt.change)
			if err := e.charon.Initiate("net"); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("The client's initiation returned %v, want %q in it.", err, tt.says)
			}
			e.gateway.wantLogged(tt.logged...)
		})
	}
}

func TestClientRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*set)
		logged []string
	}{
		"our key": {func(s *set) {
			s.theirs.PSK = "wrong horse"
			s.ours.Retransmit = ike.Retransmit{First: 200 * time.Millisecond, Tries: 2}
		}, []string{"peer did not answer", "psksecret"}}, // it says nothing that could be trusted
		"our proposal":   {func(s *set) { s.theirs.Proposals = []string{"aes256-sha512-modp3072"} }, []string{"peer refused phase 1", "NO-PROPOSAL-CHOSEN", "dhgrp"}},
		"our networks":   {func(s *set) { s.theirs.Children[0].LocalTS = []string{"172.16.0.0/16"} }, []string{"peer refused the child sa", "INVALID-ID-INFORMATION"}},
		"our phase 2":    {func(s *set) { s.theirs.Children[0].Proposals = []string{"aes256-sha512"} }, []string{"peer refused the child sa", "NO-PROPOSAL-CHOSEN"}},
		"our identity":   {func(s *set) { s.theirs.Remote.ID = strongswan.FQDN("other.example") }, []string{"peer refused phase 1"}},
		"to be somebody": {func(s *set) { s.ours.RemoteID = ike.Identity{Type: ike.IDText, Data: "somebody"} }, []string{"phase 1 failed", "somebody"}},
	} {
		t.Run(name, func(t *testing.T) {
			e := connect(t, tt.change)
			e.gateway.dial()
			e.gateway.wantLogged(tt.logged...)
		})
	}
}
