package ike_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// wordy is a client whose first protected request is large, over a path that it
// believes to take packets of a size.
func wordy(packet int) iketest.Option {
	return func(c *iketest.Config) {
		c.A.FragmentSize = packet
		c.A.LocalID = ike.Identity{Type: ike.IDFQDN, Data: strings.Repeat("a", 2500)}
	}
}

// TestFragmentsGetSmaller: a request that finds no answer comes in smaller
// fragments, RFC 7383 section 2.5.2, and what was learned serves the next one.
func TestFragmentsGetSmaller(t *testing.T) {
	for _, tt := range []struct {
		name          string
		packet, takes int // by A's belief and in truth
		cuts          uint64
	}{
		{"a path that takes all", 1400, 1372, 0},
		{"a path of IPv6's least", 1500, 1252, 1},
		{"a path of IPv4's least", 1500, 548, 2},
		{"one message for all of it", 4000, 1252, 1},
		{"the default", 0, 548, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := iketest.New(t, wordy(tt.packet), iketest.Twins(ike.Resume), func(c *iketest.Config) { c.Path = tt.takes })
			p.A.Initiate()
			p.Pass(20 * time.Second)
			p.WantUp()
			if n := p.A.Stats.Refragmented; n != tt.cuts {
				t.Errorf("A made its fragments smaller %d times, want %d", n, tt.cuts)
			}
			if tt.cuts > 0 && p.A.Stats.Retransmitted == 0 {
				t.Error("A made its fragments smaller before it asked again")
			}
			if n := len(p.A.Installed); n != 2 {
				t.Errorf("A has %d SAs, want 2", n)
			}
		})
	}
}

// TestSmallRequestsStay: what fits into one packet of any path is not cut, and a
// peer that is dead is not taken for a narrow path.
func TestSmallRequestsStay(t *testing.T) {
	p := iketest.Establish(t, func(c *iketest.Config) { c.A.FragmentSize = 1500 })
	rekeyChild(p.A)
	p.PassSilently(10 * time.Second)
	if p.A.Stats.Retransmitted == 0 || p.A.Stats.Refragmented != 0 {
		t.Errorf("A asked again %d times, with smaller fragments %d times; want the latter never", p.A.Stats.Retransmitted, p.A.Stats.Refragmented)
	}
}

// TestNewOwnerKeepsTheSmallerFragments: it repeats what got through, and not what
// the first owner began with.
func TestNewOwnerKeepsTheSmallerFragments(t *testing.T) { // B2
	p := iketest.New(t, wordy(1500), func(c *iketest.Config) { c.Path = 548 })
	p.A.Initiate()
	p.Pass(20 * time.Second)
	p.WantUp()
	p.A.Crash()
	before := p.A.Stats.Refragmented
	long := make([]ipsec.TrafficSelector, 60) // makes a large request
	for i := range long {
		long[i] = ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i), 0, 0}), 16))
	}
	p.A.Do(ike.Initiate{Child: "net", For: &ipsec.Selectors{Local: long, Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)}}})
	if n := len(p.InFlight()); n < 2 {
		t.Errorf("the request went out in %d packets that the path takes, want 2 or more", n)
	}
	p.Deliver()
	if p.B.Stats.RequestsIn.Child != 1 || p.A.Stats.Refragmented != before {
		t.Errorf("the peer got %d requests, and the new owner made %d smaller, want 1 and none", p.B.Stats.RequestsIn.Child, p.A.Stats.Refragmented-before)
	}
}
