package v1_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
)

func TestRekeyChild(t *testing.T) {
	for name, who := range map[string]func(*v1test.Pair) *v1test.End{
		"by the initiator": func(p *v1test.Pair) *v1test.End { return p.A },
		"by the responder": func(p *v1test.Pair) *v1test.End { return p.B },
	} {
		t.Run(name, func(t *testing.T) {
			p := v1test.Establish(t, v1test.PFS(ipsec.GroupECP256), v1test.Twins(v1.Resume))
			before, _ := p.A.Child()
			rekeyChild(who(p))
			p.Pass(confirmTime)
			// Both ends send on the new pair, and still receive on the old one.
			p.WantPairs(1)
			if n := len(p.A.Installed); n != 3 {
				t.Errorf("A has %d SAs, want a pair and the old inbound SA", n)
			}
			if _, ok := p.A.Installed[before.ID]; !ok {
				t.Error("A does not receive on the old pair any more")
			}
			p.Pass(time.Minute)
			p.WantPairs(1)
			for _, e := range []*v1test.End{p.A, p.B} {
				if n := len(e.Installed); n != 2 {
					t.Errorf("%s has %d SAs after a minute, want one pair", e.Name, n)
				}
			}
		})
	}
}

// confirmTime is the machine's: for how long a predecessor still sends.
const confirmTime = 200 * time.Millisecond

// TestNewPairWaitsForThePeer: nothing answers the last message of a quick mode, and
// what is sent on the new pair may overtake it. So its initiator sends on the old one
// for a moment, unless the peer shows that it has the new one, by the end of the old.
func TestNewPairWaitsForThePeer(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile func(p *v1test.Pair, old ipsec.SAID)
		wait      time.Duration
	}{
		"for a moment":           {func(*v1test.Pair, ipsec.SAID) {}, confirmTime},
		"until the old one ends": {func(p *v1test.Pair, old ipsec.SAID) { p.B.Do(ike.CloseChild{ID: old}) }, 0},
		"across a takeover":      {func(p *v1test.Pair, _ ipsec.SAID) { p.A.Crash() }, confirmTime},
	} {
		t.Run(name, func(t *testing.T) {
			p := v1test.Establish(t, v1test.Twins(v1.Resume))
			_, before := p.A.Child()
			in, out := p.B.Child()
			rekeyChild(p.A)
			p.Deliver()
			if _, now := p.A.Child(); now.ID != before.ID {
				t.Fatal("A sends on the new pair before B can have it")
			}
			if _, now := p.B.Child(); now.ID == out.ID {
				t.Error("B knows that A has the new pair, and sends on the old one")
			}
			tt.meanwhile(p, in.ID)
			p.Pass(tt.wait)
			if _, now := p.A.Child(); now.ID == before.ID {
				t.Error("A sends on the old pair still")
			}
			p.Pass(3 * time.Minute)
			p.WantPairs(1)
		})
	}
}

// TestRekeyingHasTheKeyExchangeOfThePair: B would rather have one, A has none.
func TestRekeyingHasTheKeyExchangeOfThePair(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) {
		plain := c.B.Children[0].Proposals
		c.B.Children[0].Proposals = append([]ipsec.Proposal{plain[0].WithGroups(ipsec.GroupECP256)}, plain...)
	})
	before, _ := p.B.Child()
	rekeyChild(p.B)
	p.Pass(confirmTime)
	p.WantPairs(1)
	p.Pass(time.Minute)
	if now, _ := p.B.Child(); now.ID == before.ID {
		t.Error("B has the old pair")
	}
}

func TestSimultaneousRekey(t *testing.T) {
	for name, deliver := range map[string]func(*v1test.Pair){
		"in order": func(p *v1test.Pair) { p.Deliver() },
		"A's last": func(p *v1test.Pair) {
			held := p.Hold()
			p.Release(held[1:])
			p.Next()
			p.Release(held[:1])
			p.Deliver()
		},
		"B's confirmed": func(p *v1test.Pair) { p.NextAt(1); p.NextAt(1); p.NextAt(1); p.Deliver() },
	} {
		t.Run(name, func(t *testing.T) {
			p := v1test.Establish(t, v1test.Twins(v1.Resume))
			rekeyChild(p.A)
			rekeyChild(p.B)
			deliver(p)
			p.WantMirrored()
			p.Pass(3 * time.Minute)
			p.WantPairs(1)
			a, _ := p.A.Child()
			_, b := p.B.Child()
			if a.ID.SPI != b.ID.SPI {
				t.Errorf("A receives on %v, B sends on %v", a.ID, b.ID)
			}
		})
	}
}

func TestRekeyPhase1(t *testing.T) {
	for _, mode := range []string{"main mode", "aggressive mode"} {
		for name, who := range map[string]func(*v1test.Pair) *v1test.End{
			"by the initiator": func(p *v1test.Pair) *v1test.End { return p.A },
			"by the responder": func(p *v1test.Pair) *v1test.End { return p.B },
		} {
			t.Run(mode+" "+name, func(t *testing.T) {
				p := v1test.Establish(t, append(modes()[mode], func(c *v1test.Config) { c.B.Remote = v1test.AddrA })...)
				tunnel, other := p.A.Tunnel, p.B.Tunnel
				pair, _ := p.A.Child()
				old := p.A.Tunnel.Status(p.Now).SPIi
				who(p).Do(ike.RekeyIKE{})
				p.Deliver()
				p.WantUp()
				p.WantSameIKE()
				if p.A.Tunnel != tunnel || p.B.Tunnel != other {
					t.Error("the tunnel is another one after the rekeying")
				}
				if p.A.Tunnel.Status(p.Now).SPIi == old {
					t.Error("the ISAKMP SA is the old one")
				}
				if in, _ := p.A.Child(); in.ID != pair.ID {
					t.Error("the pair is another one after the rekeying")
				}
				p.Pass(2 * time.Minute)
				p.A.WantGenerations(1)
				p.B.WantGenerations(1)
				if n := len(p.A.Established) + len(p.B.Established); n != 2 {
					t.Errorf("%d peers were announced, want one at each end", n)
				}
				rekeyChild(p.B)
				p.Pass(time.Minute)
				p.WantPairs(1)
				p.A.Do(ike.RekeyIKE{})
				p.Pass(time.Minute)
				p.WantSameIKE()
				p.WantPairs(1)
			})
		}
	}
}

func TestSimultaneousRekeyOfPhase1(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) { c.B.Remote = v1test.AddrA })
	p.Pass(time.Second)
	p.A.Do(ike.RekeyIKE{})
	p.B.Do(ike.RekeyIKE{})
	for len(p.InFlight()) > 0 {
		p.Now = p.Now.Add(time.Millisecond)
		p.Next()
	}
	for range 5 {
		p.WantUp()
		p.WantSameIKE()
		p.WantPairs(1)
		p.Pass(time.Minute)
	}
}

func TestRekeyOfPhase1Fails(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) { c.A.Lifetime.Hard.Time = time.Hour })
	p.A.Do(ike.RekeyIKE{})
	p.PassSilently(time.Minute)
	p.WantUp()
	p.WantPairs(1)
	p.Pass(3 * time.Minute) // it tries again
	p.WantUp()
	p.WantSameIKE()
	if p.A.Stats.IKERekeys == 0 {
		t.Error("A did not try again")
	}
}

// TestDeletedWhileRekeying: the peer deletes the only ISAKMP SA while the next one
// is on its way.
func TestDeletedWhileRekeying(t *testing.T) {
	p := v1test.Establish(t)
	p.A.Do(ike.RekeyIKE{})
	held := p.Hold()
	p.B.Do(ike.Close{Reason: "the test says so"})
	p.Deliver()
	if p.A.Done {
		t.Fatal("A gave up although it is rekeying")
	}
	p.Release(held)
	p.Pass(time.Minute)
	p.WantUp()
	p.WantSameIKE()
}

func TestLifetimes(t *testing.T) {
	p := v1test.Establish(t, v1test.Both(func(c *ike.Connection) {
		c.Lifetime.Hard.Time = 4 * time.Hour
		c.Children[0].Lifetime.Hard.Time = time.Hour
	}))
	p.Pass(24 * time.Hour)
	p.WantUp()
	p.WantPairs(1)
	p.WantSameIKE()
	if p.A.Stats.ChildRekeys < 20 || p.A.Stats.IKERekeys < 5 {
		t.Errorf("in a day %d pairs and %d ISAKMP SAs were rekeyed, want about 26 and 6", p.A.Stats.ChildRekeys, p.A.Stats.IKERekeys)
	}
}

// TestShorterLifetime: "The RESPONDER-LIFETIME status message may be used to
// communicate the IPSEC SA lifetime chosen by the responder." RFC 2407 section
// 4.6.3.1.
func TestShorterLifetime(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) {
		c.A.Lifetime.Hard.Time, c.B.Lifetime.Hard.Time = 8*time.Hour, time.Hour
		c.A.Children[0].Lifetime.Hard = ipsec.Limits{Time: 4 * time.Hour, Bytes: 1 << 30}
		c.B.Children[0].Lifetime.Hard = ipsec.Limits{Time: 30 * time.Minute, Bytes: 1 << 20}
	})
	for _, e := range []*v1test.End{p.A, p.B} {
		s := e.Tunnel.Status(p.Now)
		if s.Hard != time.Hour {
			t.Errorf("%s's phase 1 ends in %v, want an hour", e.Name, s.Hard)
		}
		if got := s.Children[0].Lifetime.Hard; got != (ipsec.Limits{Time: 30 * time.Minute, Bytes: 1 << 20}) {
			t.Errorf("%s's pair has the limits %+v, want the responder's", e.Name, got)
		}
	}
}

// TestOfferedLifetime: the responder does not use an SA for longer than the
// initiator wants.
func TestOfferedLifetime(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) {
		c.A.Lifetime.Hard.Time = time.Hour
		c.A.Children[0].Lifetime.Hard.Time = 30 * time.Minute
	})
	s := p.B.Tunnel.Status(p.Now)
	if s.Hard != time.Hour || s.Children[0].Hard != 30*time.Minute {
		t.Errorf("B's phase 1 ends in %v and its pair in %v, want an hour and half of one", s.Hard, s.Children[0].Hard)
	}
}

func TestExpired(t *testing.T) {
	p := v1test.Establish(t)
	in, _ := p.A.Child()
	p.A.Do(ike.Expired{ID: in.ID})
	p.Pass(time.Minute)
	p.WantPairs(1)
	if now, _ := p.A.Child(); now.ID == in.ID {
		t.Error("A did not rekey at its soft limit of octets")
	}
	in, _ = p.A.Child()
	p.A.Do(ike.Expired{ID: in.ID, Hard: true})
	p.Deliver()
	p.WantPairs(0)
}

func TestHardLifetimeOfPhase1(t *testing.T) {
	p := v1test.Establish(t, func(c *v1test.Config) { c.A.Lifetime.Hard.Time = time.Hour })
	p.PassSilently(2 * time.Hour)
	p.A.WantGone()
	if p.A.Why != ike.ErrExpired { //nolint:errorlint // it is that value
		t.Errorf("A's tunnel ended with %v, want %v", p.A.Why, ike.ErrExpired)
	}
}

// TestRefusedWhileRekeying: the dataplane takes no new pair, so the old one goes on.
func TestRefusedWhileRekeying(t *testing.T) {
	for name, refuse := range map[string]func(*v1test.Pair) *v1test.End{
		"by the one who rekeys": func(p *v1test.Pair) *v1test.End { return p.A },
		"by the other one":      func(p *v1test.Pair) *v1test.End { return p.B },
	} {
		for _, direction := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
			t.Run(name+" "+direction.String(), func(t *testing.T) {
				p := v1test.Establish(t)
				end := refuse(p)
				before, _ := p.A.Child()
				full := true
				end.Refuse = func(sa ipsec.SA) error {
					if sa.ID.SPI == before.ID.SPI || sa.Pair == before.ID.SPI {
						t.Errorf("%v is installed again, which is there", sa.ID)
					}
					if full && sa.Direction == direction && sa.ID.SPI != before.ID.SPI && sa.Pair != before.ID.SPI {
						return errFull
					}
					return nil
				}
				rekeyChild(p.A)
				p.Pass(30 * time.Second)
				end.WantFailure(ike.FailDataplane)
				p.WantPairs(1)
				full = false
				rekeyChild(p.A)
				p.Pass(2 * time.Minute)
				p.WantPairs(1)
			})
		}
	}
}
