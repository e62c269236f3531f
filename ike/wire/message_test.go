package wire_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// TestHeader reads the fields of a known header.
func TestHeader(t *testing.T) {
	h, err := wire.ParseHeader(unhex(t, "1111111111111111 2222222222222222 00 20 25 2f 00000007 0000001c"))
	want := wire.Header{
		SPIi: 0x1111111111111111, SPIr: 0x2222222222222222, Major: 2, Exchange: wire.Informational,
		Flags: wire.FlagInitiator | wire.FlagResponse, MessageID: 7, Length: 28,
	}
	if err != nil || h != want {
		t.Errorf("the header reads as %+v, %v, want %+v", h, err, want)
	}
}

// TestParseHeaderDoesNotAllocate: demultiplexing comes before any check, and
// anybody can send to it.
func TestParseHeaderDoesNotAllocate(t *testing.T) {
	b := firstDatagram(t)
	if n := testing.AllocsPerRun(100, func() { _, _ = wire.ParseHeader(b) }); n != 0 {
		t.Errorf("reading a header allocates %v times, want 0", n)
	}
}

// TestHigherMajorVersion: "If an endpoint receives a message with a higher
// major version number, it MUST drop the message and SHOULD send an
// unauthenticated Notify message of type INVALID_MAJOR_VERSION". RFC 7296
// section 2.5. The answer needs the header.
func TestHigherMajorVersion(t *testing.T) {
	b := bytes.Clone(firstDatagram(t))
	known, err := wire.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	b[17] = 0x30
	h, err := wire.ParseHeader(b)
	wantError(t, err, wire.InvalidMajorVersion, wire.PayloadNone, 17)
	if h.SPIi != known.SPIi || h.Exchange != known.Exchange || h.Major != 3 {
		t.Errorf("the header of version 3.0 is %+v, want that of version 2.0: %+v", h, known)
	}
	_, err = wire.Decode(b)
	wantError(t, err, wire.InvalidMajorVersion, wire.PayloadNone, 17)
}

// TestLowerMajorVersion: the header of IKEv1 can be read, its payloads not.
func TestLowerMajorVersion(t *testing.T) {
	b := bytes.Clone(firstDatagram(t))
	b[17] = 0x10
	if h, err := wire.ParseHeader(b); err != nil || h.Major != 1 {
		t.Errorf("the header of version 1.0 has version %d, %v, want 1", h.Major, err)
	}
	_, err := wire.Decode(b)
	wantError(t, err, wire.InvalidMajorVersion, wire.PayloadNone, 17)
}

// TestMinorVersion: "The minor version number [...] MUST be ignored by a node
// with a smaller minor version number". RFC 7296 section 2.5.
func TestMinorVersion(t *testing.T) {
	b := bytes.Clone(firstDatagram(t))
	b[17] = 0x25
	if msg, err := wire.Decode(b); err != nil || msg.Header.Minor != 5 {
		t.Errorf("version 2.5 reads as minor version %d, %v, want 5", msg.Header.Minor, err)
	}
}

// TestReservedBitsAreIgnored: "all fields marked RESERVED MUST be set to zero
// by an implementation running version 2.0, and their content MUST be ignored".
// RFC 7296 section 2.5.
func TestReservedBitsAreIgnored(t *testing.T) {
	b := firstDatagram(t)
	set := bytes.Clone(b)
	set[19] |= 0xc7 // the header's flags
	set[29] |= 0x7f // the SA payload's generic header
	set[33] = 0xff  // the first proposal
	set[41] = 0xff  // its first transform
	set[45] = 0xff
	if bytes.Equal(b, set) {
		t.Fatal("no bit was changed")
	}
	msg, err := wire.Decode(set)
	if err != nil {
		t.Fatalf("with its reserved bits set the message does not decode: %v", err)
	}
	if again, err := msg.Append(nil); err != nil || !bytes.Equal(again, b) {
		t.Errorf("encoded again, the message has reserved bits set, or does not encode: %v", err)
	}
}

// TestReservedOctetsOfIDAreKept: AUTH covers "RestOfInitIDPayload = IDType |
// RESERVED | InitIDData" (RFC 7296 section 2.15) as the peer sent it.
func TestReservedOctetsOfIDAreKept(t *testing.T) {
	body := unhex(t, "0b a1a2a3 646576696365")
	payloads, err := wire.DecodePayloads(wire.PayloadIDr, slices.Concat([]byte{0, 0, 0, 14}, body))
	if err != nil {
		t.Fatal(err)
	}
	if got := wire.Find[*wire.IDr](payloads).Octets(); !bytes.Equal(got, body) {
		t.Errorf("AUTH would cover %x, want %x", got, body)
	}
}

// TestUnknownCriticalPayload: "If the critical flag is set and the payload type
// is unrecognized, the message MUST be rejected", and the answer names the
// type. RFC 7296 section 2.5.
func TestUnknownCriticalPayload(t *testing.T) {
	for _, kind := range []wire.PayloadType{1, 13, 32, 49, 52, 54, 128, 255} {
		payloads := []wire.Payload{
			&wire.VendorID{Data: []byte("known")},
			&wire.Unknown{Type: kind, Critical: true, Body: []byte("what is this")},
		}
		_, b, err := wire.AppendPayloads(nil, payloads)
		if err != nil {
			t.Fatal(err)
		}
		_, err = wire.DecodePayloads(wire.PayloadVendor, b)
		wantError(t, err, wire.UnsupportedCriticalPayload, kind, 9)
	}
}

// TestUnknownPayload: "If the critical flag is not set and the payload type is
// unsupported, that payload MUST be ignored." RFC 7296 section 2.5.
func TestUnknownPayload(t *testing.T) {
	_, b, err := wire.AppendPayloads(nil, []wire.Payload{
		&wire.Unknown{Type: 200, Body: []byte("later")},
		&wire.VendorID{Data: []byte("known")},
	})
	if err != nil {
		t.Fatal(err)
	}
	payloads, err := wire.DecodePayloads(200, b)
	if err != nil || len(payloads) != 2 || wire.Find[*wire.VendorID](payloads) == nil {
		t.Fatalf("behind an unknown payload there are %d payloads, %v, want 2", len(payloads), err)
	}
	if u := wire.Find[*wire.Unknown](payloads); u.Type != 200 || string(u.Body) != "later" {
		t.Errorf("the unknown payload is kept as %v %q, want type 200 and its body", u.Type, u.Body)
	}
}

// TestKnownPayloadMarkedCritical: the bit "MUST be ignored by the recipient if
// the recipient understands the payload type code". RFC 7296 section 3.2.
func TestKnownPayloadMarkedCritical(t *testing.T) {
	if _, err := wire.DecodePayloads(wire.PayloadVendor, unhex(t, "00800005 41")); err != nil {
		t.Errorf("a critical Vendor ID payload is refused: %v", err)
	}
}

// TestStrictPrefixes: no message that lost its end is accepted, nor one that
// got something behind it.
func TestStrictPrefixes(t *testing.T) {
	for _, c := range conversations(t) {
		for _, m := range c.messages {
			for _, d := range m.datagrams {
				for n := range d {
					if _, err := wire.Decode(d[:n]); err == nil {
						t.Errorf("%s: its first %d octets decode", m.log, n)
					}
				}
				if _, err := wire.Decode(append(bytes.Clone(d), 0)); err == nil {
					t.Errorf("%s: it decodes with an octet behind it", m.log)
				}
			}
		}
	}
}

// TestStrictPrefixesOfContents is the same for what was encrypted, where no
// length of the whole helps.
func TestStrictPrefixesOfContents(t *testing.T) {
	for _, c := range conversations(t) {
		for _, m := range c.messages {
			_, payloads := read(t, c.suite, m)
			first, b, err := wire.AppendPayloads(nil, payloads)
			if err != nil {
				t.Fatal(err)
			}
			for n := range b {
				if _, err := wire.DecodePayloads(first, b[:n]); err == nil {
					t.Errorf("%s: the first %d octets of its contents decode", m.log, n)
				}
			}
			if _, err := wire.DecodePayloads(first, append(b, 0)); err == nil {
				t.Errorf("%s: its contents decode with an octet behind them", m.log)
			}
		}
	}
}

// TestErrorsNameTheSpot: whoever reads the log can find the octet.
func TestErrorsNameTheSpot(t *testing.T) {
	b := firstDatagram(t)
	_, err := wire.Decode(put16(b, 34, 0xffff)) // length of the first proposal
	wantError(t, err, wire.InvalidSyntax, wire.PayloadSA, 28)
	const want = "wire: parse SA payload at offset 28: octet 0: proposal: length 65535 with"
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error says %q, want %q", err, want)
	}
	sa := int(b[30])<<8 | int(b[31])
	ke := 28 + sa
	_, err = wire.Decode(put16(b, ke+2, 7)) // too short for its own fields
	wantError(t, err, wire.InvalidSyntax, wire.PayloadKE, ke)
	_, err = wire.Decode(put16(b, ke+2, 3)) // too short for any payload
	wantError(t, err, wire.InvalidSyntax, wire.PayloadKE, ke)
	_, err = wire.Decode(b[:27])
	wantError(t, err, wire.InvalidSyntax, wire.PayloadNone, 0)
	_, err = wire.Decode(b[:28])
	wantError(t, err, wire.InvalidSyntax, wire.PayloadNone, 24)
	const wantHeader = "wire: parse header at offset 24: length 296 in a datagram of 28 octets"
	if err == nil || err.Error() != wantHeader {
		t.Errorf("the error says %q, want %q", err, wantHeader)
	}
}

// TestDecodedSlicesAliasTheInput holds what the package documentation promises,
// and that nobody can write past a slice into its neighbour.
func TestDecodedSlicesAliasTheInput(t *testing.T) {
	b := unhex(t, "29000008 41424344 0000000c 03044009 01020304")
	payloads, err := wire.DecodePayloads(wire.PayloadVendor, b)
	if err != nil {
		t.Fatal(err)
	}
	v := wire.Find[*wire.VendorID](payloads)
	_ = append(v.Data, "!!!!"...)
	n := wire.FindNotify(payloads, wire.RekeySA)
	if spi, ok := n.ESPSPI(); !ok || spi != 0x01020304 || b[8] != 0 {
		t.Errorf("appending to one payload changed the next one")
	}
	b[4] = 'Z'
	if string(v.Data) != "ZBCD" {
		t.Errorf("the Vendor ID is %q after the input changed, want ZBCD", v.Data)
	}
}

// TestFindNothing: what is not there is nil.
func TestFindNothing(t *testing.T) {
	if p := wire.Find[*wire.KE](nil); p != nil {
		t.Errorf("no payloads hold a KE payload %v", p)
	}
	if n := wire.FindNotify([]wire.Payload{&wire.Notify{Type: wire.Cookie}}, wire.RekeySA); n != nil {
		t.Errorf("a COOKIE was found as %v", n.Type)
	}
}

// TestMessageTooLong: a message fits into a UDP datagram or is not encoded.
func TestMessageTooLong(t *testing.T) {
	half := &wire.VendorID{Data: make([]byte, 40000)}
	msg := wire.Message{Payloads: []wire.Payload{half, half}}
	if _, err := msg.Append(nil); err == nil {
		t.Errorf("a message of more than %d octets is encoded", wire.MaxMessage)
	}
	msg.Payloads = []wire.Payload{&wire.VendorID{Data: make([]byte, 1<<16)}}
	if _, err := msg.Append(nil); err == nil {
		t.Errorf("a payload of more than %d octets is encoded", 1<<16-1)
	}
}

// TestOfferLeavesOutUnknownAttributes: "if the responder receives [...] a
// transform [...] that contains a Transform Attribute it does not understand,
// it MUST consider this transform unacceptable; other transforms with the same
// Transform Type are processed as usual." RFC 7296 section 3.3.6.
func TestOfferLeavesOutUnknownAttributes(t *testing.T) {
	strange := func(tr ipsec.Transform) wire.Transform {
		return wire.Transform{Transform: tr, Attributes: []wire.Attribute{{Type: 99, Short: true, Value: []byte{0, 1}}}}
	}
	aes128 := ipsec.Transform{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 128}
	aes256 := ipsec.Transform{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESCBC), KeyBits: 256}
	group := ipsec.Transform{Type: ipsec.TypeKE, ID: uint16(ipsec.GroupX25519)}

	p := wire.Proposal{Transforms: []wire.Transform{strange(aes128), {Transform: aes256}}}
	if offer, ok := p.Offer(); !ok || !slices.Equal(offer.Transforms, []ipsec.Transform{aes256}) {
		t.Errorf("the offer is %v (%v), want aes256 alone", offer, ok)
	}
	// Without the only key exchange method, the proposal would read as one
	// that asks for none.
	p = wire.Proposal{Transforms: []wire.Transform{{Transform: aes256}, strange(group)}}
	if offer, ok := p.Offer(); ok {
		t.Errorf("a proposal whose key exchange cannot be understood is acceptable as %v", offer)
	}
}

func wantError(t *testing.T, err error, notify wire.NotifyType, payload wire.PayloadType, offset int) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Errorf("the error is %v, want %v in %v payload at offset %d", err, notify, payload, offset)
		return
	}
	if e.Notify != notify || e.Payload != payload || e.Offset != offset {
		t.Errorf("%v: it asks for %v in %v payload at offset %d, want %v in %v payload at offset %d",
			err, e.Notify, e.Payload, e.Offset, notify, payload, offset)
	}
}
