package wire_test

import (
	"bytes"
	"runtime"
	"slices"
	"testing"

	"github.com/evergate/evergate/ike/wire"
)

// TestMemoryIsProportionalToInput: nothing that fits into a datagram makes the
// decoder hold more than a small multiple of it. The inputs are the densest of
// each kind: payloads, proposals, transforms, attributes and SPIs without
// content.
func TestMemoryIsProportionalToInput(t *testing.T) {
	const most = 32 // octets allocated per octet received
	attribute := unhex(t, "80630001")
	transform := slices.Concat([]byte{3, 0, 0, 8 + 4*wire.MaxAttributes, 1, 0, 0, 12}, bytes.Repeat(attribute, wire.MaxAttributes))
	transforms := bytes.Repeat(transform, 255)
	transforms[len(transforms)-len(transform)] = 0
	proposal := put16(append([]byte{0, 0, 0, 0, 1, 1, 0, 255}, transforms...), 2, uint16(8+len(transforms)))
	spis := append(put16([]byte{3, 4, 0, 0}, 2, wire.MaxDeleteSPIs), make([]byte, 4*wire.MaxDeleteSPIs)...)
	vendors := bytes.Repeat([]byte{byte(wire.PayloadVendor), 0, 0, 4}, wire.MaxPayloads)
	vendors[len(vendors)-4] = 0

	for _, tt := range []struct {
		name string
		kind wire.PayloadType
		b    []byte
	}{
		{"attributes", wire.PayloadSA, payload(proposal)},
		{"SPIs", wire.PayloadDelete, payload(spis)},
		{"payloads", wire.PayloadVendor, vendors},
		{"configuration attributes", wire.PayloadCP, payload(make([]byte, 4+4*wire.MaxConfigAttributes))},
		{"selectors", wire.PayloadTSi, payload(append([]byte{wire.MaxSelectors, 0, 0, 0}, bytes.Repeat([]byte{9, 0, 0, 4}, wire.MaxSelectors)...))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := wire.DecodePayloads(tt.kind, tt.b); err != nil {
				t.Fatalf("the densest input does not decode: %v", err)
			}
			if got := allocated(func() { _, _ = wire.DecodePayloads(tt.kind, tt.b) }); got > uint64(most*len(tt.b)) {
				t.Errorf("%d octets make the decoder allocate %d, want at most %d times as many", len(tt.b), got, most)
			}
		})
	}
}

// allocated is how many octets f allocates, without what the runtime may do
// beside it: the least of several runs.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}
