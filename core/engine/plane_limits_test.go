package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

func TestCeilingsLeaveRoomForTheMargin(t *testing.T) { // I2
	const most = 1<<64 - 1
	none := planeLimits{unbounded: true}
	for _, c := range []struct {
		what      string
		limits    planeLimits
		seq, want ipsec.Sequence
	}{
		{"an exact dataplane", planeLimits{}, ipsec.Sequence{Next: 5, Ceiling: 100}, ipsec.Sequence{Next: 5, Ceiling: 100}},
		{"a margin of ten", planeLimits{margin: 10}, ipsec.Sequence{Next: 5, Ceiling: 100}, ipsec.Sequence{Next: 5, Ceiling: 90}},
		{"a margin and nothing to send yet", planeLimits{margin: 10}, ipsec.Sequence{Next: 101, Ceiling: 100}, ipsec.Sequence{Next: 101, Ceiling: 90}},
		{"a margin larger than the lease", planeLimits{margin: 10}, ipsec.Sequence{Next: 1, Ceiling: 8}, ipsec.Sequence{Next: 12, Ceiling: 1}},
		{"a change that says nothing of a ceiling", planeLimits{margin: 10}, ipsec.Sequence{Next: 7}, ipsec.Sequence{Next: 7}},
		{"no ceiling and all numbers", none, ipsec.Sequence{Next: 1, Ceiling: 1<<32 - 1}, ipsec.Sequence{Next: 1, Ceiling: 1<<32 - 1}},
		{"no ceiling and nothing to send", none, ipsec.Sequence{Next: 101, Ceiling: 100}, ipsec.Sequence{Next: most, Ceiling: 100}},
	} {
		if got := c.limits.tell(c.seq); got.Next != c.want.Next || got.Ceiling != c.want.Ceiling {
			t.Errorf("With %s, %d to %d should be told as %d to %d, not as %d to %d.",
				c.what, c.seq.Next, c.seq.Ceiling, c.want.Next, c.want.Ceiling, got.Next, got.Ceiling)
		}
	}
}

func TestWhatADataplaneSaysOfItselfCounts(t *testing.T) { // I1, I2
	exact := offload.Info{IVSource: offload.IVMember, EnforcesCeiling: true, ReportsFirstPacket: true}
	if limitsOf(exact) != (planeLimits{}) || keepsOf(exact) != (ha.Keeps{}) || Joinable(exact) != nil {
		t.Errorf("An exact dataplane should have no limits, it has %+v and %+v (%v).", limitsOf(exact), keepsOf(exact), Joinable(exact))
	}
	coarse := exact
	coarse.CeilingMargin = 2048
	if l := limitsOf(coarse); l.margin != 2048 || l.unbounded {
		t.Errorf("A margin of 2048 packets should be kept from the ceilings, the limits are %+v.", l)
	}
	coarse.CeilingMargin = worstMargin + 1
	if l := limitsOf(coarse); !l.unbounded {
		t.Errorf("A margin of most of a member's share is no ceiling, the limits are %+v.", l)
	}
	open := exact
	open.EnforcesCeiling, open.ReportsFirstPacket = false, false
	if k := keepsOf(open); !k.Unbounded || !k.Blind || Joinable(open) != nil {
		t.Errorf("The group should know that a dataplane has no ceiling and sees no first packet, and take it all the same: %+v (%v).", k, Joinable(open))
	}
	open.IVSource = offload.IVSequence
	if Joinable(open) == nil {
		t.Error("A dataplane whose nonces are the numbers, and that stops at no ceiling, should not be part of a group.")
	}
}

// TestNumbersBeyondTheLeaseAreNotSentWithinAMargin has a dataplane that runs over use up
// its lease.
func TestNumbersBeyondTheLeaseAreNotSentWithinAMargin(t *testing.T) { // I2, B6
	const margin, ceiling = 5, 50
	inner := mem.New(mem.Options{})
	plane := boundedPlane{inner, func() planeLimits { return planeLimits{margin: margin} }}
	if _, err := plane.Configure(t.Context(), offload.Config{Boot: 1}); err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
	sa := leased(ceiling)
	placed, err := plane.Install(t.Context(), 1, offload.Active, sa)
	if err != nil || placed[0].Err != nil {
		t.Fatalf("The SA cannot be installed: %v, %+v.", err, placed)
	}
	for _, raise := range []uint64{0, 100} {
		if raise > 0 {
			if _, err := plane.Update(t.Context(), 1, offload.Change{ID: sa.ID, Sequence: &ipsec.Sequence{Ceiling: raise}}); err != nil {
				t.Fatalf("The lease cannot be raised: %v.", err)
			}
		}
		asked := max(raise, ceiling)
		for c, err := range inner.Export(t.Context(), offload.AllGroups) {
			if want := asked - margin; err != nil || c.Sequence.Ceiling != want {
				t.Errorf("A lease up to %d should be told as one up to %d, not to %d (%v).", asked, want, c.Sequence.Ceiling, err)
			}
		}
		// Who comes back to the dataplane must know how far it may go.
		for c, err := range plane.Export(t.Context(), offload.AllGroups) {
			if err != nil || c.Sequence.Ceiling != asked {
				t.Errorf("A lease up to %d should come back as that, not as one up to %d (%v).", asked, c.Sequence.Ceiling, err)
			}
		}
	}
}

func TestWithoutCeilingsAnSAHasAllNumbers(t *testing.T) { // I2
	s := NewShard(ShardOptions{Count: 1, Lease: 1000})
	out := ipsec.SA{Direction: ipsec.Outbound}
	for _, c := range []struct {
		unbounded bool
		want      uint64
	}{{false, 1000}, {true, 1<<32 - 1}, {false, 1000}} {
		s.Step(time.Unix(1000, 0), Ceilings{Unbounded: c.unbounded})
		if got := s.firstLease(&tunnel{}, out); got.Ceiling != c.want {
			t.Errorf("Where ceilings are missing: %v, the first lease of an SA should end at %d, not at %d.", c.unbounded, c.want, got.Ceiling)
		}
	}
}

// leased is an outbound SA that may send up to a ceiling.
func leased(ceiling uint64) ipsec.SA {
	return ipsec.SA{
		ID:        ipsec.SAID{SPI: 0x2000, Dst: netip.MustParseAddr("192.0.2.2"), Proto: ipsec.ESP},
		Direction: ipsec.Outbound, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2"),
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}, Encryption: ipsec.NewKey(make([]byte, 20)),
		Selectors: ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("10.1.0.0/16"))},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("10.2.0.0/16"))},
		},
		Sequence: ipsec.Sequence{Next: 1, Ceiling: ceiling},
	}
}
