package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/v1/wire"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everything is a message with each payload that has a type.
func everything() wire.Message {
	return wire.Message{
		Header: wire.Header{CookieI: 1, CookieR: 2, Major: 1, Exchange: wire.MainMode, MessageID: 7},
		Payloads: []wire.Payload{
			&wire.SA{Proposals: []wire.Proposal{
				{Number: 1, Protocol: wire.ProtocolISAKMP, SPI: []byte{}, Transforms: []wire.Transform{
					{Number: 1, ID: 1, Attributes: []wire.Attribute{wire.Number(1, 7), wire.Number(12, 1<<16)}},
					{Number: 2, ID: 1},
				}},
				{Number: 2, Protocol: wire.ProtocolESP, SPI: wire.SPIBytes(0x1234), Transforms: []wire.Transform{{Number: 1, ID: 12}}},
			}},
			&wire.KE{Data: []byte("public")},
			&wire.Nonce{Data: bytes.Repeat([]byte{9}, 16)},
			&wire.ID{Kind: wire.IDFQDN, Proto: 17, Port: 500, Data: []byte("a.example")},
			&wire.Hash{Data: []byte("hash")},
			&wire.Notify{Protocol: wire.ProtocolISAKMP, SPI: wire.Cookies(1, 2), Kind: wire.RUThere, Data: []byte{0, 0, 0, 1}},
			&wire.Delete{Protocol: wire.ProtocolESP, SPIs: [][]byte{wire.SPIBytes(1), wire.SPIBytes(2)}},
			&wire.VendorID{Data: []byte("vendor")},
			&wire.Config{Kind: wire.CFGSet, Identifier: 3, Attributes: []wire.Attribute{{Type: wire.XAuthUserName, Value: []byte("alice")}}},
			&wire.NATD{Data: []byte("digest")},
			&wire.NATOA{Addr: netip.MustParseAddr("192.0.2.1")},
			&wire.NATOA{Addr: netip.MustParseAddr("2001:db8::1")},
			&wire.Unknown{Of: wire.PayloadCertReq, Data: []byte{4}},
		},
	}
}

func encode(t testing.TB, m wire.Message) []byte {
	t.Helper()
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	m := everything()
	b := encode(t, m)
	got, err := wire.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	sa := wire.Find[*wire.SA](got.Payloads)
	raw, err := wire.Body(m.Payloads[0])
	if err != nil || !bytes.Equal(sa.Raw, raw) {
		t.Errorf("the body of SA is %x, want %x as it was sent", sa.Raw, raw)
	}
	sa.Raw = nil
	for i, p := range got.Payloads {
		if fmt.Sprintf("%+v", p) != fmt.Sprintf("%+v", m.Payloads[i]) {
			t.Errorf("a %v payload came back as %+v, it was %+v", p.Type(), p, m.Payloads[i])
		}
	}
	if again := encode(t, got); !bytes.Equal(again, b) {
		t.Errorf("encoded again the message is\n%x, it was\n%x", again, b)
	}
	f := wire.Message{Payloads: []wire.Payload{&wire.Fragment{ID: 1, Number: 2, Last: true, Data: []byte("part")}}}
	if got, err := wire.Decode(encode(t, f)); err != nil || !reflect.DeepEqual(got.Payloads, f.Payloads) {
		t.Errorf("a fragment came back as %+v with %v", got.Payloads, err)
	}
}

// TestEveryPrefixIsRejected: of a message in the clear, with its length as it was
// and made to fit, and of a chain.
func TestEveryPrefixIsRejected(t *testing.T) {
	m := everything()
	b := encode(t, m)
	for n := range b {
		if _, err := wire.Decode(b[:n]); err == nil {
			t.Fatalf("the first %d of %d octets are a message", n, len(b))
		}
		if n < wire.HeaderLen {
			continue
		}
		cut := bytes.Clone(b[:n])
		binary.BigEndian.PutUint32(cut[24:], uint32(n))
		if _, err := wire.Decode(cut); err == nil {
			t.Fatalf("the first %d of %d octets are a message when its length says so", n, len(b))
		}
	}
	first, chain, err := wire.AppendChain(nil, m.Payloads)
	if err != nil {
		t.Fatal(err)
	}
	for n := range chain {
		if _, err := wire.DecodeChain(first, chain[:n]); err == nil {
			t.Fatalf("the first %d of %d octets are a chain", n, len(chain))
		}
	}
}

func TestChain(t *testing.T) {
	payloads := []wire.Payload{&wire.Hash{Data: []byte("0123456789")}, &wire.Nonce{Data: make([]byte, 8)}, &wire.VendorID{}}
	_, rest, err := wire.AppendChain(nil, payloads[1:])
	if err != nil {
		t.Fatal(err)
	}
	first, b, err := wire.AppendChain(nil, payloads)
	if err != nil {
		t.Fatal(err)
	}
	for _, padding := range []int{0, 1, 15, wire.MaxPadding} {
		c, err := wire.DecodeChain(first, append(bytes.Clone(b), make([]byte, padding)...))
		if err != nil || len(c.Payloads) != 3 || !bytes.Equal(c.AfterFirst, rest) {
			t.Errorf("with %d octets of padding: %d payloads, %x behind the first, %v; want 3 and %x", padding, len(c.Payloads), c.AfterFirst, err, rest)
		}
	}
	if _, err := wire.DecodeChain(first, append(b, make([]byte, wire.MaxPadding+1)...)); err == nil {
		t.Error("more padding than the limit is accepted")
	}
	if _, err := wire.DecodeChain(wire.PayloadNone, nil); err == nil {
		t.Error("a chain without payloads is accepted")
	}
}

func TestHeader(t *testing.T) {
	good := encode(t, wire.Message{Header: wire.Header{CookieI: 5}, Payloads: []wire.Payload{&wire.VendorID{}}})
	for _, tt := range []struct {
		name   string
		change func([]byte)
		want   wire.NotifyType
	}{
		{"version 2", func(b []byte) { b[17] = 0x20 }, wire.InvalidMajorVersion},
		{"version 0", func(b []byte) { b[17] = 0 }, wire.InvalidMajorVersion},
		{"another length", func(b []byte) { b[27]++ }, wire.UnequalPayloadLengths},
		{"a reserved octet", func(b []byte) { b[29] = 1 }, wire.PayloadMalformed},
		{"encryption of nothing", func(b []byte) { b[16], b[19] = 0, 1 }, wire.PayloadMalformed},
	} {
		b := bytes.Clone(good)
		tt.change(b)
		_, err := wire.Decode(b)
		var bad *wire.Error
		if !errors.As(err, &bad) || bad.Notify != tt.want {
			t.Errorf("%s: the error is %v, want one that says %v", tt.name, err, tt.want)
		}
	}
	good[19] = 0xff
	m, err := wire.Decode(good)
	if err != nil || m.Header.Flags != wire.FlagEncryption|wire.FlagCommit|wire.FlagAuthOnly || len(m.Sealed) != 4 {
		t.Errorf("an encrypted message is %+v with %v, want its ciphertext and the known flags", m, err)
	}
}

func TestMalformedPayloads(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind wire.PayloadType
		body string
	}{
		{"SA without a situation", wire.PayloadSA, "00000001"},
		{"SA without a proposal", wire.PayloadSA, "0000000100000001"},
		{"SA with a proposal that has no transform", wire.PayloadSA, "0000000100000001 00000008 01010000"},
		{"SA whose only proposal announces another", wire.PayloadSA, "0000000100000001 02000010 01010001 00000008 01010000"},
		{"SA whose proposal is followed by something else", wire.PayloadSA, "0000000100000001 05000010 01010001 00000008 01010000"},
		{"SA with octets behind it", wire.PayloadSA, "0000000100000001 00000010 01010001 00000008 01010000 00"},
		{"proposal shorter than its SPI", wire.PayloadSA, "0000000100000001 00000010 01030901 00000008 01010000"},
		{"more transforms than announced", wire.PayloadSA, "0000000100000001 00000018 01010001 03000008 01010000 00000008 02010000"},
		{"fewer transforms than announced", wire.PayloadSA, "0000000100000001 00000010 01010002 00000008 01010000"},
		{"transform longer than its proposal", wire.PayloadSA, "0000000100000001 00000010 01010001 00000009 01010000"},
		{"attribute cut short", wire.PayloadSA, "0000000100000001 00000012 01010001 0000000a 01010000 8001"},
		{"attribute longer than its transform", wire.PayloadSA, "0000000100000001 00000014 01010001 0000000c 01010000 00010001"},
		{"nonce of 7 octets", wire.PayloadNonce, "01020304050607"},
		{"nonce of 257 octets", wire.PayloadNonce, strings.Repeat("00", 257)},
		{"identity without its head", wire.PayloadID, "010000"},
		{"notification without a type", wire.PayloadNotify, "00000001010000"},
		{"notification shorter than its SPI", wire.PayloadNotify, "0000000101040001010203"},
		{"deletion of nothing", wire.PayloadDelete, "0000000103040000"},
		{"deletion of SPIs without octets", wire.PayloadDelete, "0000000103000001"},
		{"deletion of fewer SPIs than announced", wire.PayloadDelete, "000000010304000200000001"},
		{"NAT-OA of no known type", wire.PayloadNATOA, "0200000001020304"},
		{"NAT-OA of an IPv6 address in four octets", wire.PayloadNATOA, "0500000001020304"},
		{"attributes without their head", wire.PayloadConfig, "010000"},
		{"fragment number 0", wire.PayloadFragment, "00010000"},
		{"fragment without its head", wire.PayloadFragment, "000101"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			body := unhex(t, tt.body)
			b := append([]byte{0, 0, byte((4 + len(body)) >> 8), byte(4 + len(body))}, body...)
			_, err := wire.DecodeChain(tt.kind, b)
			var bad *wire.Error
			if !errors.As(err, &bad) || bad.Payload != tt.kind || bad.Notify != wire.PayloadMalformed {
				t.Errorf("the error is %v, want one about the %v payload", err, tt.kind)
			}
		})
	}
}

// TestOtherDomains: RFC 2408 section 5.4 has notifications of their own for them.
func TestOtherDomains(t *testing.T) {
	for body, want := range map[string]wire.NotifyType{
		"0000000200000001": wire.DOINotSupported,
		"0000000100000002": wire.SituationNotSupported,
	} {
		_, err := wire.DecodeChain(wire.PayloadSA, append([]byte{0, 0, 0, 12}, unhex(t, body)...))
		var bad *wire.Error
		if !errors.As(err, &bad) || bad.Notify != want {
			t.Errorf("SA %s: the error is %v, want one that says %v", body, err, want)
		}
	}
}

// TestLimits: as many as a limit are encoded and decoded, one more is neither.
func TestLimits(t *testing.T) {
	sa := func(proposals, transforms, attributes int) wire.Payload {
		tr := wire.Transform{Attributes: slices.Repeat([]wire.Attribute{wire.Number(1, 1)}, attributes)}
		p := wire.Proposal{Transforms: slices.Repeat([]wire.Transform{tr}, transforms)}
		return &wire.SA{Proposals: slices.Repeat([]wire.Proposal{p}, proposals)}
	}
	for name, make := range map[string]func(more int) []wire.Payload{
		"payloads":   func(n int) []wire.Payload { return slices.Repeat([]wire.Payload{&wire.VendorID{}}, wire.MaxPayloads+n) },
		"proposals":  func(n int) []wire.Payload { return []wire.Payload{sa(wire.MaxProposals+n, 1, 0)} },
		"transforms": func(n int) []wire.Payload { return []wire.Payload{sa(1, wire.MaxTransforms+n, 0)} },
		"attributes": func(n int) []wire.Payload { return []wire.Payload{sa(1, 1, wire.MaxAttributes+n)} },
		"deleted SPIs": func(n int) []wire.Payload {
			return []wire.Payload{&wire.Delete{SPIs: slices.Repeat([][]byte{{1}}, wire.MaxDeleteSPIs+n)}}
		},
	} {
		first, b, err := wire.AppendChain(nil, make(0))
		if err != nil {
			t.Errorf("as many %s as the limit are not encoded: %v", name, err)
		} else if _, err := wire.DecodeChain(first, b); err != nil {
			t.Errorf("as many %s as the limit are refused: %v", name, err)
		}
		if _, _, err := wire.AppendChain(nil, make(1)); err == nil {
			t.Errorf("more %s than the limit are encoded", name)
		}
	}
	many := bytes.Repeat([]byte{byte(wire.PayloadVendor), 0, 0, 4}, wire.MaxPayloads+1)
	many[len(many)-4] = 0
	if _, err := wire.DecodeChain(wire.PayloadVendor, many); err == nil {
		t.Error("more payloads than the limit are decoded")
	}
}

func TestEncodeRefuses(t *testing.T) {
	long := make([]byte, 1<<16)
	for name, p := range map[string]wire.Payload{
		"an SA without proposals":        &wire.SA{},
		"a proposal without transforms":  &wire.SA{Proposals: make([]wire.Proposal, 1)},
		"an attribute type of 16 bits":   &wire.Config{Attributes: []wire.Attribute{{Type: 0x8000}}},
		"a short attribute of 3 octets":  &wire.Config{Attributes: []wire.Attribute{{Short: true, Value: long[:3]}}},
		"a nonce of 7 octets":            &wire.Nonce{Data: long[:7]},
		"a KE of 64 KiB":                 &wire.KE{Data: long},
		"an SPI of 256 octets":           &wire.Notify{SPI: long[:256]},
		"a deletion of nothing":          &wire.Delete{},
		"a deletion of unequal SPIs":     &wire.Delete{SPIs: [][]byte{{1}, {1, 2}}},
		"a NAT-OA without an address":    &wire.NATOA{},
		"fragment number 0":              &wire.Fragment{},
		"an unknown payload of type 0":   &wire.Unknown{},
		"an unknown payload that is one": &wire.Unknown{Of: wire.PayloadKE},
	} {
		if _, b, err := wire.AppendChain(nil, []wire.Payload{p}); err == nil {
			t.Errorf("%s is encoded as %d octets", name, len(b))
		}
	}
	m := wire.Message{Payloads: []wire.Payload{&wire.KE{Data: long[:1<<15]}, &wire.KE{Data: long[:1<<15]}}}
	if _, err := m.Append(nil); err == nil {
		t.Error("a message of more than 64 KiB is encoded")
	}
}

func TestSelectors(t *testing.T) {
	for _, tt := range []struct{ selector, id string }{
		{"10.0.0.1/32", "01000000 0a000001"},
		{"10.0.0.0/8", "04000000 0a000000 ff000000"},
		{"0.0.0.0/0", "04000000 00000000 00000000"},
		{"2001:db8::1/128", "05000000 20010db8000000000000000000000001"},
		{"2001:db8::/32", "06000000 20010db8000000000000000000000000 ffffffff000000000000000000000000"},
	} {
		want := ipsec.SelectorOf(netip.MustParsePrefix(tt.selector))
		id, err := wire.SelectorID(want)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := wire.Body(id); err != nil || !bytes.Equal(b, unhex(t, tt.id)) {
			t.Errorf("%s is %x on the wire, want %s", tt.selector, b, tt.id)
		}
		if got, err := id.Selector(); err != nil || got != want {
			t.Errorf("%s came back as %v with %v", tt.selector, got, err)
		}
	}
	ranged := ipsec.TrafficSelector{Proto: 6, PortMin: 80, PortMax: 80, Min: netip.MustParseAddr("10.0.0.1"), Max: netip.MustParseAddr("10.0.0.6")}
	id, err := wire.SelectorID(ranged)
	if err != nil || id.Kind != wire.IDIPv4Range || id.Port != 80 {
		t.Errorf("a range is %+v with %v", id, err)
	}
	if got, err := id.Selector(); err != nil || got != ranged {
		t.Errorf("a range came back as %v with %v", got, err)
	}
	ranged.PortMax = 90
	if _, err := wire.SelectorID(ranged); err == nil {
		t.Error("a range of ports is written, which IKEv1 cannot")
	}
	for name, body := range map[string]string{
		"a name":                         "02000000 61",
		"an address of 3 octets":         "01000000 0a0000",
		"a subnet without a mask":        "04000000 0a000000",
		"a mask with a hole":             "04000000 0a000000 ff00ff00",
		"a range that ends before":       "07000000 0a000002 0a000001",
		"an IPv6 subnet of an IPv4 size": "06000000 0a000000 ff000000",
	} {
		id, err := wire.ParseID(unhex(t, body))
		if err != nil {
			t.Fatal(err)
		}
		if s, err := id.Selector(); err == nil {
			t.Errorf("%s selects %v", name, s)
		}
	}
}

func TestAttributes(t *testing.T) {
	for v, short := range map[uint32]bool{0: true, 1: true, 1<<16 - 1: true, 1 << 16: false, 1<<32 - 1: false} {
		a := wire.Number(12, v)
		if got, ok := a.Uint(); !ok || got != uint64(v) || a.Short != short {
			t.Errorf("the attribute of %d is %+v, which is %d", v, a, got)
		}
	}
	if _, ok := (wire.Attribute{Value: make([]byte, 9)}).Uint(); ok {
		t.Error("an attribute of nine octets is a number")
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"main mode": wire.MainMode, "aggressive mode": wire.Aggressive, "quick mode": wire.QuickMode,
		"informational": wire.Informational, "transaction": wire.Transaction, "exchange(33)": wire.ExchangeType(33),
		"SA": wire.PayloadSA, "NAT-OA": wire.PayloadNATOA, "type 99": wire.PayloadType(99), "no": wire.PayloadNone,
		"ESP": wire.ProtocolESP, "ISAKMP": wire.ProtocolISAKMP, "AH": wire.ProtocolAH, "protocol(9)": wire.Protocol(9),
		"R-U-THERE": wire.RUThere, "NO-PROPOSAL-CHOSEN": wire.NoProposalChosen, "NOTIFY(99)": wire.NotifyType(99),
	} {
		if got.String() != want {
			t.Errorf("a name is %q, want %q", got, want)
		}
	}
	if wire.RUThere.IsError() || !wire.NoProposalChosen.IsError() {
		t.Error("errors and statuses are mixed up")
	}
}
