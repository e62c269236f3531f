package pluginrpc

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// decodeExported reads what the generated code has written.
func decodeExported(d *decoder, m *offloadv1.Counters) offload.Counters {
	b, err := proto.Marshal(&offloadv1.ExportResponse{Counters: []*offloadv1.Counters{m}})
	if err != nil {
		panic(err)
	}
	var read exportResponse
	if d.err = errors.Join(d.err, read.decode(b), read.invalid); d.err != nil {
		return offload.Counters{}
	}
	return read.counters[0]
}

// TestExportsDoNotShineThrough: the messages of an export are used again, and what one
// SA had and the next one lacks must not appear there.
func TestExportsDoNotShineThrough(t *testing.T) {
	rich := offload.Counters{
		Placement: offload.Placement{
			ID: ipsec.SAID{SPI: 1, Proto: ipsec.ESP}, NPU: 1, SelectorIDs: []offload.SelectorID{1, 2, 3},
			Role: offload.Active,
		},
		Direction: ipsec.Inbound, Link: &ipsec.Link{Member: 3}, Packets: 7, Held: 8,
		Sequence: ipsec.Sequence{Highest: 9, Bitmap: []byte{1}}, Drops: offload.Drops{Queue: 5},
	}
	poor := offload.Counters{Placement: offload.Placement{ID: ipsec.SAID{SPI: 2, Proto: ipsec.ESP}}}
	var part exportPart
	var read exportResponse
	for _, want := range []offload.Counters{rich, poor, rich, poor} {
		part.response.Counters = part.response.Counters[:0]
		part.add(want)
		b, err := proto.Marshal(&part.response)
		if err != nil {
			t.Fatalf("What is exported cannot be written: %v.", err)
		}
		if err := errors.Join(read.decode(b), read.invalid); err != nil {
			t.Fatalf("What was exported cannot be read: %v.", err)
		}
		if len(read.counters) != 1 || described(read.counters[0]) != described(want) {
			t.Errorf("An SA was exported as\n%s\nbut is\n%s", described(read.counters), described(want))
		}
	}
}
