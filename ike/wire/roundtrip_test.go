package wire_test

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// TestRoundTrip: whatever is encoded decodes to the same, and encodes to the
// same octets again.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		msg := messages.Draw(t, "message")
		b, err := msg.Append(nil)
		if err != nil {
			t.Fatalf("%v does not encode: %v", msg, err)
		}
		got, err := wire.Decode(b)
		if err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if want := filled(msg, len(b)); got.Header != want {
			t.Fatalf("the header decodes as %+v, want %+v", got.Header, want)
		}
		if !reflect.DeepEqual(got.Payloads, msg.Payloads) {
			t.Fatalf("the payloads decode as %v, want %v", got.Payloads, msg.Payloads)
		}
		if again, err := got.Append([]byte("before")); err != nil || !bytes.Equal(again, append([]byte("before"), b...)) {
			t.Fatalf("encoded again it is %x, %v, want %x", again, err, b)
		}
	})
}

// TestRoundTripPrefixes: no strict prefix of a message decodes.
func TestRoundTripPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first, b, err := wire.AppendPayloads(nil, payloadLists.Draw(t, "payloads"))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) == 0 {
			return
		}
		n := rapid.IntRange(0, len(b)-1).Draw(t, "octets kept")
		if _, err := wire.DecodePayloads(first, b[:n]); err == nil {
			t.Fatalf("%d of %d octets decode", n, len(b))
		}
	})
}

// filled is the header with what encoding fills in.
func filled(m wire.Message, length int) wire.Header {
	h := m.Header
	h.Length = uint32(length)
	h.NextPayload = wire.PayloadNone
	if len(m.Payloads) > 0 {
		h.NextPayload = m.Payloads[0].PayloadType()
	}
	return h
}

var messages = rapid.Custom(func(t *rapid.T) wire.Message {
	return wire.Message{
		Header: wire.Header{
			SPIi:      ipsec.IKESPI(rapid.Uint64().Draw(t, "SPIi")),
			SPIr:      ipsec.IKESPI(rapid.Uint64().Draw(t, "SPIr")),
			Major:     wire.MajorVersion,
			Minor:     rapid.Uint8Range(0, 15).Draw(t, "minor"),
			Exchange:  wire.ExchangeType(rapid.Uint8().Draw(t, "exchange")),
			Flags:     rapid.SampledFrom([]wire.Flags{0, wire.FlagInitiator, wire.FlagResponse, wire.FlagVersion | wire.FlagInitiator}).Draw(t, "flags"),
			MessageID: rapid.Uint32().Draw(t, "id"),
		},
		Payloads: payloadLists.Draw(t, "payloads"),
	}
})

// payloadLists are nil when empty, as the decoder has it.
var payloadLists = rapid.Custom(func(t *rapid.T) []wire.Payload {
	var list []wire.Payload
	for range rapid.IntRange(0, 6).Draw(t, "payloads") {
		list = append(list, payloads.Draw(t, "payload"))
	}
	return list
})

var payloads = rapid.OneOf(
	of(func(t *rapid.T) wire.Payload {
		return &wire.SA{Proposals: rapid.SliceOfN(proposals, 1, 4).Draw(t, "proposals")}
	}),
	of(func(t *rapid.T) wire.Payload {
		return &wire.KE{Group: ipsec.GroupID(rapid.Uint16().Draw(t, "group")), Data: octets(t, 0, 64)}
	}),
	of(func(t *rapid.T) wire.Payload { return &wire.IDi{ID: ids.Draw(t, "id")} }),
	of(func(t *rapid.T) wire.Payload { return &wire.IDr{ID: ids.Draw(t, "id")} }),
	of(func(t *rapid.T) wire.Payload { return &wire.Cert{Encoding: octet(t), Data: octets(t, 0, 40)} }),
	of(func(t *rapid.T) wire.Payload { return &wire.CertReq{Encoding: octet(t), Authority: octets(t, 0, 40)} }),
	of(func(t *rapid.T) wire.Payload {
		return &wire.Auth{Method: wire.AuthMethod(octet(t)), Data: octets(t, 0, 40)}
	}),
	of(func(t *rapid.T) wire.Payload { return &wire.Nonce{Data: octets(t, wire.MinNonce, wire.MaxNonce)} }),
	of(func(t *rapid.T) wire.Payload {
		return &wire.Notify{
			Protocol: wire.ProtocolID(octet(t)),
			SPI:      octets(t, 0, 8),
			Type:     wire.NotifyType(rapid.Uint16().Draw(t, "type")),
			Data:     octets(t, 0, 32),
		}
	}),
	rapid.Just[wire.Payload](&wire.Delete{Protocol: wire.ProtocolIKE}),
	of(func(t *rapid.T) wire.Payload {
		spi := rapid.Map(rapid.Uint32(), func(v uint32) ipsec.SPI { return ipsec.SPI(v) })
		return &wire.Delete{Protocol: wire.ProtocolESP, SPIs: rapid.SliceOfN(spi, 0, 5).Draw(t, "spis")}
	}),
	of(func(t *rapid.T) wire.Payload { return &wire.VendorID{Data: octets(t, 0, 20)} }),
	of(func(t *rapid.T) wire.Payload { return &wire.TSi{TS: selectorLists.Draw(t, "selectors")} }),
	of(func(t *rapid.T) wire.Payload { return &wire.TSr{TS: selectorLists.Draw(t, "selectors")} }),
	of(func(t *rapid.T) wire.Payload {
		cp := &wire.CP{Type: wire.CFGType(octet(t))}
		for range rapid.IntRange(0, 4).Draw(t, "attributes") {
			cp.Attributes = append(cp.Attributes, wire.ConfigAttribute{
				Type: rapid.Uint16Range(0, 0x7fff).Draw(t, "type"), Value: octets(t, 0, 17),
			})
		}
		return cp
	}),
	of(func(t *rapid.T) wire.Payload {
		b := append([]byte{octet(t), octet(t), 0, 0}, octets(t, 0, 20)...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		return &wire.EAP{Message: b}
	}),
	of(func(t *rapid.T) wire.Payload {
		return &wire.Unknown{Type: wire.PayloadType(rapid.Uint8Range(54, 255).Draw(t, "type")), Body: octets(t, 0, 20)}
	}),
)

var proposals = rapid.Custom(func(t *rapid.T) wire.Proposal {
	return wire.Proposal{
		Number:     octet(t),
		Protocol:   wire.ProtocolID(octet(t)),
		SPI:        octets(t, 0, 8),
		Transforms: rapid.SliceOfN(transforms, 1, 6).Draw(t, "transforms"),
	}
})

var transforms = rapid.Custom(func(t *rapid.T) wire.Transform {
	tr := wire.Transform{Transform: ipsec.Transform{
		Type:    ipsec.TransformType(octet(t)),
		ID:      rapid.Uint16().Draw(t, "id"),
		KeyBits: rapid.SampledFrom([]uint16{0, 128, 256, 65535}).Draw(t, "bits"),
	}}
	for range rapid.IntRange(0, 2).Draw(t, "attributes") {
		a := wire.Attribute{Type: rapid.Uint16Range(15, 0x7fff).Draw(t, "type"), Short: rapid.Bool().Draw(t, "short")}
		if a.Short {
			a.Value = octets(t, 2, 2)
		} else {
			a.Value = octets(t, 0, 6)
		}
		tr.Attributes = append(tr.Attributes, a)
	}
	return tr
})

var ids = rapid.Custom(func(t *rapid.T) wire.ID {
	return wire.ID{Type: octet(t), Reserved: [3]byte(octets(t, 3, 3)), Data: octets(t, 0, 40)}
})

var selectorLists = rapid.Custom(func(t *rapid.T) wire.TS {
	var ts wire.TS
	for range rapid.IntRange(1, 4).Draw(t, "selectors") {
		ts.Selectors = append(ts.Selectors, selector(t))
	}
	for range rapid.IntRange(0, 2).Draw(t, "unknown selectors") {
		ts.Unknown = append(ts.Unknown, wire.UnknownSelector{
			Type: rapid.Uint8Range(9, 255).Draw(t, "type"), Proto: octet(t), Body: octets(t, 0, 12),
		})
	}
	return ts
})

func selector(t *rapid.T) ipsec.TrafficSelector {
	size := rapid.SampledFrom([]int{4, 16}).Draw(t, "address length")
	a, _ := netip.AddrFromSlice(octets(t, size, size))
	b, _ := netip.AddrFromSlice(octets(t, size, size))
	if b.Less(a) {
		a, b = b, a
	}
	s := ipsec.TrafficSelector{Proto: octet(t), Min: a, Max: b}
	s.PortMin = rapid.Uint16().Draw(t, "port")
	s.PortMax = rapid.Uint16Range(s.PortMin, 65535).Draw(t, "last port")
	if rapid.Bool().Draw(t, "opaque") {
		s.PortMin, s.PortMax = 65535, 0
	}
	return s
}

func of(draw func(*rapid.T) wire.Payload) *rapid.Generator[wire.Payload] { return rapid.Custom(draw) }

func octet(t *rapid.T) byte { return rapid.Byte().Draw(t, "octet") }

// octets are never nil, as the decoder has it.
func octets(t *rapid.T, least, most int) []byte {
	return append([]byte{}, rapid.SliceOfN(rapid.Byte(), least, most).Draw(t, "octets")...)
}
