package ike_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// TestEveryMessageLost loses each message of the set-up once.
func TestEveryMessageLost(t *testing.T) { // RFC 7296 section 2.1
	for lost := range 4 {
		p := iketest.New(t)
		p.A.Initiate()
		for range lost {
			p.Next()
		}
		p.DropAt(0)
		p.Pass(10 * time.Second)
		p.WantUp()
		p.WantPairs(1)
	}
}

func TestRetransmission(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.RekeyIKE{})
	first := p.Hold()[0].Datagram.Payload
	last := p.Now
	for i, want := range []time.Duration{500, 1000, 2000, 4000, 8000} {
		p.Now = p.A.Tunnel.NextTimeout()
		waited := p.Now.Sub(last)
		last = p.Now
		if d := want * time.Millisecond; waited < d || waited > d+d/8 {
			t.Errorf("retransmission %d comes after %v, want %v and a little", i+1, waited, d)
		}
		p.A.Do(ike.Timeout{})
		again := p.Hold()
		if len(again) != 1 || !bytes.Equal(again[0].Datagram.Payload, first) {
			t.Fatalf("retransmission %d is not the request, octet by octet", i+1)
		}
	}
	p.Now = p.A.Tunnel.NextTimeout()
	p.A.Do(ike.Timeout{})
	p.A.WantGone()
	if !errors.Is(p.A.Why, ike.ErrTimeout) {
		t.Errorf("A's tunnel ended with %v, want a timeout", p.A.Why)
	}
}

func TestResponseIsRepeated(t *testing.T) { // B2
	p := iketest.Establish(t)
	p.A.Do(ike.RekeyIKE{})
	p.DuplicateAt(0)
	p.Next()
	p.Next()
	answers := p.Hold()
	if len(answers) != 2 || !bytes.Equal(answers[0].Datagram.Payload, answers[1].Datagram.Payload) {
		t.Fatalf("B's answers to a doubled request are not the same, octet by octet: %d of them", len(answers))
	}
	p.Release(answers)
	p.Pass(time.Minute)
	p.WantSameIKE()
	if p.B.Stats.IKERekeys != 1 {
		t.Errorf("B rekeyed %d times, want once", p.B.Stats.IKERekeys)
	}
}

// TestReplays sends everything that was ever sent again.
func TestReplays(t *testing.T) {
	p := iketest.New(t)
	var all []iketest.Flight
	record := func() {
		for len(p.InFlight()) > 0 {
			f := p.InFlight()[0]
			f.Datagram.Payload = bytes.Clone(f.Datagram.Payload)
			all = append(all, f)
			p.Next()
		}
	}
	p.A.Initiate()
	record()
	p.B.Do(ike.RekeyIKE{})
	record()
	rekeyChild(p.A)
	record()
	p.Pass(2 * time.Minute)
	installed := len(p.A.Installed)
	established := p.B.Tunnel
	p.Release(all)
	p.Deliver()
	if p.B.Stats.HalfOpen != 1 {
		t.Errorf("the old IKE_SA_INIT made %d half-open IKE SAs, want one, which leads nowhere", p.B.Stats.HalfOpen)
	}
	p.B.Tunnel = established
	p.WantPairs(1)
	if got := len(p.A.Installed); got != installed {
		t.Errorf("a replay changed A's SAs from %d to %d", installed, got)
	}
	p.B.WantDropped(ike.DropMessageID)
	p.B.WantDropped(ike.DropUnknownSPI)
}

func TestReflection(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.RekeyIKE{})
	f := p.Hold()[0]
	p.Release([]iketest.Flight{{To: p.A, Datagram: ike.Datagram{Local: f.Datagram.Remote, Remote: f.Datagram.Local, Payload: f.Datagram.Payload}}})
	p.Next()
	p.A.Do(ike.Received{Datagram: ike.Datagram{Local: f.Datagram.Remote, Remote: f.Datagram.Local, Payload: f.Datagram.Payload}})
	p.A.WantDropped(ike.DropReflected)
	p.Pass(time.Minute)
	p.WantSameIKE()
}

func TestTampering(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.RekeyIKE{})
	f := p.Hold()[0]
	for i := 28; i < len(f.Datagram.Payload); i++ {
		changed := f
		changed.Datagram.Payload = bytes.Clone(f.Datagram.Payload)
		changed.Datagram.Payload[i] ^= 0x40
		p.Release([]iketest.Flight{changed})
		p.Next()
	}
	if n := len(p.InFlight()); n > 0 {
		t.Errorf("B answered %d changed messages, want none", n)
	}
	p.B.WantDropped(ike.DropIntegrity)
	p.Release([]iketest.Flight{f})
	p.Pass(time.Minute)
	p.WantSameIKE()
}

// TestWindow: one request at a time, the others wait (RFC 7296 section 2.3).
func TestWindow(t *testing.T) {
	p := iketest.Establish(t)
	rekeyChild(p.A)
	p.A.Do(ike.RekeyIKE{})
	createChild(p.A)
	if n := len(p.InFlight()); n != 1 {
		t.Fatalf("A has %d requests in flight, want one", n)
	}
	if n := p.A.Tunnel.Status(p.Now).Queued; n != 2 {
		t.Errorf("A has %d exchanges waiting, want two", n)
	}
	p.Pass(time.Minute)
	p.WantPairs(2)
	p.WantSameIKE()
}

func TestQueueIsBounded(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.RekeyIKE{}) // stays in the window
	for range 200 {
		createChild(p.A)
	}
	if n := p.A.Tunnel.Status(p.Now).Queued; n > 64 {
		t.Errorf("A has %d exchanges waiting, want at most 64", n)
	}
	if p.A.Stats.QueueFull == 0 {
		t.Error("the exchanges that found no room were not counted")
	}
	p.Pass(10 * time.Minute)
	p.WantUp()
	if n := len(p.B.Tunnel.SAs(p.Now)); n > 2*64 {
		t.Errorf("B has %d SAs, want at most 64 pairs", n)
	}
}

func TestDeadPeer(t *testing.T) { // RFC 7296 section 2.4
	dpd := iketest.Both(func(c *ike.Connection) { c.DPD = ike.DPD{Interval: 10 * time.Second, Retries: 3} })
	t.Run("an idle peer is probed", func(t *testing.T) {
		p := iketest.Establish(t, dpd)
		p.Pass(time.Minute)
		p.WantUp()
		if p.A.Stats.Probes+p.B.Stats.Probes < 3 {
			t.Error("hardly a probe in a minute of silence")
		}
	})
	t.Run("a silent one is given up", func(t *testing.T) {
		p := iketest.Establish(t, dpd)
		p.PassSilently(45 * time.Second)
		if p.A.Done {
			t.Error("A gave up before its probes were repeated")
		}
		p.PassSilently(10 * time.Second)
		p.A.WantGone()
		if !errors.Is(p.A.Why, ike.ErrDeadPeer) || p.A.Stats.DeadPeers != 1 {
			t.Errorf("A's tunnel ended with %v, want a dead peer", p.A.Why)
		}
	})
	t.Run("ESP is a sign of life", func(t *testing.T) {
		p := iketest.Establish(t, dpd)
		before := p.A.Stats.Probes
		for range 12 {
			p.A.Do(ike.Activity{In: p.Now, Out: p.Now})
			p.B.Do(ike.Activity{In: p.Now, Out: p.Now})
			p.Pass(5 * time.Second)
		}
		if p.A.Stats.Probes != before {
			t.Errorf("A probed %d times although ESP came", p.A.Stats.Probes-before)
		}
	})
	t.Run("on demand", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
			c.DPD = ike.DPD{Mode: ike.DPDOnDemand, Interval: 10 * time.Second, Retries: 3}
		}))
		p.Pass(time.Minute)
		if p.A.Stats.Probes != 0 {
			t.Errorf("A probed %d times although nothing was sent", p.A.Stats.Probes)
		}
		p.A.Do(ike.Activity{Out: p.Now})
		p.Pass(15 * time.Second)
		if p.A.Stats.Probes != 1 {
			t.Errorf("A probed %d times after a packet that had no answer, want once", p.A.Stats.Probes)
		}
	})
}

func TestLifetimes(t *testing.T) { // RFC 7296 section 2.8
	limited := func(c *ike.Connection) {
		c.Lifetime.Hard.Time = time.Hour
		c.Children[0].Lifetime.Hard = ipsec.Limits{Time: 10 * time.Minute, Bytes: 1000000, Packets: 5000}
	}
	t.Run("soft by time", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(limited))
		in, _ := p.A.Child()
		p.Pass(8 * time.Minute)
		if again, _ := p.A.Child(); again.ID != in.ID {
			t.Error("the pair was rekeyed long before its limit")
		}
		p.Pass(100 * time.Minute)
		p.WantPairs(1)
		p.WantSameIKE()
		if n := p.A.Stats.ChildRekeys; n < 10 {
			t.Errorf("the pair was rekeyed %d times in 108 minutes, want one each 10", n)
		}
		if n := p.A.Stats.IKERekeys; n < 1 {
			t.Error("the IKE SA was not rekeyed")
		}
	})
	t.Run("limits differ by a random part", func(t *testing.T) {
		soft := make(map[ipsec.Limits]bool)
		for seed := range uint64(5) {
			p := iketest.Establish(t, iketest.Seed(seed), iketest.Both(limited))
			in, out := p.A.Child()
			l := in.Lifetime
			soft[l.Soft] = true
			if l.Soft.Bytes > 900000 || l.Soft.Bytes < 850000 || l.Soft.Packets > 4500 || l.Soft.Time > 9*time.Minute {
				t.Errorf("soft limits are %+v, want a little less than nine tenths of %+v", l.Soft, l.Hard)
			}
			if out.Lifetime != l {
				t.Error("the two SAs of a pair have other limits")
			}
		}
		if len(soft) < 4 {
			t.Errorf("five pairs have %d different soft limits", len(soft))
		}
	})
	t.Run("soft by bytes", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(limited))
		in, out := p.A.Child()
		p.A.Do(ike.Expired{ID: out.ID})
		p.Pass(10 * time.Second)
		if again, _ := p.A.Child(); again.ID == in.ID {
			t.Error("the pair was not rekeyed")
		}
		p.WantPairs(1)
	})
	t.Run("hard", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(limited))
		in, _ := p.A.Child()
		p.A.Do(ike.Expired{ID: in.ID, Hard: true})
		p.Pass(10 * time.Second)
		p.WantPairs(0)
		if n := len(p.B.Installed); n > 0 {
			t.Errorf("B still has %d SAs", n)
		}
	})
	t.Run("hard of the IKE SA", func(t *testing.T) {
		p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
			c.Lifetime.Hard.Time = time.Minute
			c.Proposals[0].Transforms = append(c.Proposals[0].Transforms, ipsec.Transform{Type: ipsec.TypeKE, ID: uint16(ipsec.GroupECP256)})
			c.Retransmit.Tries = 100
		}))
		p.PassSilently(70 * time.Second) // no rekey gets through
		if st := p.A.Tunnel.Status(p.Now).State; st != ike.StateClosing {
			t.Errorf("A's tunnel is %v, want it closing", st)
		}
		p.Pass(3 * time.Minute)
		p.A.WantGone()
		p.B.WantGone()
		if !errors.Is(p.A.Why, ike.ErrExpired) && !errors.Is(p.B.Why, ike.ErrExpired) {
			t.Errorf("the tunnels ended with %v and %v, want one that expired", p.A.Why, p.B.Why)
		}
	})
}

// TestRekeyKeepsDecrypting: no packet gets lost by a rekey, because each end
// receives on the new SA before the other sends on it, and on the old one for a
// while after the other stopped.
func TestRekeyKeepsDecrypting(t *testing.T) {
	for _, who := range []string{"A", "B"} {
		p := iketest.Establish(t)
		asker, other := p.A, p.B
		if who == "B" {
			asker, other = p.B, p.A
		}
		old, _ := other.Child()
		rekeyChild(asker)
		p.Next() // the request
		in, out := other.Child()
		if in.ID != old.ID || len(other.Installed) != 3 {
			t.Fatalf("the responder sends on %v and has %d SAs, want the old pair and the new inbound SA", out.ID, len(other.Installed))
		}
		p.WantMirrored()
		p.Next() // the response
		if len(asker.Installed) != 4 {
			t.Fatalf("the initiator has %d SAs, want two pairs until its Delete is answered", len(asker.Installed))
		}
		p.Next() // the Delete
		p.WantMirrored()
		if _, ok := other.Installed[old.ID]; !ok {
			t.Fatal("the responder cannot decrypt any more what was overtaken by the Delete")
		}
		p.Deliver()
		p.WantPairs(1)
		p.Pass(6 * time.Second)
		if len(p.A.Installed) != 2 || len(p.B.Installed) != 2 {
			t.Errorf("A has %d SAs and B %d, want a pair each", len(p.A.Installed), len(p.B.Installed))
		}
	}
}

// TestSimultaneousRekey lets each of the four nonces be the lowest.
func TestSimultaneousRekey(t *testing.T) { // RFC 7296 section 2.8.1
	for lowest := range 4 {
		nonces := []byte{0x80, 0x80, 0x80, 0x80}
		nonces[lowest] = 0x10
		// Ni of A, Nr of B for it, Ni of B, Nr of A for it.
		p := iketest.Establish(t, iketest.Twins(ike.Resume))
		p.A.Nonces(nonces[0], nonces[3])
		p.B.Nonces(nonces[2], nonces[1])
		rekeyChild(p.A)
		rekeyChild(p.B)
		p.Next()
		p.Next()
		p.Next()
		p.Next()
		loser, winner := p.A, p.B
		if lowest >= 2 {
			loser, winner = p.B, p.A
		}
		if s := newest(loser, p.Now); s.State != "deleting" || s.Sending {
			t.Errorf("lowest nonce %d: the pair that %s made is %s, sending: %t, want it deleted and never used", lowest, loser.Name, s.State, s.Sending)
		}
		if s := newest(winner, p.Now); s.State != "up" || !s.Sending {
			t.Errorf("lowest nonce %d: the pair that %s made is %s, sending: %t, want it up", lowest, winner.Name, s.State, s.Sending)
		}
		p.Pass(time.Minute)
		p.WantPairs(1)
		if p.A.Stats.Collisions == 0 || p.B.Stats.Collisions == 0 {
			t.Error("the collision was not counted")
		}
	}
}

// newest is the pair that an end has installed last.
func newest(e *iketest.End, now time.Time) ike.ChildStatus {
	all := e.Tunnel.Status(now).Children
	return all[len(all)-1]
}

// TestSimultaneousIKERekey lets each of the four nonces be the lowest.
func TestSimultaneousIKERekey(t *testing.T) { // RFC 7296 section 2.8.2
	for lowest := range 4 {
		nonces := []byte{0x80, 0x80, 0x80, 0x80}
		nonces[lowest] = 0x10
		p := iketest.Establish(t, iketest.Twins(ike.Resume), iketest.Suite("aes128-sha256", "aes128-sha256", ipsec.GroupECP384))
		p.A.Nonces(nonces[0], nonces[3])
		p.B.Nonces(nonces[2], nonces[1])
		p.A.Do(ike.RekeyIKE{})
		p.B.Do(ike.RekeyIKE{})
		p.Deliver()
		p.WantSameIKE()
		s := p.A.Tunnel.Status(p.Now)
		if madeByA := s.SPIi.Member() == p.A.Env.Member; madeByA != (lowest >= 2) {
			t.Errorf("lowest nonce %d: the IKE SA that stays was made by A: %t", lowest, madeByA)
		}
		p.Pass(2 * time.Minute)
		p.A.WantGenerations(1)
		p.B.WantGenerations(1)
		p.WantPairs(1)
	}
}

// TestMessageIDsRunOut long before they do (RFC 7296 section 2.2).
func TestMessageIDsRunOut(t *testing.T) {
	p := iketest.Establish(t)
	ike.SetMessageID(p.A.Tunnel, p.B.Tunnel, 1<<31-1)
	rekeyChild(p.A)
	p.Pass(time.Minute)
	p.WantPairs(1)
	p.WantSameIKE()
	if p.A.Stats.IKERekeys == 0 {
		t.Error("the IKE SA was not rekeyed")
	}
}

// TestChildAskedForDuringSetup is made once the IKE SA is up.
func TestChildAskedForDuringSetup(t *testing.T) {
	p := iketest.New(t, iketest.Both(func(c *ike.Connection) {
		second := *c.Children[0]
		second.Name = "second"
		second.Selectors = ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(true)},
			Remote: []ipsec.TrafficSelector{ipsec.AnySelector(true)},
		}
		c.Children = append(c.Children, &second)
	}))
	p.A.Tunnel = p.A.Demux.Initiate(p.Now, p.A.Policy.Connections[0])
	p.A.Do(ike.Initiate{Child: "second"})
	p.A.Do(ike.Initiate{Child: "net"})
	p.Deliver()
	p.WantPairs(2)
}

// TestRekeyedIKESA: the responder of an IKE rekey stays on the old IKE SA until
// the initiator has used the new one, because the response may get lost.
func TestRekeyedIKESA(t *testing.T) {
	p := iketest.Establish(t)
	before := p.B.Tunnel.Status(p.Now).SPIi
	p.A.Do(ike.RekeyIKE{})
	p.Next()
	if got := p.B.Tunnel.Status(p.Now).SPIi; got != before {
		t.Error("B has gone over to the new IKE SA, A may not have it yet")
	}
	p.Next()
	p.DropAll() // A's Delete of the old one
	createChild(p.A)
	p.Next()
	if got := p.B.Tunnel.Status(p.Now).SPIi; got == before {
		t.Error("B is still on the old IKE SA, A has used the new one")
	}
	p.Pass(time.Minute)
	p.WantSameIKE()
	p.WantPairs(2)
}
