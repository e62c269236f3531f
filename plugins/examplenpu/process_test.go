package examplenpu

import (
	"context"
	"errors"
	"io"
	"iter"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
)

// TestExecutable has the plugin as the daemon has it: a process behind go-plugin,
// which forwards what the kernel routes to it, and is reset by a signal.
func TestExecutable(t *testing.T) { // B7
	path := filepath.Join(t.TempDir(), "plugin")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "./cmd/evergate-plugin-examplenpu")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	t.Run("full slots", func(t *testing.T) { playFullSlots(t, path) })
	t.Run("reset", func(t *testing.T) { playReset(t, path) })
	t.Run("overrun", func(t *testing.T) { playOverrun(t, path) })
}

// process is one of the executable.
type process struct {
	*surroundings
	plane offload.Engine
	ctx   context.Context // of all calls: the test's, for as long as patience
	id    int
	next  func() (offload.Event, error, bool) // opens the stream of events when it is called first
}

func startProcess(t *testing.T, path string, settings map[string]string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // it outlives the test until it was asked to end
	t.Cleanup(cancel)
	// The shell becomes the plugin, so its process id is the plugin's.
	noted := filepath.Join(t.TempDir(), "pid")
	open := offloadtest.Executable(io.Discard, offloadtest.Harness{}, "/bin/sh", "-c", `echo $$ >"$0" && exec "$1"`, noted, path)
	h, err := open(ctx)
	if err != nil {
		t.Fatalf("The plugin did not start: %v.", err)
	}
	p := &process{plane: h.Engine, ctx: ctx}
	var stop func()
	p.next, stop = iter.Pull2(p.plane.Events(ctx))
	t.Cleanup(func() {
		stop()
		if err := h.Close(); err != nil {
			t.Errorf("The plugin did not end: %v.", err)
		}
	})
	text, err := os.ReadFile(noted)
	if err == nil {
		p.id, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	if err != nil {
		t.Fatalf("Which process is the plugin? %v.", err)
	}
	p.surroundings = surround(t, p.plane, settings)
	return p
}

// install installs SAs as active and returns where they went.
func (p *process) install(sas ...ipsec.SA) []offload.Placement {
	p.t.Helper()
	placed, err := p.plane.Install(p.ctx, epoch, offload.Active, sas...)
	for _, each := range placed {
		err = errors.Join(err, each.Err)
	}
	if err != nil {
		p.t.Fatalf("Install failed: %v.", err)
	}
	return placed
}

// sends has the host send a packet through an outbound SA, and waits until the plugin
// has dealt with it.
func (p *process) sends(sa ipsec.SA) {
	p.t.Helper()
	if _, err := p.inner.WriteToUDPAddrPort([]byte("there"), netip.AddrPortFrom(sa.Selectors.Remote[0].Min, 9)); err != nil {
		p.t.Fatalf("The inner packet was not sent: %v.", err)
	}
	p.read("ESP", readerOfESP{p.esp})
	// Events and counters follow the packet, before any later call is answered.
	if _, err := p.plane.Info(p.ctx); err != nil {
		p.t.Fatalf("Info failed: %v.", err)
	}
}

// until reads events up to the one that is wanted, and returns those before it, too.
func (p *process) until(what string, wanted func(offload.Event) bool) (before []offload.Event, ev offload.Event) {
	p.t.Helper()
	for {
		ev, err, ok := p.next()
		switch {
		case err != nil || !ok:
			p.t.Fatalf("The stream of events ended (%v) before %s.", err, what)
		case wanted(ev):
			return before, ev
		}
		before = append(before, ev)
	}
}

func isA[E offload.Event](ev offload.Event) bool {
	_, ok := ev.(E)
	return ok
}

// wantPlaced waits for the event that tells that sa is in the NPU.
func (p *process) wantPlaced(sa ipsec.SA) {
	p.t.Helper()
	_, ev := p.until("Placed", isA[offload.Placed])
	if at := ev.(offload.Placed).Placement; at.ID != sa.ID || at.NPU != theNPU || at.WhyNot != offload.InNPU {
		p.t.Errorf("Placed should say that %v is in the NPU, got %+v.", sa.ID, at)
	}
}

// inventory is what Export yields.
func (p *process) inventory() (map[ipsec.SAID]offload.Counters, error) {
	all := make(map[ipsec.SAID]offload.Counters)
	for c, err := range p.plane.Export(p.ctx, offload.AllGroups) {
		if err != nil {
			return nil, err
		}
		all[c.ID] = c
	}
	return all, nil
}

// wantWhere wants these SAs in the inventory, each where it belongs, and no others.
func (p *process) wantWhere(when string, want map[ipsec.SAID]offload.NoNPU) {
	p.t.Helper()
	all, err := p.inventory()
	if err != nil || len(all) != len(want) {
		p.t.Fatalf("%s, %d SAs should be installed, got %d (%v).", when, len(want), len(all), err)
	}
	for id, why := range want {
		if got, there := all[id]; !there || got.WhyNot != why || (got.NPU == theNPU) != (why == offload.InNPU) {
			p.t.Errorf("%s, %v should be placed as %q (empty: in the NPU), got NPU %d, %q.", when, id, why, got.NPU, got.WhyNot)
		}
	}
}

func playFullSlots(t *testing.T, path string) {
	p := startProcess(t, path, map[string]string{"npu-slots": "1"})
	_, first := loopbackPair(1)
	_, second := loopbackPair(2)
	p.install(first, second)
	p.sends(first)
	p.wantPlaced(first)
	p.sends(second)
	again := p.install(first, second) // changes nothing, and says where they are
	if again[0].NPU != theNPU || again[1].NPU != 0 || again[1].WhyNot != offload.NoRoom {
		t.Errorf("Of two SAs the NPU should have the first and no room for the second, got %+v.", again)
	}
	p.wantWhere("With the only slot taken", map[ipsec.SAID]offload.NoNPU{first.ID: offload.InNPU, second.ID: offload.NoRoom})

	if _, err := p.plane.Delete(p.ctx, epoch, first.ID); err != nil {
		t.Fatalf("Delete failed: %v.", err)
	}
	p.sends(second)
	p.wantPlaced(second)
	p.wantWhere("With the slot free again", map[ipsec.SAID]offload.NoNPU{second.ID: offload.InNPU})
}

// playReset: "Reset reports that installed state was lost", and the daemon puts it
// back.
func playReset(t *testing.T, path string) {
	p := startProcess(t, path, nil)
	in, out := loopbackPair(1)
	p.install(in, out)
	p.sends(out)
	p.wantPlaced(out)
	before, err := p.plane.Info(p.ctx)
	if err != nil {
		t.Fatalf("Info failed: %v.", err)
	}

	if err := syscall.Kill(p.id, syscall.SIGUSR1); err != nil {
		t.Fatalf("The plugin cannot be signalled: %v.", err)
	}
	_, ev := p.until("a Reset", isA[offload.Reset])
	after, err := p.plane.Info(p.ctx)
	if reset := ev.(offload.Reset); err != nil || reset.BootID != after.BootID || reset.BootID == before.BootID {
		t.Errorf("A Reset should name a new boot id that Info has too, got %q; Info had %q and has %q (%v).", reset.BootID, before.BootID, after.BootID, err)
	}
	if _, err := p.inventory(); !errors.Is(err, offload.ErrNotConfigured) {
		t.Errorf("After a Reset Export should say %q, got %v.", offload.ErrNotConfigured, err)
	}
	if _, err := p.plane.Configure(p.ctx, p.config); !errors.Is(err, offload.ErrInvalid) {
		t.Errorf("After a Reset the boot counter from before should be invalid, got %v.", err)
	}

	p.config.Boot++
	if _, err := p.plane.Configure(p.ctx, p.config); err != nil {
		t.Fatalf("Configure with a higher boot counter failed: %v.", err)
	}
	p.wantWhere("After a Reset", nil)
	out.Sequence.Next = 1000
	p.install(in, out)
	p.sends(out)
	p.wantPlaced(out)
	p.wantWhere("Installed again", map[ipsec.SAID]offload.NoNPU{in.ID: offload.NotYet, out.ID: offload.InNPU})
}

// playOverrun: nobody reads while events come, so what happens last is not told. "Overrun
// reports that events were lost; the core then calls Export", and Export knows.
func playOverrun(t *testing.T, path string) {
	p := startProcess(t, path, nil)
	_, untold := loopbackPair(1)
	_, told := loopbackPair(2)
	p.install(untold, told)
	p.flood()
	p.sends(untold)

	before, ev := p.until("an Overrun", isA[offload.Overrun])
	if lost := ev.(offload.Overrun).Lost; lost == 0 || len(before) != maxEvents {
		t.Errorf("%d events should have been kept and some lost, got %d and an Overrun of %d.", maxEvents, len(before), lost)
	}
	if slices.ContainsFunc(before, isA[offload.Placed]) {
		t.Error("Placed came, though there was no room for it.")
	}
	p.wantWhere("After an Overrun", map[ipsec.SAID]offload.NoNPU{untold.ID: offload.InNPU, told.ID: offload.NotYet})
	p.sends(told)
	p.wantPlaced(told)
}

// flood sends packets of flows without an SA, each of which is an Acquire, until the
// plugin has seen more of them than it keeps events.
func (p *process) flood() {
	p.t.Helper()
	const (
		atOnce = 128                  // fewer than the TUN device has room for
		enough = maxEvents + 2*atOnce // some may be packets of the host's own, merged into one Acquire
	)
	nobody := netip.MustParseAddr("198.19.1.1")
	for port := uint16(1); p.acquired() < enough; {
		for range atOnce {
			if _, err := p.inner.WriteToUDPAddrPort([]byte("anybody?"), netip.AddrPortFrom(nobody, port)); err != nil {
				p.t.Fatalf("The inner packet was not sent: %v.", err)
			}
			port++
		}
	}
}

// acquired is how many packets found no SA.
func (p *process) acquired() uint64 {
	p.t.Helper()
	all, err := p.plane.Stats(p.ctx)
	i := slices.IndexFunc(all, func(s offload.Stat) bool { return s.Name == "no-sa" })
	if err != nil || i < 0 {
		p.t.Fatalf("Stats should have no-sa, got %v (%v).", all, err)
	}
	return all[i].Value
}
