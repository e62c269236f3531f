package v1test

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// check holds the dataplane against the machine.
func (e *End) check() {
	e.Pair.TB.Helper()
	want := make(map[ipsec.SAID]ipsec.SA)
	for t := range e.Demux.Tunnels {
		for _, sa := range t.SAs(e.Pair.Now) {
			want[sa.ID] = sa
		}
	}
	for id := range want {
		if _, ok := e.Installed[id]; !ok {
			e.Pair.TB.Errorf("%s lacks %s SA %v in its dataplane", e.Name, want[id].Direction, id)
		}
	}
	for id := range e.Installed {
		if _, ok := want[id]; !ok {
			e.Pair.TB.Errorf("%s still has %s SA %v in its dataplane", e.Name, e.Installed[id].Direction, id)
		}
	}
}

// WantUp checks that both ends have a tunnel that is up, and that their SAs
// mirror each other.
func (p *Pair) WantUp() {
	p.TB.Helper()
	for _, e := range []*End{p.A, p.B} {
		switch {
		case e.Tunnel == nil:
			p.TB.Fatalf("%s has no tunnel", e.Name)
		case !e.Tunnel.Established():
			p.TB.Fatalf("%s's tunnel is %v, want it up (ended with: %v)", e.Name, e.Tunnel.Status(p.Now).State, e.Why)
		}
	}
	p.WantMirrored()
}

// WantPairs checks how many pairs of SAs both ends have that are in use.
func (p *Pair) WantPairs(n int) {
	p.TB.Helper()
	for _, e := range []*End{p.A, p.B} {
		up := 0
		for _, c := range e.Tunnel.Status(p.Now).Children {
			if c.State == "up" && c.Sending {
				up++
			}
		}
		if up != n {
			p.TB.Errorf("%s has %d pairs that are up, want %d: %+v", e.Name, up, n, e.Tunnel.Status(p.Now).Children)
		}
	}
	p.WantMirrored()
}

// WantMirrored checks that whatever one end sends on, the other can decrypt: same
// SPI, keys and algorithms, selectors the other way round.
func (p *Pair) WantMirrored() {
	p.TB.Helper()
	p.mirrored(p.A, p.B)
	p.mirrored(p.B, p.A)
}

func (p *Pair) mirrored(from, to *End) {
	p.TB.Helper()
	for _, out := range from.Installed {
		if out.Direction != ipsec.Outbound {
			continue
		}
		in, ok := to.inbound(out.ID.SPI)
		switch {
		case !ok:
			p.TB.Errorf("%s sends on %v, which %s cannot decrypt", from.Name, out.ID, to.Name)
		case !in.Encryption.Equal(out.Encryption) || !in.Integrity.Equal(out.Integrity):
			p.TB.Errorf("%s and %s have other keys for %v", from.Name, to.Name, out.ID)
		case in.Algorithms != out.Algorithms || in.Mode != out.Mode:
			p.TB.Errorf("%s sends %v in %v mode on %v, %s expects %v in %v mode", from.Name, out.Algorithms, out.Mode, out.ID, to.Name, in.Algorithms, in.Mode)
		case out.Mode == ipsec.Tunnel && (!slices.Equal(in.Selectors.Local, out.Selectors.Remote) || !slices.Equal(in.Selectors.Remote, out.Selectors.Local)):
			p.TB.Errorf("%s has selectors %v for %v, %s has %v", from.Name, out.Selectors, out.ID, to.Name, in.Selectors)
		case (in.Encap == nil) != (out.Encap == nil):
			p.TB.Errorf("%s and %s disagree on encapsulation of %v", from.Name, to.Name, out.ID)
		}
	}
}

func (e *End) inbound(spi ipsec.SPI) (ipsec.SA, bool) {
	for id, sa := range e.Installed {
		if id.SPI == spi && sa.Direction == ipsec.Inbound {
			return sa, true
		}
	}
	return ipsec.SA{}, false
}

// WantGone checks that an end's tunnel is over and left nothing behind.
func (e *End) WantGone() {
	e.Pair.TB.Helper()
	if !e.Done {
		e.Pair.TB.Errorf("%s's tunnel is %v, want it gone", e.Name, e.Tunnel.Status(e.Pair.Now).State)
	}
	if len(e.Installed) > 0 {
		e.Pair.TB.Errorf("%s's tunnel is gone, but %d SAs are still installed", e.Name, len(e.Installed))
	}
}

// WantGenerations checks how many ISAKMP SAs the end's tunnel consists of.
func (e *End) WantGenerations(n int) {
	e.Pair.TB.Helper()
	if got := e.Tunnel.Status(e.Pair.Now).Generations; got != n {
		e.Pair.TB.Errorf("%s's tunnel has %d ISAKMP SAs, want %d", e.Name, got, n)
	}
}

// WantSamePhase1 checks that both ends agree on the current ISAKMP SA.
func (p *Pair) WantSamePhase1() {
	p.TB.Helper()
	a, b := p.A.Tunnel.Status(p.Now), p.B.Tunnel.Status(p.Now)
	if a.SPIi != b.SPIi || a.SPIr != b.SPIr {
		p.TB.Errorf("A is on ISAKMP SA %v/%v, B on %v/%v", a.SPIi, a.SPIr, b.SPIi, b.SPIr)
	}
}

// WantDropped checks that an end's machine dropped something for a reason.
func (e *End) WantDropped(d ike.Drop) {
	e.Pair.TB.Helper()
	if e.Stats.Drops[d] == 0 {
		e.Pair.TB.Errorf("%s dropped nothing for the reason %q", e.Name, d)
	}
}

// WantFailure checks that an end counted a failed negotiation of that reason.
func (e *End) WantFailure(f ike.Failure) {
	e.Pair.TB.Helper()
	if e.Stats.Failures[f] == 0 {
		e.Pair.TB.Errorf("%s counted no failed negotiation of the reason %q", e.Name, f)
	}
}
