package ike_test

import (
	"errors"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

var errNoRoom = errors.New("no room")

// TestRefused: the dataplane does not take an SA. The peer is told, no half of a
// pair is left anywhere, and the IKE SA goes on.
func TestRefused(t *testing.T) { // B7
	for _, who := range []string{"initiator", "responder"} {
		for _, direction := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
			no := func(sa ipsec.SA) error {
				if sa.Direction == direction {
					return errNoRoom
				}
				return nil
			}
			refuser := func(p *iketest.Pair) *iketest.End {
				if who == "initiator" {
					return p.A
				}
				return p.B
			}
			t.Run(who+" "+direction.String()+" of the first pair", func(t *testing.T) {
				p := iketest.New(t)
				refuser(p).Refuse = no
				p.A.Initiate()
				p.Pass(20 * time.Second)
				p.WantUp()
				p.WantPairs(0)
				if len(p.A.Installed)+len(p.B.Installed) > 0 {
					t.Errorf("A has %d SAs and B %d, want none", len(p.A.Installed), len(p.B.Installed))
				}
				refuser(p).WantFailure(ike.FailDataplane)
			})
			t.Run(who+" "+direction.String()+" of another pair", func(t *testing.T) {
				p := iketest.Establish(t)
				refuser(p).Refuse = no
				createChild(p.A)
				p.Pass(20 * time.Second)
				p.WantPairs(1)
			})
			t.Run(who+" "+direction.String()+" of a rekeyed pair", func(t *testing.T) {
				p := iketest.Establish(t)
				old, _ := p.A.Child()
				refuser(p).Refuse = no
				rekeyChild(p.A)
				p.Deliver()
				refuser(p).Refuse = nil
				p.Pass(20 * time.Second)
				if who == "responder" && direction == ipsec.Outbound {
					// The old pair was gone already.
					p.WantPairs(0)
					return
				}
				p.WantPairs(1)
				if in, _ := p.A.Child(); in.ID == old.ID {
					t.Error("the rekey was not tried again")
				}
			})
		}
	}
}

// TestNothingIsKeptForARefusal: what a step leaves behind in case that it is refused
// is gone as soon as it is known that it is not.
func TestNothingIsKeptForARefusal(t *testing.T) {
	p := iketest.Establish(t)
	if ike.Turning(p.A.Tunnel) || ike.Turning(p.B.Tunnel) {
		t.Error("A tunnel at rest keeps what was of its last step.")
	}
	// The next steps do without, a refusal that comes late included.
	in, _ := p.A.Child()
	p.A.Do(ike.Refused{ID: in.ID, Err: errNoRoom})
	p.Pass(20 * time.Second)
	p.WantPairs(0)
}

func TestCloseAChild(t *testing.T) { // C12
	for _, swap := range []bool{false, true} {
		p := iketest.Establish(t)
		e := p.A
		if swap {
			e = p.B
		}
		closeChild(e)
		p.Deliver()
		p.WantPairs(0)
		if len(p.A.Installed)+len(p.B.Installed) > 0 {
			t.Errorf("A has %d SAs and B %d, want none at once", len(p.A.Installed), len(p.B.Installed))
		}
		p.A.Do(ike.Initiate{})
		p.Deliver()
		p.WantPairs(1)
	}
}

func TestCloseATunnel(t *testing.T) { // C12
	p := iketest.Establish(t)
	p.A.Do(ike.Close{Reason: "the test says so"})
	if len(p.A.Installed) > 0 {
		t.Errorf("A still has %d SAs", len(p.A.Installed))
	}
	p.Deliver()
	p.A.WantGone()
	p.B.WantGone()
	if p.A.Why != nil || !errors.Is(p.B.Why, ike.ErrDeletedByPeer) {
		t.Errorf("A's tunnel ended with %v, B's with %v", p.A.Why, p.B.Why)
	}
	if p.A.Stats.Tunnels+p.B.Stats.Tunnels != 0 {
		t.Error("a tunnel is still counted")
	}
}

// TestCloseAnUnansweredTunnel: a peer that is away does not keep a tunnel.
func TestCloseAnUnansweredTunnel(t *testing.T) {
	p := iketest.Establish(t)
	p.A.Do(ike.Close{})
	p.PassSilently(time.Minute)
	p.A.WantGone()
}

// TestChildLost: one end has forgotten a pair; a rekey finds it out, and a new
// pair is made from scratch.
func TestChildLost(t *testing.T) { // RFC 7296 section 2.25.1, CHILD_SA_NOT_FOUND
	p := iketest.Establish(t)
	in, _ := p.B.Child()
	p.B.Do(ike.CloseChild{ID: in.ID})
	p.DropAll() // A does not hear of it yet
	rekeyChild(p.A)
	p.Pass(30 * time.Second)
	p.WantUp()
	p.WantMirrored()
	if a, b := len(p.A.Installed), len(p.B.Installed); a != b {
		t.Errorf("A has %d SAs, B %d", a, b)
	}
}
