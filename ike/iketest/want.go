package iketest

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// check holds the dataplane against the machine.
func (g *Gateway) check() {
	g.TB.Helper()
	want := make(map[ipsec.SAID]ipsec.SA)
	for _, sa := range g.machine.Described() {
		want[sa.ID] = sa
	}
	for id := range want {
		if _, ok := g.Installed[id]; !ok {
			g.TB.Errorf("%s lacks %s SA %v in its dataplane", g.Name, want[id].Direction, id)
		}
	}
	for id := range g.Installed {
		if _, ok := want[id]; !ok {
			g.TB.Errorf("%s still has %s SA %v in its dataplane", g.Name, g.Installed[id].Direction, id)
		}
	}
}

// gateways are both ends.
func (p *Network[E]) gateways() []*Gateway { return []*Gateway{p.A.Base(), p.B.Base()} }

// WantUp checks that both ends have a tunnel that is up, and that their SAs
// mirror each other.
func (p *Network[E]) WantUp() {
	p.TB.Helper()
	for _, g := range p.gateways() {
		switch t := g.machine.Current(); {
		case t == nil:
			p.TB.Fatalf("%s has no tunnel", g.Name)
		case !t.Established():
			p.TB.Fatalf("%s's tunnel is %v, want it up (ended with: %v)", g.Name, t.Status(p.Now).State, g.Why)
		}
	}
	p.WantMirrored()
}

// WantPairs checks how many pairs of SAs both ends have that are neither
// replaced nor on their way out.
func (p *Network[E]) WantPairs(n int) {
	p.TB.Helper()
	for _, g := range p.gateways() {
		up := 0
		for _, c := range g.status().Children {
			if c.State == "up" && c.Sending {
				up++
			}
		}
		if up != n {
			p.TB.Errorf("%s has %d pairs that are up, want %d: %+v", g.Name, up, n, g.status().Children)
		}
	}
	p.WantMirrored()
}

// WantMirrored checks that whatever one end sends on, the other can decrypt: same
// SPI, keys and algorithms, selectors the other way round.
func (p *Network[E]) WantMirrored() {
	p.TB.Helper()
	p.mirrored(p.A.Base(), p.B.Base())
	p.mirrored(p.B.Base(), p.A.Base())
}

func (p *Network[E]) mirrored(from, to *Gateway) {
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

func (g *Gateway) inbound(spi ipsec.SPI) (ipsec.SA, bool) {
	for id, sa := range g.Installed {
		if id.SPI == spi && sa.Direction == ipsec.Inbound {
			return sa, true
		}
	}
	return ipsec.SA{}, false
}

// WantGone checks that an end's tunnel is over and left nothing behind.
func (g *Gateway) WantGone() {
	g.TB.Helper()
	if !g.Done {
		g.TB.Errorf("%s's tunnel is %v, want it gone", g.Name, g.status().State)
	}
	if len(g.Installed) > 0 {
		g.TB.Errorf("%s's tunnel is gone, but %d SAs are still installed", g.Name, len(g.Installed))
	}
}

// WantGenerations checks how many IKE or ISAKMP SAs the end's tunnel consists of.
func (g *Gateway) WantGenerations(n int) {
	g.TB.Helper()
	if got := g.status().Generations; got != n {
		g.TB.Errorf("%s's tunnel has %d IKE SAs, want %d", g.Name, got, n)
	}
}

// WantSameIKE checks that both ends agree on the current IKE or ISAKMP SA.
func (p *Network[E]) WantSameIKE() {
	p.TB.Helper()
	a, b := p.A.Base().status(), p.B.Base().status()
	if a.SPIi != b.SPIi || a.SPIr != b.SPIr {
		p.TB.Errorf("A is on IKE SA %v/%v, B on %v/%v", a.SPIi, a.SPIr, b.SPIi, b.SPIr)
	}
}

// WantDropped checks that an end's machine dropped something for a reason.
func (g *Gateway) WantDropped(d ike.Drop) {
	g.TB.Helper()
	if g.Stats.Drops[d] == 0 {
		g.TB.Errorf("%s dropped nothing for the reason %q", g.Name, d)
	}
}

// WantFailure checks that an end counted a failed negotiation of that reason.
func (g *Gateway) WantFailure(f ike.Failure) {
	g.TB.Helper()
	if g.Stats.Failures[f] == 0 {
		g.TB.Errorf("%s counted no failed negotiation of the reason %q", g.Name, f)
	}
}
