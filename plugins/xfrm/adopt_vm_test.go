package xfrm_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm"
)

var epoch = offload.NewEpoch(1, 1)

// group is that of all SAs here.
const group offload.Group = 3

// pairOf makes the SAs of tunnel n between the hosts of a wire.
func pairOf(w *wire, n uint32) (in, out ipsec.SA) {
	make := func(d ipsec.Direction) ipsec.SA {
		key := func(octets int) ipsec.Key {
			b := []byte(strings.Repeat("k", octets))
			b[0], b[1] = byte(n), byte(d)
			return ipsec.NewKey(b)
		}
		return ipsec.SA{
			Direction: d, Tunnel: ipsec.TunnelID(n), Group: ipsec.MemberID(group), Generation: 10,
			Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}, Encryption: key(20),
			Local: w.local, Remote: w.remote,
			Selectors: ipsec.Selectors{
				Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("198.18.0.0/16"))},
				Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, 0, byte(n)}), 32))},
			},
			ReplayWindow: 128, PathMTU: 1400,
		}
	}
	in, out = make(ipsec.Inbound), make(ipsec.Outbound)
	in.ID = ipsec.SAID{SPI: ipsec.NewSPI(1, 0x1000+n), Dst: w.local, Proto: ipsec.ESP}
	out.ID = ipsec.SAID{SPI: ipsec.NewSPI(9, 0x2000+n), Dst: w.remote, Proto: ipsec.ESP}
	out.Sequence = ipsec.Sequence{Next: 1, Ceiling: 1000}
	return in, out
}

// lab is a wire with an engine that has been configured.
func newLab(t *testing.T, settings map[string]string) *wire {
	t.Helper()
	w := newWire(t, 0, newEngine(t))
	t.Cleanup(w.close)
	t.Cleanup(func() { _ = w.Engine.Close() })
	w.start(t, settings)
	return w
}

func newEngine(t *testing.T) *xfrm.Engine {
	t.Helper()
	e, err := xfrm.New(xfrm.Options{Version: "test", SurveyEvery: time.Second})
	if err != nil {
		t.Fatalf("There is no engine: %v.", err)
	}
	return e
}

func (w *wire) start(t *testing.T, settings map[string]string) offload.Info {
	t.Helper()
	info, err := w.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{w.local}, Settings: settings})
	if err != nil {
		t.Fatalf("Configure failed: %v.", err)
	}
	return info
}

func (w *wire) install(t *testing.T, role offload.Role, sas ...ipsec.SA) []offload.Placement {
	t.Helper()
	placed, err := w.Install(t.Context(), epoch, role, sas...)
	if err != nil {
		t.Fatalf("Install failed: %v.", err)
	}
	for _, p := range placed {
		if p.Err != nil {
			t.Fatalf("%v was not installed: %v.", p.ID, p.Err)
		}
	}
	return placed
}

// all is what Export says.
func (w *wire) all(t *testing.T) map[ipsec.SAID]offload.Counters {
	t.Helper()
	out := make(map[ipsec.SAID]offload.Counters)
	for c, err := range w.Export(t.Context(), offload.AllGroups) {
		if err != nil {
			t.Fatalf("Export failed: %v.", err)
		}
		c.Idle = 0
		out[c.ID] = c
	}
	return out
}

// wantSent sends n packets and wants these numbers to leave.
func (w *wire) wantSent(t *testing.T, when string, sa ipsec.SA, n int, want ...uint64) {
	t.Helper()
	sent, err := w.Send(t.Context(), sa, n)
	if err != nil {
		t.Fatalf("%s, packets cannot be sent: %v.", when, err)
	}
	var got []uint64
	for _, s := range sent {
		got = append(got, s.Seq)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s, the numbers %v should leave, got %v.", when, want, got)
	}
}

// TestNextProcessAdoptsWhatIsThere ends an engine and starts another one.
func TestNextProcessAdoptsWhatIsThere(t *testing.T) { // B6
	w := newLab(t, nil)
	in, out := pairOf(w, 1)
	in2, out2 := pairOf(w, 2)
	w.install(t, offload.Active, in, out)
	w.install(t, offload.Standby, in2, out2)
	w.wantSent(t, "At first", out, 3, 1, 2, 3)
	w.wantSent(t, "From a standby", out2, 2)
	if n, err := w.Deliver(t.Context(), in, 1, 2, 5); n != 3 || err != nil {
		t.Fatalf("Three packets should arrive, got %d (%v).", n, err)
	}
	w.foreign(t)
	before := w.all(t)
	if err := w.Engine.Close(); err != nil {
		t.Fatalf("Close failed: %v.", err)
	}
	w.wantWithoutEngine(t, out, out2)

	w.Engine = newEngine(t)
	w.start(t, nil)
	after := w.all(t)
	if len(after) != 4 {
		t.Fatalf("Four SAs should have been adopted, got %d.", len(after))
	}
	for id, b := range before {
		a := after[id]
		if id == out.ID { // it went on
			b.Packets++
			b.Bytes += b.Bytes / 3
			b.Sequence.Next++
		}
		// Packets that a standby dropped before are forgotten with the process.
		a.Drops, b.Drops = offload.Drops{}, offload.Drops{}
		if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) {
			t.Errorf("An adopted SA should be %+v, but is %+v.", b, a)
		}
	}
	w.wantSent(t, "With another engine", out, 2, 5, 6)
	w.wantSent(t, "From a standby with another engine", out2, 2)
	if n, err := w.Deliver(t.Context(), in, 5, 2, 6); n != 1 || err != nil {
		t.Errorf("Of two old packets and a new one, one should arrive, got %d (%v).", n, err)
	}
	if err := w.Promote(t.Context(), group, epoch); err != nil {
		t.Fatalf("Promote failed: %v.", err)
	}
	w.wantSent(t, "After Promote", out2, 2, 1, 2)
	if _, err := w.Delete(t.Context(), epoch, in.ID, out.ID, in2.ID, out2.ID); err != nil {
		t.Fatalf("Delete failed: %v.", err)
	}
	w.wantForeignOnly(t)
}

// wantWithoutEngine sends one packet by each while no engine runs: the active SA
// goes on, the standby one is silent.
func (w *wire) wantWithoutEngine(t *testing.T, active, standby ipsec.SA) {
	t.Helper()
	for _, sa := range []ipsec.SA{standby, active} {
		to := netip.AddrPortFrom(sa.Selectors.Remote[0].Min, suitePort)
		if _, err := w.plain.WriteToUDPAddrPort([]byte("inner"), to); err != nil && sa.ID == active.ID {
			t.Fatalf("Without an engine, a packet cannot be sent: %v.", err)
		}
	}
	s, err := w.arrived(active)
	if err != nil || s.Seq != 4 {
		t.Errorf("Without an engine, the active SA alone should send its next number, 4, got %d (%v).", s.Seq, err)
	}
}

// foreign makes a state and a policy of another program.
func (w *wire) foreign(t *testing.T) {
	t.Helper()
	for _, args := range [][]string{
		{"xfrm", "state", "add", "src", "192.0.2.1", "dst", "192.0.2.9", "proto", "esp", "spi", "0x777", "reqid", "1", "mode", "tunnel", "aead", "rfc4106(gcm(aes))", "0x" + strings.Repeat("11", 20), "128"},
		{"xfrm", "policy", "add", "src", "10.77.0.0/16", "dst", "10.78.0.0/16", "dir", "out", "tmpl", "src", "192.0.2.1", "dst", "192.0.2.9", "proto", "esp", "reqid", "1", "mode", "tunnel"},
	} {
		if _, err := w.gateway.Output(ipCommand(args...)); err != nil {
			t.Fatalf("The other program cannot be played: %v.", err)
		}
	}
}

// wantForeignOnly wants nothing of ours to be left, and all of the other program's.
func (w *wire) wantForeignOnly(t *testing.T) {
	t.Helper()
	states, err := w.gateway.Output(ipCommand("xfrm", "state"))
	if err != nil || strings.Count(string(states), "proto esp") != 1 || !strings.Contains(string(states), "0x00000777") {
		t.Errorf("The other program's state alone should be left, got %s (%v).", states, err)
	}
	policies, err := w.gateway.Output(ipCommand("xfrm", "policy"))
	if err != nil || !strings.Contains(string(policies), "10.77.0.0/16") || strings.Contains(string(policies), "198.19.") {
		t.Errorf("Of policies for networks, the other program's alone should be left, got %s (%v).", policies, err)
	}
}

// TestGateIsBuiltAgain removes all tables, as a reload of a firewall does.
func TestGateIsBuiltAgain(t *testing.T) {
	w := newLab(t, nil)
	_, out := pairOf(w, 1)
	_, out2 := pairOf(w, 2)
	w.install(t, offload.Standby, out)
	w.install(t, offload.Active, out2)
	if _, err := w.gateway.Output(nftCommand("flush", "ruleset")); err != nil {
		t.Fatalf("The rules cannot be flushed: %v.", err)
	}
	netlab.Eventually(t, patience, "the gate is built again", func() error {
		for _, s := range w.stats(t) {
			if s.Name == "gate-rebuilt" && s.Value == 1 {
				return nil
			}
		}
		return fmt.Errorf("it was not built again")
	})
	w.wantSent(t, "Behind the new gate", out, 2)
	w.wantSent(t, "Beside the new gate", out2, 1, 1)
}

func (w *wire) stats(t *testing.T) []offload.Stat {
	t.Helper()
	all, err := w.Stats(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatalf("Stats failed: %v.", err)
	}
	return all
}
