package pluginrpc_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// served returns the other end of a gRPC connection to e.
func served(tb testing.TB, e offload.Engine) *pluginrpc.Client {
	tb.Helper()
	client, stop, err := offloadtest.Serve(e)
	if err != nil {
		tb.Fatalf("The engine cannot be served: %v.", err)
	}
	tb.Cleanup(func() {
		if err := stop(); err != nil {
			tb.Errorf("The server did not stop cleanly: %v.", err)
		}
	})
	return client
}

// plane is a configured dataplane in memory and its other end.
func plane(tb testing.TB) (*mem.Engine, *pluginrpc.Client) {
	tb.Helper()
	e := mem.New(mem.Options{})
	client := served(tb, e)
	if _, err := client.Configure(tb.Context(), offload.Config{Boot: 1}); err != nil {
		tb.Fatalf("Configure failed: %v.", err)
	}
	return e, client
}

// inboundSAs makes n SAs as a dialup gateway has them.
func inboundSAs(n int) []ipsec.SA {
	sas := make([]ipsec.SA, n)
	local, remote := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	for i := range sas {
		sas[i] = ipsec.SA{
			ID:         ipsec.SAID{SPI: ipsec.SPI(0x10000 + i), Dst: local, Proto: ipsec.ESP},
			Direction:  ipsec.Inbound,
			Tunnel:     ipsec.TunnelID(i),
			Group:      3,
			Generation: 1,
			Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
			Encryption: ipsec.NewKey(make([]byte, 20)),
			Local:      local,
			Remote:     remote,
			Encap:      &ipsec.Encap{LocalPort: 4500, RemotePort: 40000},
			Selectors: ipsec.Selectors{
				Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
				Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("10.1.1.1/32"))},
			},
		}
	}
	return sas
}

func TestErrorsSurviveTheWay(t *testing.T) {
	e, client := plane(t)
	for _, want := range []error{
		offload.ErrNotFound, offload.ErrUnsupported, offload.ErrExhausted, offload.ErrStaleEpoch,
		offload.ErrInvalid, offload.ErrNotConfigured, offload.ErrDown,
		context.Canceled, context.DeadlineExceeded,
	} {
		e.Inject(mem.CallPromote, mem.Fail(fmt.Errorf("the left wheel fell off: %w", want)))
		err := client.Promote(t.Context(), 1, 1)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "the left wheel fell off") {
			t.Errorf("%q should arrive as itself with its text, got %v.", want, err)
		}
		e.Inject(mem.CallInstall, mem.Lie(func([]offload.Placement) []offload.Placement {
			return []offload.Placement{{Err: fmt.Errorf("the right wheel too: %w", want)}}
		}))
		placed, err := client.Install(t.Context(), 1, offload.Active, inboundSAs(1)...)
		if err != nil {
			t.Fatalf("Install failed: %v.", err)
		}
		itemErr := placed[0].Err
		if itemErr == nil || !strings.Contains(itemErr.Error(), "the right wheel too") {
			t.Errorf("The text of an item's error should arrive, got %v.", itemErr)
		}
		if contractError := !errors.Is(want, context.Canceled) && !errors.Is(want, context.DeadlineExceeded); contractError && !errors.Is(itemErr, want) {
			t.Errorf("An item's %q should arrive as itself, got %v.", want, itemErr)
		}
	}
	e.Inject(mem.CallPromote, mem.Fail(fmt.Errorf("device said \xff\xfe: %w", offload.ErrExhausted)))
	if err := client.Promote(t.Context(), 1, 1); !errors.Is(err, offload.ErrExhausted) {
		t.Errorf("A text that is no UTF-8 should not hide the error, got %v.", err)
	}
	e.Inject(mem.CallPromote, mem.Fail(errors.New("something else")))
	if err := client.Promote(t.Context(), 1, 1); err == nil || !strings.Contains(err.Error(), "something else") {
		t.Errorf("An error outside of the contract should keep its text, got %v.", err)
	}
}

func TestStreamsCarryErrorsToo(t *testing.T) {
	e, client := plane(t)
	e.Inject(mem.CallExport, mem.Fail(offload.ErrDown))
	var err error
	for _, err = range client.Export(t.Context(), offload.AllGroups) {
	}
	if !errors.Is(err, offload.ErrDown) {
		t.Errorf("An Export that fails should end with the engine's error, got %v.", err)
	}
	if err := e.Close(); err != nil {
		t.Fatalf("Close failed: %v.", err)
	}
	for _, err = range client.Events(t.Context()) {
	}
	if !errors.Is(err, offload.ErrDown) {
		t.Errorf("Events of a plane that went away should end with ErrDown, got %v.", err)
	}
}

// unanswered is a connection on which every call ends with an error of gRPC's
// own.
type unanswered struct{ code codes.Code }

func (u unanswered) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return status.Error(u.code, "as gRPC says it")
}

func (u unanswered) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(u.code, "as gRPC says it")
}

func TestErrorsOfGRPCItself(t *testing.T) {
	for code, want := range map[codes.Code]error{
		codes.Unavailable:      offload.ErrDown,
		codes.Unimplemented:    offload.ErrUnsupported,
		codes.DeadlineExceeded: context.DeadlineExceeded,
		codes.Canceled:         context.Canceled,
	} {
		if err := pluginrpc.NewClient(unanswered{code}).Arm(t.Context(), 1, 1); !errors.Is(err, want) {
			t.Errorf("gRPC's %v should read as %q, got %v.", code, want, err)
		}
	}
	// A message that is too long is no full dataplane.
	err := pluginrpc.NewClient(unanswered{codes.ResourceExhausted}).Arm(t.Context(), 1, 1)
	if err == nil || errors.Is(err, offload.ErrExhausted) {
		t.Errorf("gRPC's own RESOURCE_EXHAUSTED should not read as ErrExhausted, got %v.", err)
	}
	for ev, err := range pluginrpc.NewClient(unanswered{codes.Unavailable}).Events(t.Context()) {
		if ev != nil || !errors.Is(err, offload.ErrDown) {
			t.Errorf("Events without a plugin should yield ErrDown alone, got %v and %v.", ev, err)
		}
	}
}

func TestACallThatHangsEndsWithItsContext(t *testing.T) {
	e, client := plane(t)
	e.Inject(mem.CallArm, mem.Hang())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Arm(ctx, 1, 1) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("A cancelled call should say so, got %v.", err)
	}
}

// counting counts the calls that a batch became.
type counting struct {
	*mem.Engine
	installs []int
}

func (c *counting) Install(ctx context.Context, e offload.Epoch, r offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	c.installs = append(c.installs, len(sas))
	return c.Engine.Install(ctx, e, r, sas...)
}

func TestBatchesAreSplit(t *testing.T) {
	c := &counting{Engine: mem.New(mem.Options{})}
	client := served(t, c)
	if _, err := client.Configure(t.Context(), offload.Config{Boot: 1}); err != nil {
		t.Fatalf("Configure failed: %v.", err)
	}
	sas := inboundSAs(2*pluginrpc.MaxBatch + 1)
	placed, err := client.Install(t.Context(), 1, offload.Active, sas...)
	if err != nil || len(placed) != len(sas) {
		t.Fatalf("Install of %d SAs answered with %d placements (%v).", len(sas), len(placed), err)
	}
	if len(c.installs) != 3 || c.installs[2] != 1 {
		t.Errorf("%d small SAs should go in three messages with one in the last, got %v.", len(sas), c.installs)
	}

	// Large ones are fewer in a message: each has a selector list of 50 KB.
	c.installs = nil
	wide := inboundSAs(100)
	for i := range wide {
		wide[i].Generation = 2
		for range 1200 {
			wide[i].Selectors.Remote = append(wide[i].Selectors.Remote, ipsec.AnySelector(true))
		}
	}
	if placed, err = client.Install(t.Context(), 1, offload.Active, wide...); err != nil || len(placed) != len(wide) {
		t.Fatalf("Install of %d large SAs answered with %d placements (%v).", len(wide), len(placed), err)
	}
	if len(c.installs) < 2 {
		t.Errorf("SAs of more than 2 MiB together should be split, got %v.", c.installs)
	}

	// An error stops at the part that fails.
	c.installs = nil
	c.Inject(mem.CallInstall, mem.Fault{}, mem.Fail(offload.ErrStaleEpoch))
	placed, err = client.Install(t.Context(), 1, offload.Active, sas...)
	if !errors.Is(err, offload.ErrStaleEpoch) || len(placed) != pluginrpc.MaxBatch || len(c.installs) != 2 {
		t.Errorf("After an error in the second part, one part should be done and the third not tried; got %d placements, parts %v, %v.",
			len(placed), c.installs, err)
	}
}

func TestAWrongNumberOfPlacementsIsAnError(t *testing.T) {
	e, client := plane(t)
	e.Inject(mem.CallInstall, mem.Lie(func(p []offload.Placement) []offload.Placement { return p[:1] }))
	if _, err := client.Install(t.Context(), 1, offload.Active, inboundSAs(3)...); err == nil {
		t.Error("One placement for three SAs cannot be understood, but was.")
	}
}

// unknown is an event that the protocol does not have.
type unknown struct{ offload.Event }

type later struct{ *mem.Engine }

func (l later) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		_ = yield(unknown{}, nil) && yield(offload.Overrun{Lost: 7}, nil)
	}
}

// chatty is a plane whose stats would make metrics without end.
type chatty struct{ *mem.Engine }

func (chatty) Stats(context.Context) ([]offload.Stat, error) {
	return []offload.Stat{{Name: "packets from 192.0.2.1"}}, nil
}

func TestStatsOutsideOfTheContractAreAnError(t *testing.T) {
	_, err := served(t, chatty{mem.New(mem.Options{})}).Stats(t.Context())
	if !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), "stats[0]") {
		t.Errorf("A name that is none should be refused by its place, got %v.", err)
	}
}

func TestUnknownEventsArePassedOver(t *testing.T) {
	var got []offload.Event
	for ev, err := range served(t, later{mem.New(mem.Options{})}).Events(t.Context()) {
		if err != nil {
			t.Fatalf("The stream of events failed: %v.", err)
		}
		got = append(got, ev)
	}
	if len(got) != 1 || got[0] != (offload.Overrun{Lost: 7}) {
		t.Errorf("An unknown event should be passed over, got %+v.", got)
	}
}

// places answers at once, so that the way there and back is measured.
type places struct{ *mem.Engine }

func (places) Install(_ context.Context, _ offload.Epoch, r offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	placed := make([]offload.Placement, len(sas))
	for i, sa := range sas {
		placed[i] = offload.Placement{ID: sa.ID, Role: r, WhyNot: offload.NoSuchNPU, SelectorIDs: []offload.SelectorID{1}}
	}
	return placed, nil
}

// BenchmarkInstall measures how many SAs a second reach a dataplane, by batch.
// The design wants 150,000.
func BenchmarkInstall(b *testing.B) {
	for _, batch := range []int{1, 16, 256, 4096} {
		b.Run(strconv.Itoa(batch), func(b *testing.B) {
			client := served(b, places{mem.New(mem.Options{})})
			sas := inboundSAs(batch)
			installed := 0
			for b.Loop() {
				if _, err := client.Install(b.Context(), 1, offload.Active, sas...); err != nil {
					b.Fatalf("Install failed: %v.", err)
				}
				installed += batch
			}
			b.ReportMetric(float64(installed)/b.Elapsed().Seconds(), "SAs/s")
		})
	}
}
