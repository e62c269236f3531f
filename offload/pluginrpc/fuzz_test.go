package pluginrpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// FuzzAnswers feeds the daemon's side with what a broken plugin may answer. What
// is understood must be the same after another way there and back.
func FuzzAnswers(f *testing.F) {
	for _, m := range []proto.Message{
		&offloadv1.InstallResponse{Placements: []*offloadv1.Placement{encodePlacement(offload.Placement{
			ID: ipsec.SAID{SPI: 1}, NPU: 2, WhyNot: offload.NoRoom, Err: offload.ErrExhausted,
		})}},
		&offloadv1.ExportResponse{Counters: []*offloadv1.Counters{encodeCounters(offload.Counters{Packets: 3, Idle: -1})}},
		encodeEvent(offload.Overrun{Lost: 4}),
		encodeInfo(offload.Info{Name: "plane", NPUs: []offload.NPU{{ID: 1}}}),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatalf("A seed cannot be encoded: %v.", err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		roundTrip(t, b, &offloadv1.Counters{}, (*decoder).counters, encodeCounters)
		roundTrip(t, b, &offloadv1.Placement{}, (*decoder).placement, encodePlacement)
		roundTrip(t, b, &offloadv1.InfoResponse{}, (*decoder).info, encodeInfo)
		roundTrip(t, b, &offloadv1.SA{}, decodeSA, encodeSA)
		roundTrip(t, b, &offloadv1.Placement{}, decodeAnswered, answeredPlacement)
		roundTrip(t, b, &offloadv1.Change{}, (*decoder).change, encodeChange)
		var event offloadv1.EventsResponse
		if proto.Unmarshal(b, &event) == nil {
			(&decoder{}).event(&event)
		}
	})
}

func roundTrip[M proto.Message, G any](t *testing.T, b []byte, m M, decode func(*decoder, M) G, encode func(G) M) {
	t.Helper()
	if proto.Unmarshal(b, m) != nil {
		return
	}
	var d decoder
	v := decode(&d, m)
	if d.err != nil {
		return
	}
	if again := decode(&d, wire(t, encode(v))); d.err != nil || described(again) != described(v) {
		t.Errorf("What was understood as %s became %s (%v).", described(v), described(again), d.err)
	}
}
