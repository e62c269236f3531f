package wire_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// TestBadSyntax feeds each payload's parser what its lengths, counts and ranges
// forbid. The bodies come without the generic header.
func TestBadSyntax(t *testing.T) {
	nonce := func(n int) string { return strings.Repeat("00", n) }
	for _, tt := range []struct {
		name string
		kind wire.PayloadType
		body string
	}{
		{"SA without a proposal", wire.PayloadSA, ""},
		{"proposal cut short", wire.PayloadSA, "00000008 010100"},
		{"proposal shorter than its header", wire.PayloadSA, "00000007 01010000"},
		{"proposal longer than the payload", wire.PayloadSA, "00000011 01010001 00000008 03000002"},
		{"proposal without a transform", wire.PayloadSA, "00000008 01010000"},
		{"SPI longer than its proposal", wire.PayloadSA, "00000010 0103ff01 00000008 03000002"},
		{"last proposal that announces another", wire.PayloadSA, "02000010 01010001 00000008 03000002"},
		{"first proposal of two that is the last", wire.PayloadSA, "00000010 01010001 00000008 03000002 00000010 02010001 00000008 03000002"},
		{"fewer transforms than announced", wire.PayloadSA, "00000010 01010002 00000008 03000002"},
		{"more transforms than announced", wire.PayloadSA, "00000018 01010001 03000008 03000002 00000008 02000002"},
		{"last transform that announces another", wire.PayloadSA, "00000010 01010001 03000008 03000002"},
		{"transform shorter than its header", wire.PayloadSA, "00000010 01010001 00000007 03000002"},
		{"transform longer than its proposal", wire.PayloadSA, "00000010 01010001 00000009 03000002"},
		{"attribute cut short", wire.PayloadSA, "00000013 01010001 0000000b 0100000c 800e00"},
		{"attribute longer than its transform", wire.PayloadSA, "00000014 01010001 0000000c 0100000c 000e0001"},
		{"KE without its reserved octets", wire.PayloadKE, "001f00"},
		{"IDi without its reserved octets", wire.PayloadIDi, "020000"},
		{"IDr without its reserved octets", wire.PayloadIDr, "020000"},
		{"AUTH without its reserved octets", wire.PayloadAuth, "020000"},
		{"CERT without encoding", wire.PayloadCert, ""},
		{"CERTREQ without encoding", wire.PayloadCertReq, ""},
		{"nonce of 15 octets", wire.PayloadNonce, nonce(15)},
		{"nonce of 257 octets", wire.PayloadNonce, nonce(257)},
		{"notification without a type", wire.PayloadNotify, "000040"},
		{"notification shorter than its SPI", wire.PayloadNotify, "03044009 010203"},
		{"Delete cut short", wire.PayloadDelete, "010000"},
		{"Delete of IKE with an SPI length", wire.PayloadDelete, "01080000"},
		{"Delete of IKE with a count", wire.PayloadDelete, "01000001"},
		{"Delete of ESP with SPIs of 8 octets", wire.PayloadDelete, "03080001 0000000000000001"},
		{"Delete of ESP with fewer SPIs than announced", wire.PayloadDelete, "03040002 00000001"},
		{"Delete of ESP with more SPIs than announced", wire.PayloadDelete, "03040001 00000001 00000002"},
		{"TSi without a selector", wire.PayloadTSi, "00000000"},
		{"TSr with fewer selectors than announced", wire.PayloadTSr, "02000000 07000010 0000ffff 0a000000 0a0000ff"},
		{"TSr with more selectors than announced", wire.PayloadTSr, "01000000 07000010 0000ffff 0a000000 0a0000ff 00"},
		{"selector shorter than its header", wire.PayloadTSi, "01000000 09000003"},
		{"selector longer than the payload", wire.PayloadTSi, "01000000 09000005"},
		{"IPv4 selector of an IPv6 one's length", wire.PayloadTSi, "01000000 07000028 0000ffff" + nonce(32)},
		{"IPv6 selector of an IPv4 one's length", wire.PayloadTSi, "01000000 08000010 0000ffff 0a000000 0a0000ff"},
		{"selector that ends before it starts", wire.PayloadTSi, "01000000 07000010 0000ffff 0a000001 0a000000"},
		{"selector whose ports end before they start", wire.PayloadTSi, "01000000 07000010 00500049 0a000000 0a0000ff"},
		{"CP cut short", wire.PayloadCP, "010000"},
		{"CP with half an attribute", wire.PayloadCP, "01000000 000100"},
		{"CP attribute longer than the payload", wire.PayloadCP, "01000000 00010004 0a0000"},
		{"EAP without a header", wire.PayloadEAP, "010203"},
		{"EAP longer than its length", wire.PayloadEAP, "03010004 00"},
		{"EAP shorter than its length", wire.PayloadEAP, "03010005"},
		{"SK inside SK", wire.PayloadSK, "00000000"},
		{"SKF inside SK", wire.PayloadSKF, "00010001 00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodePayloads(tt.kind, payload(unhex(t, tt.body)))
			wantError(t, err, wire.InvalidSyntax, tt.kind, 0)
		})
	}
}

// TestLimits: what the network can make large has a limit, and one more is
// refused.
func TestLimits(t *testing.T) {
	vendors := slices.Repeat([]wire.Payload{&wire.VendorID{}}, wire.MaxPayloads)
	proposal := func(transforms int) wire.Proposal {
		return wire.NewProposal(1, wire.ProtocolIKE, nil, ipsec.Proposal{Transforms: make([]ipsec.Transform, transforms)})
	}
	sa := func(proposals, transforms int) wire.Payload {
		return &wire.SA{Proposals: slices.Repeat([]wire.Proposal{proposal(transforms)}, proposals)}
	}
	spis := func(n int) wire.Payload { return &wire.Delete{Protocol: wire.ProtocolESP, SPIs: make([]ipsec.SPI, n)} }
	selectors := func(n int) wire.Payload {
		return &wire.TSi{TS: wire.TS{Selectors: slices.Repeat([]ipsec.TrafficSelector{ipsec.AnySelector(false)}, n)}}
	}
	attributes := func(n int) wire.Payload {
		return &wire.SA{Proposals: []wire.Proposal{{Transforms: []wire.Transform{{
			Attributes: slices.Repeat([]wire.Attribute{{Type: 1, Value: []byte{1}}}, n),
		}}}}}
	}
	cp := func(n int) wire.Payload {
		return &wire.CP{Type: wire.CFGRequest, Attributes: make([]wire.ConfigAttribute, n)}
	}
	for _, tt := range []struct {
		name         string
		most, beyond []wire.Payload
	}{
		{"payloads", vendors, append(slices.Clone(vendors), &wire.VendorID{})},
		{"proposals", []wire.Payload{sa(wire.MaxProposals, 1)}, []wire.Payload{sa(wire.MaxProposals+1, 1)}},
		{"transforms", []wire.Payload{sa(4, wire.MaxTransforms/4)}, []wire.Payload{sa(4, wire.MaxTransforms/4+1)}},
		{"attributes", []wire.Payload{attributes(wire.MaxAttributes)}, []wire.Payload{attributes(wire.MaxAttributes + 1)}},
		{"deleted SPIs", []wire.Payload{spis(wire.MaxDeleteSPIs)}, []wire.Payload{spis(wire.MaxDeleteSPIs + 1)}},
		{"selectors", []wire.Payload{selectors(wire.MaxSelectors)}, []wire.Payload{selectors(wire.MaxSelectors + 1)}},
		{"configuration attributes", []wire.Payload{cp(wire.MaxConfigAttributes)}, []wire.Payload{cp(wire.MaxConfigAttributes + 1)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, b, err := wire.AppendPayloads(nil, tt.most)
			if err != nil {
				t.Fatalf("as many as the limit are not encoded: %v", err)
			}
			if _, err := wire.DecodePayloads(first, b); err != nil {
				t.Errorf("as many as the limit are refused: %v", err)
			}
			if _, _, err := wire.AppendPayloads(nil, tt.beyond); err == nil {
				t.Errorf("one more than the limit is encoded")
			}
		})
	}
}

// TestLimitsOnReceipt: the decoder holds the limits by itself, against octets
// that our encoder would not make.
func TestLimitsOnReceipt(t *testing.T) {
	chain := bytes.Repeat(append([]byte{byte(wire.PayloadVendor)}, 0, 0, 4), wire.MaxPayloads+1)
	chain[len(chain)-4] = 0
	const transform = "03000008 03000002"
	transforms := func(n int) []byte {
		b := bytes.Repeat(unhex(t, transform), n)
		b[len(b)-8] = 0
		return b
	}
	proposals := func(n, size int) []byte {
		one := append([]byte{2, 0, 0, 0, 1, 1, 0, byte(size)}, transforms(size)...)
		b := bytes.Repeat(put16(one, 2, uint16(len(one))), n)
		b[len(b)-len(one)] = 0
		return b
	}
	attributes := append([]byte{0, 0, 0, 0, 1, 0, 0, 12}, bytes.Repeat(unhex(t, "80630001"), wire.MaxAttributes+1)...)
	attributes = put16(attributes, 2, uint16(len(attributes)))
	attributes = append([]byte{0, 0, 0, byte(8 + len(attributes)), 1, 1, 0, 1}, attributes...)

	for _, tt := range []struct {
		name string
		kind wire.PayloadType
		b    []byte
		at   int
	}{
		{"payloads", wire.PayloadVendor, chain, 4 * wire.MaxPayloads},
		{"proposals", wire.PayloadSA, payload(proposals(wire.MaxProposals+1, 1)), 0},
		{"transforms", wire.PayloadSA, payload(proposals(3, wire.MaxTransforms/3+1)), 0},
		{"attributes", wire.PayloadSA, payload(attributes), 0},
		{"deleted SPIs", wire.PayloadDelete, payload(append(put16([]byte{3, 4, 0, 0}, 2, wire.MaxDeleteSPIs+1), make([]byte, 4*(wire.MaxDeleteSPIs+1))...)), 0},
		{"selectors", wire.PayloadTSi, payload(append([]byte{wire.MaxSelectors + 1, 0, 0, 0}, bytes.Repeat([]byte{9, 0, 0, 4}, wire.MaxSelectors+1)...)), 0},
		{"configuration attributes", wire.PayloadCP, payload(make([]byte, 4+4*(wire.MaxConfigAttributes+1))), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodePayloads(tt.kind, tt.b)
			wantError(t, err, wire.InvalidSyntax, tt.kind, tt.at)
		})
	}
}

// TestEncodeRefuses what has no encoding, instead of sending something else.
func TestEncodeRefuses(t *testing.T) {
	long := make([]byte, 256)
	valid := ipsec.AnySelector(true)
	for _, tt := range []struct {
		name string
		p    wire.Payload
	}{
		{"an SA without proposals", &wire.SA{}},
		{"a proposal without transforms", &wire.SA{Proposals: []wire.Proposal{{Number: 1}}}},
		{"a proposal with an SPI of 256 octets", &wire.SA{Proposals: []wire.Proposal{{SPI: long, Transforms: make([]wire.Transform, 1)}}}},
		{"a proposal with 256 transforms", &wire.SA{Proposals: []wire.Proposal{{Transforms: make([]wire.Transform, 256)}}}},
		{"an attribute type of 16 bits", &wire.SA{Proposals: []wire.Proposal{{Transforms: []wire.Transform{{Attributes: []wire.Attribute{{Type: 0x8001}}}}}}}},
		{"a short attribute of 3 octets", &wire.SA{Proposals: []wire.Proposal{{Transforms: []wire.Transform{{Attributes: []wire.Attribute{{Short: true, Value: long[:3]}}}}}}}},
		{"a nonce of 15 octets", &wire.Nonce{Data: long[:15]}},
		{"a notification with an SPI of 256 octets", &wire.Notify{SPI: long}},
		{"a Delete of IKE with SPIs", &wire.Delete{Protocol: wire.ProtocolIKE, SPIs: make([]ipsec.SPI, 1)}},
		{"TSr without selectors", &wire.TSr{}},
		{"an invalid selector", &wire.TSr{TS: wire.TS{Selectors: make([]ipsec.TrafficSelector, 1)}}},
		{"an unknown selector of a known type", &wire.TSi{TS: wire.TS{Selectors: []ipsec.TrafficSelector{valid}, Unknown: []wire.UnknownSelector{{Type: 7}}}}},
		{"an unknown selector of 64 KiB", &wire.TSi{TS: wire.TS{Unknown: []wire.UnknownSelector{{Body: make([]byte, 1<<16)}}}}},
		{"a configuration attribute type of 16 bits", &wire.CP{Attributes: []wire.ConfigAttribute{{Type: 0x8000}}}},
		{"an EAP message with a wrong length", &wire.EAP{Message: []byte{1, 2, 0, 9}}},
		{"an unknown payload of a known type", &wire.Unknown{Type: wire.PayloadKE}},
		{"an unknown payload of type 0", &wire.Unknown{}},
		{"an unknown payload of type SK", &wire.Unknown{Type: wire.PayloadSK}},
		{"an SK payload that was not decoded", &wire.SK{}},
		{"an SKF payload that was not decoded", &wire.SKF{Number: 1, Total: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, b, err := wire.AppendPayloads(nil, []wire.Payload{tt.p}); err == nil {
				t.Errorf("%s is encoded as %x", tt.name, b)
			}
		})
	}
}

// TestKeyLengthAttribute: only one non-zero key length in the short format is
// one; "A transform MUST NOT have multiple attributes of the same type" and
// fixed-length attributes "MUST NOT be encoded using the variable-length
// encoding". RFC 7296 sections 3.3 and 3.3.5.
func TestKeyLengthAttribute(t *testing.T) {
	for _, tt := range []struct {
		name, attributes string
		bits             uint16
		strange          int
	}{
		{"none", "", 0, 0},
		{"128 bits", "800e0080", 128, 0},
		{"zero bits", "800e0000", 0, 1},
		{"two of them", "800e0080 800e0100", 128, 1},
		{"with a length", "000e0002 0080", 0, 1},
		{"another attribute", "800e0100 80630001", 256, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attrs := unhex(t, tt.attributes)
			body := append([]byte{0, 0, 0, byte(16 + len(attrs)), 1, 1, 0, 1, 0, 0, 0, byte(8 + len(attrs)), 1, 0, 0, 12}, attrs...)
			payloads, err := wire.DecodePayloads(wire.PayloadSA, payload(body))
			if err != nil {
				t.Fatal(err)
			}
			tr := wire.Find[*wire.SA](payloads).Proposals[0].Transforms[0]
			if tr.KeyBits != tt.bits || len(tr.Attributes) != tt.strange {
				t.Errorf("the key has %d bits and the transform %d strange attributes, want %d and %d",
					tr.KeyBits, len(tr.Attributes), tt.bits, tt.strange)
			}
		})
	}
}

// TestOpaqueSelector: "to indicate 'OPAQUE' ports, but not 'ANY' ports, MUST
// set the start port to 65535 and the end port to 0": RFC 7296 section 3.13.1.
func TestOpaqueSelector(t *testing.T) {
	b := payload(unhex(t, "01000000 07110010 ffff0000 0a000000 0a0000ff"))
	payloads, err := wire.DecodePayloads(wire.PayloadTSi, b)
	if err != nil {
		t.Fatal(err)
	}
	wantSelectors(t, wire.Find[*wire.TSi](payloads).TS, "17:10.0.0.0-10.0.0.255:opaque")
}

// TestNames: every constant has its RFC's name, and no number is without one.
func TestNames(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"IKE_SA_INIT":                       wire.ExchangeType(34),
		"IKE_AUTH":                          wire.ExchangeType(35),
		"CREATE_CHILD_SA":                   wire.ExchangeType(36),
		"INFORMATIONAL":                     wire.ExchangeType(37),
		"EXCHANGE(240)":                     wire.ExchangeType(240),
		"SA":                                wire.PayloadType(33),
		"SK":                                wire.PayloadType(46),
		"SKF":                               wire.PayloadType(53),
		"no":                                wire.PayloadNone,
		"type 200":                          wire.PayloadType(200),
		"none":                              wire.ProtocolID(0),
		"IKE":                               wire.ProtocolID(1),
		"AH":                                wire.ProtocolID(2),
		"ESP":                               wire.ProtocolID(3),
		"PROTOCOL(9)":                       wire.ProtocolID(9),
		"RSA digital signature":             wire.AuthMethod(1),
		"shared key message integrity code": wire.AuthMethod(2),
		"DSS digital signature":             wire.AuthMethod(3),
		"digital signature":                 wire.AuthMethod(14),
		"authentication method 99":          wire.AuthMethod(99),
	} {
		if got.String() != want {
			t.Errorf("a name is %q, want %q", got, want)
		}
	}
}

// TestNotifyNames holds IANA's "IKEv2 Notify Message Types".
func TestNotifyNames(t *testing.T) {
	names := map[wire.NotifyType]string{
		1: "UNSUPPORTED_CRITICAL_PAYLOAD", 4: "INVALID_IKE_SPI", 5: "INVALID_MAJOR_VERSION",
		7: "INVALID_SYNTAX", 9: "INVALID_MESSAGE_ID", 11: "INVALID_SPI", 14: "NO_PROPOSAL_CHOSEN",
		17: "INVALID_KE_PAYLOAD", 24: "AUTHENTICATION_FAILED", 34: "SINGLE_PAIR_REQUIRED",
		35: "NO_ADDITIONAL_SAS", 36: "INTERNAL_ADDRESS_FAILURE", 37: "FAILED_CP_REQUIRED",
		38: "TS_UNACCEPTABLE", 39: "INVALID_SELECTORS", 43: "TEMPORARY_FAILURE", 44: "CHILD_SA_NOT_FOUND",
		16384: "INITIAL_CONTACT", 16385: "SET_WINDOW_SIZE", 16386: "ADDITIONAL_TS_POSSIBLE",
		16387: "IPCOMP_SUPPORTED", 16388: "NAT_DETECTION_SOURCE_IP", 16389: "NAT_DETECTION_DESTINATION_IP",
		16390: "COOKIE", 16391: "USE_TRANSPORT_MODE", 16392: "HTTP_CERT_LOOKUP_SUPPORTED", 16393: "REKEY_SA",
		16394: "ESP_TFC_PADDING_NOT_SUPPORTED", 16395: "NON_FIRST_FRAGMENTS_ALSO",
		16420: "IKEV2_MESSAGE_ID_SYNC_SUPPORTED", 16421: "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED",
		16422: "IKEV2_MESSAGE_ID_SYNC", 16423: "IPSEC_REPLAY_COUNTER_SYNC", 16430: "IKEV2_FRAGMENTATION_SUPPORTED",
	}
	for n := range 1 << 16 {
		got := wire.NotifyType(n)
		want, known := names[got]
		if !known {
			want = fmt.Sprintf("NOTIFY(%d)", n)
		}
		if got.String() != want {
			t.Errorf("notification %d is %q, want %q", n, got, want)
		}
		if got.IsError() != (n <= 16383) {
			t.Errorf("%v is an error: %v", got, got.IsError())
		}
	}
}

// payload puts the generic header of the last payload before body.
func payload(body []byte) []byte {
	return put16(append(make([]byte, 4), body...), 2, uint16(4+len(body)))
}
