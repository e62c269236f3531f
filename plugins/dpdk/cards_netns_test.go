//go:build dpdk

package dpdk_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// TestCardFillsUp: a port that encrypts takes what it can do, in each direction while
// there is room, and what it does not take says why.
func TestCardFillsUp(t *testing.T) {
	port := deaf()
	h, info := emulating(t, port, map[string]string{"npu-emulation": port, "npu-slots": "3"})
	if len(info.NPUs) != 1 || !info.NPUs[0].Emulated || info.NPUs[0].Name != port {
		t.Errorf("Info should list the port as an NPU and say that it is emulated, got %+v.", info.NPUs)
	}
	for _, c := range info.Transforms {
		if want := c.Algorithms.Encryption == ipsec.EncrAESGCM16 && c.Algorithms.KeyBits != 192 && !c.Algorithms.ESN; c.NPUInbound != want || c.NPUOutbound != want {
			t.Errorf("That the port takes %v should be %v, got %v inbound, %v outbound.", c.Algorithms, want, c.NPUInbound, c.NPUOutbound)
		}
	}
	extended := gcm
	extended.ESN = true
	for _, want := range []placed{
		{"a tunnel of CBC, which the port lacks", cbc, offload.NPUImpossible, [2]offload.NoNPU{offload.NoAlgorithm, offload.NoAlgorithm}},
		{"one with extended numbers, whose upper half it cannot know", extended, offload.NPUNeither, [2]offload.NoNPU{offload.NoMode, offload.NoMode}},
		{"the first tunnel of GCM", gcm, offload.NPUBoth, [2]offload.NoNPU{}},
		{"the second one, for which half the room is left", gcm, offload.NPUInbound, [2]offload.NoNPU{1: offload.NoRoom}},
		{"the third one", gcm, offload.NPUNeither, [2]offload.NoNPU{offload.NoRoom, offload.NoRoom}},
	} {
		want.check(t, h)
	}
}

// TestCardWithNumbersOfItsOwnIsLeftAlone: leases, IVs and windows of an SA that the
// port numbers (INLINE_PROTOCOL) would be out of reach.
func TestCardWithNumbersOfItsOwnIsLeftAlone(t *testing.T) {
	port := deaf()
	h, info := emulating(t, port, map[string]string{"npu-emulation": port, "npu-offload": "inline-protocol"})
	if len(info.NPUs) != 1 {
		t.Errorf("Info should list the port as an NPU, got %+v.", info.NPUs)
	}
	placed{"a tunnel of GCM", gcm, offload.NPUNeither, [2]offload.NoNPU{offload.NoMode, offload.NoMode}}.check(t, h)
}

// TestPacketsPassTheCard has a port encrypt and decrypt, for a peer that knows nothing
// of it; what leaves or arrives in fragments is the loop's. When the peer is no longer
// behind the port, its SAs leave the card, and return with it.
func TestPacketsPassTheCard(t *testing.T) {
	t.Parallel()
	for outer, udp := range []bool{true, false} {
		t.Run(fmt.Sprintf("outer=%d udp=%v", outer, udp), func(t *testing.T) {
			name := fmt.Sprintf("net_af_packet%d", planes.Add(1))
			a, b := newPair(t, map[string]string{"ports": name + ",iface=wire", "npu-emulation": name})
			connect(t, a, b, gcm, outer, udp)
			a.wantPlaces(t, true)
			a.ping(t, b, netlab.Ping{Size: 56})
			before := a.stats(t)
			a.ping(t, b, netlab.Ping{Size: 1300})
			after := a.stats(t)
			if out, in := after["card-out"]-before["card-out"], after["card-in"]-before["card-in"]; out < 4 || in < 4 {
				t.Errorf("The card should have had 4 packets out and in, got %d and %d.", out, in)
			}
			b.ping(t, a, netlab.Ping{Size: 4000})
			a.leaveAndReturn(t, b.outer[outer].String())
			a.ping(t, b, netlab.Ping{Size: 1300})
		})
	}
}

// TestChecksumsOfCiphertextAreNotLeftToACard: UDP over IPv6 has a checksum, which nobody
// can tell before a card has encrypted. What arrives is the card's all the same.
func TestChecksumsOfCiphertextAreNotLeftToACard(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("net_af_packet%d", planes.Add(1))
	a, b := newPair(t, map[string]string{"ports": name + ",iface=wire", "npu-emulation": name})
	connect(t, a, b, gcm, 1, true)
	a.ping(t, b, netlab.Ping{Size: 1300})
	for c, err := range a.engine.Export(t.Context(), offload.AllGroups) {
		want := offload.InNPU
		if c.Direction == ipsec.Outbound {
			want = offload.NoMode
		}
		if err != nil || c.WhyNot != want {
			t.Errorf("The reason why %v is not in the card should be %q, got %q, %v.", c.ID, want, c.WhyNot, err)
		}
	}
}

// leaveAndReturn routes the peer away from the port and back, and wants to hear that
// both SAs follow.
func (e *end) leaveAndReturn(t *testing.T, peer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	next, stop := iter.Pull2(e.engine.Events(ctx))
	defer stop()
	for _, way := range []struct {
		verb string
		in   bool
	}{{"add", false}, {"del", true}} {
		run(t, e.ns, "ip", "route", way.verb, peer, "dev", "evg0")
		for seen := 0; seen < 2; {
			event, err, more := next()
			if err != nil || !more {
				t.Fatalf("The SAs should have moved after a route was changed (%s): %v.", way.verb, err)
			}
			if p, is := event.(offload.Placed); is {
				if seen++; (p.Placement.NPU != 0) != way.in {
					t.Errorf("After a route was changed (%s) an SA should be in the card: %v, got %+v.", way.verb, way.in, p.Placement)
				}
			}
		}
	}
}

// wantPlaces wants all SAs in an NPU, or none.
func (e *end) wantPlaces(t *testing.T, in bool) {
	t.Helper()
	for c, err := range e.engine.Export(t.Context(), offload.AllGroups) {
		if err != nil || (c.NPU != 0) != in {
			t.Errorf("That SAs are in an NPU should be %v, got %+v: %v.", in, c.Placement, err)
		}
	}
}

// stats are the dataplane's, by name.
func (e *end) stats(t *testing.T) map[string]uint64 {
	t.Helper()
	list, err := e.engine.(*dpdk.Engine).Stats(t.Context())
	if err != nil {
		t.Fatalf("Stats failed: %v.", err)
	}
	out := make(map[string]uint64)
	for _, s := range list {
		out[s.Name] = s.Value
	}
	return out
}

// TestWrongEmulationIsNamed: what can play an NPU is said.
func TestWrongEmulationIsNamed(t *testing.T) {
	_, err := dpdk.New(dpdk.Options{}).Configure(t.Context(), offload.Config{Boot: 1, Settings: map[string]string{
		"ports": "net_ring0", "npu-emulation": "net_ring1", "npu-offload": "everything",
	}})
	for _, says := range []string{"net_ring0", "npu-offload", "inline-protocol"} {
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("The error should say %q, got %v.", says, err)
		}
	}
}
