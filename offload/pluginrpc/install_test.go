package pluginrpc

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// encodeSA makes a message of what is written of an SA: the generated code
// understands it.
func encodeSA(sa ipsec.SA) *offloadv1.SA {
	b, n := encodeInstall(1, offload.Active, []ipsec.SA{sa})
	m := new(offloadv1.InstallRequest)
	if err := proto.Unmarshal(b, m); err != nil || n != 1 || len(m.GetSas()) != 1 || m.GetEpoch() != 1 {
		panic(fmt.Sprintf("The SA was written as %v of %d (%v).", m, n, err))
	}
	return m.GetSas()[0]
}

// decodeSA reads what the generated code has written.
func decodeSA(d *decoder, m *offloadv1.SA) ipsec.SA {
	b, err := proto.Marshal(&offloadv1.InstallRequest{Sas: []*offloadv1.SA{m}})
	if err != nil {
		panic(err)
	}
	var read installRequest
	if d.err = errors.Join(d.err, read.decode(b), read.invalid); d.err != nil {
		return ipsec.SA{}
	}
	return read.sas[0]
}

// answeredPlacement and decodeAnswered are the same of an answer.
func answeredPlacement(p offload.Placement) *offloadv1.Placement {
	m := new(offloadv1.InstallResponse)
	if err := proto.Unmarshal(encodePlacements([]offload.Placement{p}), m); err != nil || len(m.GetPlacements()) != 1 {
		panic(fmt.Sprintf("The placement was written as %v (%v).", m, err))
	}
	return m.GetPlacements()[0]
}

func decodeAnswered(d *decoder, m *offloadv1.Placement) offload.Placement {
	b, err := proto.Marshal(&offloadv1.InstallResponse{Placements: []*offloadv1.Placement{m}})
	if err != nil {
		panic(err)
	}
	var read installResponse
	if d.err = errors.Join(d.err, read.decode(b)); d.err != nil {
		return offload.Placement{}
	}
	return read.placements[0]
}

// TestSelectorIDsAreTheirOwn: those of an answer lie in one place, and an append to
// some must not change others. Each item may have any number of them.
func TestSelectorIDsAreTheirOwn(t *testing.T) {
	var want []offload.Placement
	for n := range 5 {
		p := offload.Placement{ID: ipsec.SAID{SPI: ipsec.SPI(n)}}
		for id := range n {
			p.SelectorIDs = append(p.SelectorIDs, offload.SelectorID(100*n+id))
		}
		want = append(want, p)
	}
	var read installResponse
	if err := read.decode(encodePlacements(want)); err != nil {
		t.Fatalf("Good placements cannot be read: %v.", err)
	}
	for i := range read.placements {
		_ = append(read.placements[i].SelectorIDs, 7)
	}
	if described(read.placements) != described(want) {
		t.Errorf("Placements should arrive as %v, not %v.", want, read.placements)
	}
}

// TestAServerWithACodecOfItsOwn: a vendor's gRPC server may know messages only.
func TestAServerWithACodecOfItsOwn(t *testing.T) {
	e := mem.New(mem.Options{})
	if _, err := e.Configure(t.Context(), offload.Config{Boot: 1}); err != nil {
		t.Fatalf("Configure failed: %v.", err)
	}
	sa := ipsec.SA{ID: ipsec.SAID{SPI: 300}}
	asMessage := func(v any) error {
		m, ok := v.(proto.Message)
		if !ok {
			return fmt.Errorf("%T is no message", v)
		}
		b, _ := encodeInstall(1, offload.Active, []ipsec.SA{sa})
		return proto.Unmarshal(b, m)
	}
	answer, err := handleInstall(&server{engine: e}, t.Context(), asMessage, nil)
	m, ok := answer.(*offloadv1.InstallResponse)
	if err != nil || !ok || len(m.GetPlacements()) != 1 || m.GetPlacements()[0].GetId().GetSpi() != 300 {
		t.Errorf("The answer is %v (%v), want a message with one placement.", answer, err)
	}
}
