package mem

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configured makes a plane that works.
func configured(t *testing.T, o Options) *Engine {
	t.Helper()
	e := New(o)
	if _, err := e.Configure(t.Context(), offload.Config{Member: 2, Boot: 5}); err != nil {
		t.Fatalf("Configure failed: %v.", err)
	}
	return e
}

func testSA(d ipsec.Direction, n uint32) ipsec.SA {
	local, remote := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	any4 := []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	sa := ipsec.SA{
		ID:         ipsec.SAID{SPI: ipsec.SPI(0x1000 + n), Dst: local, Proto: ipsec.ESP},
		Direction:  d,
		Tunnel:     ipsec.TunnelID(n),
		Group:      1,
		Sender:     2,
		Generation: 1,
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
		Encryption: ipsec.NewKey(make([]byte, 20)),
		Local:      local,
		Remote:     remote,
		Selectors:  ipsec.Selectors{Local: any4, Remote: any4},
	}
	if d == ipsec.Outbound {
		sa.ID.Dst = remote
	}
	return sa
}

func install(t *testing.T, e *Engine, r offload.Role, sas ...ipsec.SA) []offload.Placement {
	t.Helper()
	placed, err := e.Install(t.Context(), offload.NewEpoch(1, 2), r, sas...)
	if err != nil {
		t.Fatalf("Install failed: %v.", err)
	}
	for _, p := range placed {
		if p.Err != nil {
			t.Fatalf("Install refused a good SA: %v.", p.Err)
		}
	}
	return placed
}

func TestFaultsHappenOnceAndInOrder(t *testing.T) {
	e := configured(t, Options{})
	out := testSA(ipsec.Outbound, 1)
	first, second := errors.New("first"), errors.New("second")
	e.Inject(CallInstall, Fail(first), LoseAnswer(second))

	if _, err := e.Install(t.Context(), 1, offload.Active, out); !errors.Is(err, first) {
		t.Errorf("The first Install should fail with the first fault, got %v.", err)
	}
	if _, err := e.Outbound(out.ID); !errors.Is(err, offload.ErrNotFound) {
		t.Errorf("An Install that failed should install nothing, got %v.", err)
	}
	if _, err := e.Install(t.Context(), 1, offload.Active, out); !errors.Is(err, second) {
		t.Errorf("The second Install should lose its answer, got %v.", err)
	}
	if _, err := e.Outbound(out.ID); err != nil {
		t.Errorf("An Install whose answer got lost should have been carried out, got %v.", err)
	}
	install(t, e, offload.Active, out)
}

func TestAHungCallEndsWithItsContextAndDoesNothing(t *testing.T) {
	e := configured(t, Options{})
	install(t, e, offload.Standby, testSA(ipsec.Outbound, 1))
	e.Inject(CallPromote, Hang(), Slow(make(chan struct{})))
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := e.Promote(ctx, 1, 99); !errors.Is(err, context.Canceled) {
			t.Errorf("A call that hangs should end with its context, got %v.", err)
		}
	}
	ready := make(chan struct{})
	close(ready)
	e.Inject(CallPromote, Slow(ready))
	if err := e.Promote(t.Context(), 1, offload.NewEpoch(1, 2)); err != nil {
		t.Errorf("A slow call that became ready should be carried out, and the hung ones should have left no epoch; got %v.", err)
	}
}

func TestLiesChangeTheAnswerOnly(t *testing.T) {
	e := configured(t, Options{})
	e.Inject(CallInstall, Lie(func(p []offload.Placement) []offload.Placement {
		p[0].Err = offload.ErrExhausted
		return p
	}))
	in := testSA(ipsec.Inbound, 1)
	placed, err := e.Install(t.Context(), 1, offload.Active, in)
	if err != nil || !errors.Is(placed[0].Err, offload.ErrExhausted) {
		t.Errorf("The lie should be in the answer, got %+v (%v).", placed, err)
	}
	if err := e.Inbound(in.ID, 1); err != nil {
		t.Errorf("The SA should be there all the same, got %v.", err)
	}
}

func TestEventsThatGetLostLeaveAnOverrunInTheirPlace(t *testing.T) {
	e := configured(t, Options{EventQueue: 2})
	mtu := func(n uint16) offload.Event { return offload.MTUChanged{MTU: n} }
	e.Event(mtu(1))
	e.LoseEvents(1)
	e.Event(mtu(2))
	e.Event(mtu(3))
	want := []offload.Event{mtu(1), offload.Overrun{Lost: 1}, mtu(3)}
	if got := e.Drain(); !slices.Equal(got, want) {
		t.Errorf("Of three events, the second lost, want %v, got %v.", want, got)
	}
	for n := range uint16(5) {
		e.Event(mtu(n))
	}
	want = []offload.Event{mtu(0), mtu(1), offload.Overrun{Lost: 3}}
	if got := e.Drain(); !slices.Equal(got, want) {
		t.Errorf("Of five events in a queue of two, want %v, got %v.", want, got)
	}
	if got := e.Drain(); len(got) != 0 {
		t.Errorf("A drained queue is empty, got %v.", got)
	}
}

func TestAReaderThatBreaksOffLosesOneEventAtMost(t *testing.T) {
	e := configured(t, Options{})
	for n := range uint16(3) {
		e.Event(offload.MTUChanged{MTU: n})
	}
	for range e.Events(t.Context()) {
		break
	}
	want := []offload.Event{offload.MTUChanged{MTU: 1}, offload.MTUChanged{MTU: 2}}
	if got := e.Drain(); !slices.Equal(got, want) {
		t.Errorf("After a reader took one event, want %v, got %v.", want, got)
	}
}

func TestCloseIsTheEndOfTheProcess(t *testing.T) {
	e := configured(t, Options{})
	e.Event(offload.MTUChanged{MTU: 1})
	if err := e.Close(); err != nil {
		t.Fatalf("Close failed: %v.", err)
	}
	n := 0
	var err error
	for _, err = range e.Events(t.Context()) {
		n++
	}
	if n != 2 || !errors.Is(err, offload.ErrDown) {
		t.Errorf("A closed plane's stream should yield what was left and then ErrDown, got %d and %v.", n, err)
	}
	if _, err := e.Info(t.Context()); !errors.Is(err, offload.ErrDown) {
		t.Errorf("A closed plane should answer ErrDown, got %v.", err)
	}
}

func TestNPUsTakeWhatTheyCan(t *testing.T) {
	gcm := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	e := configured(t, Options{NPUs: []NPU{{
		ID: 1, Name: "np", Capacity: 2, Inbound: true, Outbound: true, ActiveOnly: true, TunnelOnly: true,
		Algorithms: []ipsec.Algorithms{gcm},
	}}})
	chacha := testSA(ipsec.Inbound, 10)
	chacha.Algorithms, chacha.Encryption = ipsec.Algorithms{Encryption: ipsec.EncrChaCha20Poly1305}, ipsec.NewKey(make([]byte, 36))
	transport := testSA(ipsec.Inbound, 11)
	transport.Mode = ipsec.Transport
	in, out := testSA(ipsec.Inbound, 1), testSA(ipsec.Outbound, 2)

	placed := install(t, e, offload.Active, in, out, chacha, transport, testSA(ipsec.Inbound, 3))
	for i, want := range []offload.NoNPU{offload.InNPU, offload.InNPU, offload.NoAlgorithm, offload.NoMode, offload.NoRoom} {
		if placed[i].WhyNot != want {
			t.Errorf("%v should be placed with reason %q, got %q.", placed[i].ID, want, placed[i].WhyNot)
		}
	}
	if flag := offload.FlagOf(placed[0], placed[1]); flag != offload.NPUBoth {
		t.Errorf("A pair in an NPU has npu_flag 03, got %02x.", flag)
	}
	if err := e.Demote(t.Context(), 1, offload.NewEpoch(2, 2)); err != nil {
		t.Fatalf("Demote failed: %v.", err)
	}
	moved := 0
	for _, ev := range e.Drain() {
		if p, ok := ev.(offload.Placed); ok && p.Placement.NPU == 0 && p.Placement.WhyNot == offload.NoNPURole {
			moved++
		}
	}
	if moved != 2 {
		t.Errorf("An NPU for active SAs should let go of two that became standby, got %d.", moved)
	}
}

func TestLateNPUsReportWhenTrafficComes(t *testing.T) {
	e := configured(t, Options{NPUs: []NPU{{ID: 7, Inbound: true, Outbound: true, Late: true}}})
	in := testSA(ipsec.Inbound, 1)
	if placed := install(t, e, offload.Active, in); placed[0].WhyNot != offload.NotYet {
		t.Errorf("Before traffic the SA should wait for it, got %q.", placed[0].WhyNot)
	}
	if err := e.Inbound(in.ID, 1); err != nil {
		t.Fatalf("The packet was dropped: %v.", err)
	}
	events := e.Drain()
	if len(events) != 1 {
		t.Fatalf("The first packet should cause one event, got %v.", events)
	}
	if p, ok := events[0].(offload.Placed); !ok || p.Placement.NPU != 7 {
		t.Errorf("The first packet should move the SA into the NPU, got %+v.", events[0])
	}
}

func TestTimeIsWhatItIsTold(t *testing.T) {
	now := time.Unix(1000, 0)
	e := configured(t, Options{Now: func() time.Time { return now }})
	in := testSA(ipsec.Inbound, 1)
	install(t, e, offload.Active, in)
	if err := e.Inbound(in.ID, 1); err != nil {
		t.Fatalf("The packet was dropped: %v.", err)
	}
	now = now.Add(90 * time.Second)
	for c, err := range e.Export(t.Context(), offload.AllGroups) {
		if err != nil || c.Idle != 90*time.Second {
			t.Errorf("90 seconds after its last packet an SA should be idle for as long, got %v (%v).", c.Idle, err)
		}
	}
}

func TestExportFollowsTheOrderOfInstallation(t *testing.T) {
	e := configured(t, Options{})
	var want []ipsec.SAID
	for _, n := range []uint32{9, 3, 7, 1} {
		sa := testSA(ipsec.Inbound, n)
		want = append(want, sa.ID)
		install(t, e, offload.Standby, sa)
	}
	var got []ipsec.SAID
	for c, err := range e.Export(t.Context(), 1) {
		if err != nil {
			t.Fatalf("Export failed: %v.", err)
		}
		got = append(got, c.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("Export should be in order %v, got %v.", want, got)
	}
}

func TestIVsHoldMemberAndBoot(t *testing.T) { // B1
	e := configured(t, Options{})
	seen := make(map[uint64]bool)
	for n := range uint32(3) {
		out := testSA(ipsec.Outbound, n)
		install(t, e, offload.Active, out)
		for range 5 {
			p, err := e.Outbound(out.ID)
			if err != nil {
				t.Fatalf("The packet was dropped: %v.", err)
			}
			if p.IV>>60 != 2 || p.IV>>36&maxBoot != 5 || seen[p.IV] {
				t.Errorf("An IV of member 2 and boot 5 should hold both and be new, got %016x.", p.IV)
			}
			seen[p.IV] = true
		}
	}
}
