package examplenpu

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// gateway is a lab that is configured, and reads its events.
type gateway struct {
	*lab
	t *testing.T
}

func newGateway(t *testing.T, settings map[string]string) *gateway {
	t.Helper()
	g := &gateway{newLab(), t}
	g.configureWith(1, settings)
	return g
}

func (g *gateway) configureWith(boot uint32, settings map[string]string) {
	g.t.Helper()
	c := offload.Config{Boot: boot, Addresses: []netip.Addr{ours}, Settings: settings}
	if _, err := g.Engine.Configure(g.t.Context(), c); err != nil {
		g.t.Fatalf("Configure failed: %v.", err)
	}
}

var (
	ours  = netip.MustParseAddr("192.0.2.1")
	peer  = netip.MustParseAddr("192.0.2.2")
	gcm   = ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	cbc   = ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}
	epoch = offload.NewEpoch(1, 0)
)

// pair makes the two SAs of tunnel n, whose client is 198.19.0.n.
func pair(n byte, a ipsec.Algorithms) (in, out ipsec.SA) {
	encryption, _ := a.EncryptionKeyLen()
	integrity, _ := a.Integrity.KeyLen()
	in = ipsec.SA{
		ID: ipsec.SAID{SPI: 0x1000 + ipsec.SPI(n), Dst: ours, Proto: ipsec.ESP}, Direction: ipsec.Inbound,
		Tunnel: ipsec.TunnelID(n), Generation: 1, Algorithms: a,
		Encryption: ipsec.NewKey(slices.Repeat([]byte{n}, encryption)), Integrity: ipsec.NewKey(slices.Repeat([]byte{n}, integrity)),
		Local: ours, Remote: peer,
		Selectors: ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("198.18.0.0/16"))},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, 0, n}), 32))},
		},
	}
	out = in
	out.ID, out.Direction = ipsec.SAID{SPI: 0x2000 + ipsec.SPI(n), Dst: peer, Proto: ipsec.ESP}, ipsec.Outbound
	return in, out
}

func (g *gateway) install(sas ...ipsec.SA) {
	g.t.Helper()
	placed, err := g.Install(g.t.Context(), epoch, offload.Active, sas...)
	for _, p := range placed {
		err = errors.Join(err, p.Err)
	}
	if err != nil {
		g.t.Fatalf("Install failed: %v.", err)
	}
}

// where returns the placement of an SA.
func (g *gateway) where(sa ipsec.SA) offload.Placement {
	for c, err := range g.Export(g.t.Context(), offload.AllGroups) {
		if err != nil {
			g.t.Fatalf("Export failed: %v.", err)
		}
		if c.ID == sa.ID {
			return c.Placement
		}
	}
	g.t.Fatalf("%v is not installed.", sa.ID)
	return offload.Placement{}
}

// wantFlag compares npu_flag, as the tunnel list shows it.
func (g *gateway) wantFlag(when string, in, out ipsec.SA, want offload.NPUFlag) {
	g.t.Helper()
	if got := offload.FlagOf(g.where(in), g.where(out)); got != want {
		g.t.Errorf("%s, npu_flag should be %02x, got %02x: in %q, out %q.", when, want, got, g.where(in).WhyNot, g.where(out).WhyNot)
	}
}

func (g *gateway) wantWhyNot(when string, sa ipsec.SA, want offload.NoNPU) {
	g.t.Helper()
	if got := g.where(sa).WhyNot; got != want {
		g.t.Errorf("%s, %v should be in no NPU for %q, got %q.", when, sa.ID, want, got)
	}
}

func (g *gateway) sends(sa ipsec.SA) {
	g.t.Helper()
	if sent, err := g.Send(g.t.Context(), sa, 1); err != nil || len(sent) != 1 {
		g.t.Fatalf("A packet should have left by %v, got %d (%v).", sa.ID, len(sent), err)
	}
}

func (g *gateway) receives(sa ipsec.SA, seq uint64) {
	g.t.Helper()
	if n, err := g.Deliver(g.t.Context(), sa, seq); err != nil || n != 1 {
		g.t.Fatalf("A packet should have come out of %v, got %d (%v).", sa.ID, n, err)
	}
}

// next returns the next n events.
func (g *gateway) next(what string, n int) []offload.Event {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	defer cancel()
	var all []offload.Event
	for len(all) < n {
		for ev, err := range g.Events(ctx) {
			if err != nil {
				g.t.Fatalf("While waiting for %s the stream ended: %v.", what, err)
			}
			all = append(all, ev)
			break
		}
	}
	return all
}

func TestEachDirectionIsOffloadedWithItsFirstPacket(t *testing.T) {
	g := newGateway(t, nil)
	in, out := pair(1, gcm)
	g.install(in, out)
	g.wantFlag("Before any packet", in, out, offload.NPUNeither)
	g.wantWhyNot("Before any packet", out, offload.NotYet)
	g.sends(out)
	g.wantFlag("After an outbound packet", in, out, offload.NPUOutbound)
	g.receives(in, 1)
	g.wantFlag("After an inbound packet", in, out, offload.NPUBoth)

	for i, ev := range g.next("two Placed", 2) {
		placed, ok := ev.(offload.Placed)
		want := []ipsec.SA{out, in}[i]
		if !ok || placed.Placement.ID != want.ID || placed.Placement.NPU != theNPU {
			t.Errorf("Event %d should say that %v is in the NPU, got %+v.", i, want.ID, ev)
		}
	}
	if a, b := g.where(in).SelectorIDs[0], g.where(out).SelectorIDs[0]; a == b {
		t.Errorf("Two SAs in the NPU have the same selector id, %d.", a)
	}
}

func TestNPURefusesForAReason(t *testing.T) {
	g := newGateway(t, map[string]string{"npu-slots": "1"})
	in, out := pair(1, cbc)
	_, first := pair(2, gcm)
	_, second := pair(3, gcm)
	_, behindNAT := pair(4, gcm)
	behindNAT.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 4500}
	g.install(in, out, first, second, behindNAT)
	g.wantFlag("With an algorithm that the NPU lacks", in, out, offload.NPUImpossible)
	g.wantWhyNot("In UDP", behindNAT, offload.NoMode)
	g.sends(first)
	g.sends(second)
	g.wantWhyNot("With the only slot taken", second, offload.NoRoom)

	if _, err := g.Delete(t.Context(), epoch, first.ID); err != nil {
		t.Fatalf("Delete failed: %v.", err)
	}
	g.sends(second)
	g.wantWhyNot("After its next packet, with the slot free", second, offload.InNPU)

	if err := g.Demote(t.Context(), 0, epoch); err != nil {
		t.Fatalf("Demote failed: %v.", err)
	}
	g.wantWhyNot("As a standby", second, offload.NoNPURole)
}

func TestNPUOfOneDirection(t *testing.T) {
	g := newGateway(t, map[string]string{"npu-directions": "in"})
	in, out := pair(1, gcm)
	g.install(in, out)
	g.sends(out)
	g.receives(in, 1)
	g.wantFlag("With an NPU that only decrypts", in, out, offload.NPUInbound)
	g.wantWhyNot("With an NPU that only decrypts", out, offload.DisabledBySetting)

	g.configureWith(1, map[string]string{"npu-directions": "out"})
	g.wantFlag("Configured again to encrypt only", in, out, offload.NPUOutbound)
}

func TestResetOfTheFirmwareFreesTheNPU(t *testing.T) {
	g := newGateway(t, map[string]string{"npu-slots": "1"})
	_, out := pair(1, gcm)
	g.install(out)
	g.sends(out)
	g.ResetFirmware()
	g.fromHost(clientPacket(out))
	if sent, err := g.taken(out); err != nil || len(sent) != 0 {
		t.Errorf("Between a reset and Configure nothing is sent, got %d packets (%v).", len(sent), err)
	}
	g.configureWith(2, map[string]string{"npu-slots": "1"})
	g.install(out)
	g.sends(out)
	g.wantWhyNot("After the reset", out, offload.InNPU)
}

func TestSettingsAreNamedInErrors(t *testing.T) {
	for key, value := range map[string]string{
		"tun-name": "much-too-long-for-linux", "tun-mtu": "100", "npu-slots": "-1", "npu-directions": "up", "colour": "red",
	} {
		_, err := parseSettings(map[string]string{key: value})
		if !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), key) {
			t.Errorf("The error of %s=%s should be invalid and name the setting, got %v.", key, value, err)
		}
	}
}
