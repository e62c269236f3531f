package ike_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// rekeyChild, closeChild and their like are what one end does in a crossing.
func rekeyChild(e *iketest.End) { iketest.RekeyChild(e) }

func closeChild(e *iketest.End) {
	in, _ := e.Child()
	e.Do(ike.CloseChild{ID: in.ID})
}

func createChild(e *iketest.End) {
	// A packet asked for it: a child of the same name is no reason not to.
	e.Do(ike.Initiate{Child: "net", For: &ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
		Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
	}})
}

func rekeyIKE(e *iketest.End) { e.Do(ike.RekeyIKE{}) }
func closeIKE(e *iketest.End) { e.Do(ike.Close{Reason: "the test says so"}) }
func nothing(_ *iketest.End)  {}

// TestCrossings holds every pair of exchanges against each other that RFC 7296
// sections 2.8.1, 2.8.2, 2.25.1 and 2.25.2 speak of: A and B begin before either
// has heard of the other. In every order of delivery, with every single message
// lost once, and whichever nonce is the lowest, both ends agree in the end.
func TestCrossings(t *testing.T) {
	type doing struct {
		name string
		do   func(*iketest.End)
	}
	nothing := doing{"nothing", nothing}
	rekeyChild := doing{"rekeys the child", rekeyChild}
	closeChild := doing{"deletes the child", closeChild}
	createChild := doing{"creates a child", createChild}
	rekeyIKE := doing{"rekeys the IKE SA", rekeyIKE}
	closeIKE := doing{"deletes the IKE SA", closeIKE}
	for _, tt := range []struct {
		a, b  doing
		pairs int // that are up in the end, -1 for a tunnel that is gone
	}{
		{rekeyChild, nothing, 1},
		{closeChild, nothing, 0},
		{createChild, nothing, 2},
		{rekeyIKE, nothing, 1},
		{closeIKE, nothing, -1},
		{rekeyChild, rekeyChild, 1},
		{rekeyChild, closeChild, 0},
		{rekeyChild, createChild, 2},
		{rekeyChild, rekeyIKE, 1},
		{rekeyChild, closeIKE, -1},
		{closeChild, closeChild, 0},
		{closeChild, createChild, 1},
		{closeChild, rekeyIKE, 0},
		{closeChild, closeIKE, -1},
		{createChild, createChild, 3},
		{createChild, rekeyIKE, 2},
		{createChild, closeIKE, -1},
		{rekeyIKE, rekeyIKE, 1},
		{rekeyIKE, closeIKE, -1},
		{closeIKE, closeIKE, -1},
	} {
		for _, swap := range []bool{false, true} {
			a, b := tt.a, tt.b
			if swap {
				a, b = b, a
			}
			t.Run("A "+a.name+", B "+b.name, func(t *testing.T) {
				for seed := range uint64(2) {
					for lost := -1; lost < 7; lost++ {
						for _, backwards := range []bool{false, true} {
							p := iketest.Establish(t, iketest.Seed(seed), iketest.Twins(ike.Resume))
							a.do(p.A)
							b.do(p.B)
							cross(p, lost, backwards)
							wantConverged(p, tt.pairs)
							if t.Failed() {
								t.Fatalf("seed %d, message %d lost, newest first: %t", seed, lost, backwards)
							}
						}
					}
				}
			})
		}
	}
}

// cross delivers what is on its way, oldest or newest first, and loses one
// message; then enough time passes for all repetitions.
func cross(p *iketest.Pair, lost int, backwards bool) {
	for n := 0; len(p.InFlight()) > 0; n++ {
		i := 0
		if backwards {
			i = len(p.InFlight()) - 1
		}
		if n == lost {
			p.DropAt(i)
		} else {
			p.NextAt(i)
		}
	}
	p.Pass(2 * time.Minute)
}

// wantConverged checks that both ends agree on everything: the IKE SA, nothing
// left of its predecessors, and so many pairs. Less than none means that both
// tunnels are gone.
func wantConverged(p *iketest.Pair, pairs int) {
	p.TB.Helper()
	if pairs < 0 {
		p.A.WantGone()
		p.B.WantGone()
		return
	}
	p.WantUp()
	p.WantSameIKE()
	p.A.WantGenerations(1)
	p.B.WantGenerations(1)
	p.WantPairs(pairs)
	for _, e := range []*iketest.End{p.A, p.B} {
		if n := len(e.Tunnel.SAs(p.Now)); n != 2*pairs {
			p.TB.Errorf("%s has %d SAs, want %d: nothing lingers", e.Name, n, 2*pairs)
		}
	}
}
