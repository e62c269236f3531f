package ike_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// TestRandomSchedules lets both ends do anything at any time, over a network
// that loses, doubles and reorders, and crash and go on from what they published. Whatever happened, once the network is
// reliable again both ends agree. Before every step the machine also comes back
// from its snapshot, and does the same as the original.

func TestRandomSchedules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64Range(0, 1<<20).Draw(rt, "seed")
		options := []iketest.Option{iketest.Seed(seed), iketest.Twins(ike.Resume), iketest.Both(lively)}
		if rapid.Bool().Draw(rt, "pfs") {
			options = append(options, iketest.PFS(ipsec.GroupX25519))
		}
		if rapid.Bool().Draw(rt, "nat") {
			options = append(options, iketest.BehindNAT())
		}
		if rapid.Bool().Draw(rt, "fragments") {
			options = append(options, iketest.Both(func(c *ike.Connection) { c.FragmentSize = 240 }))
		}
		if rapid.Bool().Draw(rt, "aead") {
			options = append(options, iketest.Suite("aes128gcm-prfsha256", "aes128gcm", ipsec.GroupX25519))
		}
		p := iketest.Establish(rt, options...)
		for _, s := range steps.Draw(rt, "steps") {
			s.do(p)
		}
		settle(rt, p)
	})
}

// lively makes peers patient enough to outlive a bad network, and lets lifetimes
// matter.
func lively(c *ike.Connection) {
	c.Retransmit = ike.Retransmit{First: time.Second, Max: 4 * time.Second, Tries: 50}
	c.Lifetime.Hard.Time = time.Hour
	c.Children[0].Lifetime.Hard.Time = 20 * time.Minute
}

// step is one thing that happens; n means what the step makes of it.
type step struct {
	b  bool // at B, else at A
	op string
	n  int
}

var steps = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) step {
	return step{
		op: rapid.SampledFrom([]string{
			"deliver", "deliver", "deliver", "deliver", "deliver", "drop", "double", "silence", "time", "rebind",
			"rekey ike", "rekey child", "rekey child", "close child", "create child", "expired", "expired hard", "initiate", "crash",
		}).Draw(rt, "op"),
		b: rapid.Bool().Draw(rt, "b"),
		n: rapid.IntRange(0, 3).Draw(rt, "n"),
	}
}), 1, 150)

func (s step) do(p *iketest.Pair) {
	e := p.A
	if s.b {
		e = p.B
	}
	flight := 0
	if n := len(p.InFlight()); n > 0 {
		flight = s.n % n
	}
	switch s.op {
	case "deliver":
		p.NextAt(flight)
		return
	case "drop":
		p.DropAt(flight)
		return
	case "double":
		p.DuplicateAt(flight)
		return
	case "silence":
		p.PassSilently(time.Duration(s.n*s.n) * time.Second)
		return
	case "time":
		p.Deliver()
		espArrives(p)
		p.Pass(time.Duration(s.n*s.n) * 30 * time.Second)
		return
	case "rebind":
		p.Rebind()
		espArrives(p)
		return
	case "rekey ike":
		e.Do(ike.RekeyIKE{})
		return
	case "create child":
		createChild(e)
		return
	case "initiate":
		e.Do(ike.Initiate{})
		return
	case "crash":
		e.Crash()
		return
	}
	sas := e.Tunnel.SAs(p.Now)
	if len(sas) == 0 {
		return
	}
	id := sas[s.n%len(sas)].ID
	switch s.op {
	case "rekey child":
		e.Do(ike.RekeyChild{ID: id})
	case "close child":
		e.Do(ike.CloseChild{ID: id})
	case "expired":
		e.Do(ike.Expired{ID: id})
	case "expired hard":
		e.Do(ike.Expired{ID: id, Hard: true})
	}
}

// espArrives lets B's dataplane see where A sends from now: ESP goes on all the
// time.
func espArrives(p *iketest.Pair) {
	if outside, ok := p.Outside(); ok {
		p.B.Do(ike.PeerMoved{Remote: outside})
	}
}

// settle makes the network reliable and waits for all that is under way.
func settle(rt *rapid.T, p *iketest.Pair) {
	p.Deliver()
	espArrives(p)
	p.Pass(4 * time.Minute)
	if p.A.Done || p.B.Done {
		rt.Fatalf("a tunnel ended although nobody closed it: A %v (%v), B %v (%v)", p.A.Done, p.A.Why, p.B.Done, p.B.Why)
	}
	p.WantUp()
	p.WantSameIKE()
	for _, e := range []*iketest.End{p.A, p.B} {
		for _, c := range e.Tunnel.Status(p.Now).Children {
			if c.State != "up" || !c.Sending {
				rt.Errorf("%s still has a child that is %s, sending: %t", e.Name, c.State, c.Sending)
			}
		}
		if n := e.Tunnel.Status(p.Now).Queued; n > 0 {
			rt.Errorf("%s still has %d exchanges waiting", e.Name, n)
		}
	}
	if a, b := len(p.A.Installed), len(p.B.Installed); a != b {
		rt.Errorf("A has %d SAs, B %d", a, b)
	}
	if p.TB.Failed() {
		rt.Fatalf("both ends should agree")
	}
}
