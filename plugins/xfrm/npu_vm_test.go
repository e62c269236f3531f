package xfrm_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm"
)

// card adds a simulated network card to the gateway's host, and returns its name
// and its directory of debugging files. The way to the peer leads over it.
func (w *wire) card(t *testing.T) (name, debug string) {
	t.Helper()
	const bus = "/sys/bus/netdevsim/"
	if err := os.WriteFile(bus+"new_device", []byte("1 1"), 0); err != nil {
		t.Fatalf("The card cannot be made: %v.", err)
	}
	t.Cleanup(func() { _ = os.WriteFile(bus+"del_device", []byte("1"), 0) })
	found, err := filepath.Glob(bus + "devices/netdevsim1/net/*")
	if err != nil || len(found) != 1 {
		t.Fatalf("The card has no interface: %v, %v.", found, err)
	}
	name = filepath.Base(found[0])
	if out, err := ipCommand("link", "set", name, "netns", w.gateway.Path()).CombinedOutput(); err != nil {
		t.Fatalf("The card cannot be moved: %v: %s.", err, out)
	}
	for _, args := range [][]string{
		{"link", "set", name, "up"}, {"route", "add", w.remote.String() + "/32", "dev", name},
	} {
		if _, err := w.gateway.Output(ipCommand(args...)); err != nil {
			t.Fatalf("The card cannot be used: %v.", err)
		}
	}
	return name, "/sys/kernel/debug/netdevsim/netdevsim1/ports/0/ipsec"
}

// TestDevicesTakeWhatTheyCan offloads to a simulated network card.
func TestDevicesTakeWhatTheyCan(t *testing.T) {
	w := newWire(t, 0, newEngine(t))
	t.Cleanup(w.close)
	t.Cleanup(func() { _ = w.Engine.Close() })
	name, debug := w.card(t)
	info := w.start(t, nil)
	if len(info.NPUs) != 1 || info.NPUs[0].Name != name || !info.NPUs[0].Emulated {
		t.Fatalf("The card should be the only NPU, and known for an emulated one, got %+v.", info.NPUs)
	}
	in, out := pairOf(w, 1)
	placed := w.install(t, offload.Active, in, out)
	if got := offload.FlagOf(placed[0], placed[1]); got != offload.NPUBoth || placed[0].NPU != info.NPUs[0].ID {
		t.Errorf("AES-GCM should be in the card both ways, got flag %#x: %+v.", got, placed)
	}
	if text, err := os.ReadFile(debug); err != nil || !strings.HasPrefix(string(text), "SA count=2 ") {
		t.Errorf("The card should hold two SAs, it says %q (%v).", text, err)
	}
	in2, out2 := pairOf(w, 2)
	for _, sa := range []*ipsec.SA{&in2, &out2} {
		sa.Algorithms = ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}
		sa.Encryption, sa.Integrity = keysFor(t, sa.Algorithms)
	}
	refused := w.install(t, offload.Active, in2, out2)
	if got := offload.FlagOf(refused[0], refused[1]); got != offload.NPUImpossible {
		t.Errorf("AES-CBC should be impossible to offload, got flag %#x: %+v.", got, refused)
	}
	for _, c := range info.Transforms {
		if c.Algorithms == in2.Algorithms && (c.NPUInbound || c.NPUOutbound) {
			t.Errorf("Info says that the card takes %v.", c.Algorithms)
		}
	}
	if err := w.Engine.Close(); err != nil {
		t.Fatalf("Close failed: %v.", err)
	}
	w.Engine = newEngine(t)
	w.start(t, map[string]string{"offload-" + name: "off"})
	if got := w.all(t)[in.ID]; got.NPU != info.NPUs[0].ID {
		t.Errorf("An adopted SA is where it was, in the card, got %+v.", got.Placement)
	}
	in3, out3 := pairOf(w, 3)
	off := w.install(t, offload.Active, in3, out3)
	if off[0].WhyNot != offload.DisabledBySetting || off[1].NPU != 0 {
		t.Errorf("A setting should keep SAs out of the card, got %+v.", off)
	}
}

// TestADeviceWithoutWholePacketsGetsTheCryptography asks for what Debian's kernel has not.
func TestADeviceWithoutWholePacketsGetsTheCryptography(t *testing.T) { // B7
	var said bytes.Buffer
	e, err := xfrm.New(xfrm.Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatalf("There is no engine: %v.", err)
	}
	w := newWire(t, 0, e)
	t.Cleanup(w.close)
	t.Cleanup(func() { _ = w.Engine.Close() })
	name, debug := w.card(t)
	info := w.start(t, map[string]string{"offload": "off", "offload-" + name: "packet"})
	in, out := pairOf(w, 1)
	placed := w.install(t, offload.Active, in, out)
	if offload.FlagOf(placed[0], placed[1]) != offload.NPUBoth || placed[0].NPU != info.NPUs[0].ID {
		t.Errorf("The card should have the cryptography of both SAs, got %+v.", placed)
	}
	if text, err := os.ReadFile(debug); err != nil || !strings.HasPrefix(string(text), "SA count=2 ") {
		t.Errorf("The card should hold two SAs, it says %q (%v).", text, err)
	}
	if log := said.String(); !strings.Contains(log, "device takes no whole packets") || !strings.Contains(log, "reason=") {
		t.Errorf("The log should say that whole packets were refused, and why, it says %q.", log)
	}
}
