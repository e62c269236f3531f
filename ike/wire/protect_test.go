package wire_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// sealed are the proposals that the tests protect messages with: every kind of
// IV, block and ICV length.
var sealed = []string{
	"aes128-sha1", "aes256-sha512", "aes192ctr-sha256", "3des-sha384",
	"aes128gcm-prfsha256", "aes256gcm8-prfsha512", "chacha20poly1305-prfsha256",
}

// TestSealAndOpen: what one end seals the other end opens.
func TestSealAndOpen(t *testing.T) {
	forEachSuite(t, func(t *testing.T, s wire.Sealer, o wire.Opener) {
		for _, m := range []wire.Message{goodbye(), auth(), {Header: auth().Header}} {
			b, err := m.Seal([]byte("before"), s)
			if err != nil {
				t.Fatal(err)
			}
			b, found := bytes.CutPrefix(b, []byte("before"))
			if !found {
				t.Fatal("sealing changed what was there before")
			}
			if n, err := m.SealedLen(s); err != nil || n != len(b) {
				t.Errorf("its length was foretold as %d, %v, it is %d", n, err, len(b))
			}
			msg, err := wire.Decode(b)
			if err != nil {
				t.Fatal(err)
			}
			plain, first := openSK(t, msg, o)
			got, err := wire.DecodePayloads(first, plain)
			if err != nil || !reflect.DeepEqual(got, m.Payloads) {
				t.Errorf("opened, it holds %v, %v, want %v", got, err, m.Payloads)
			}
			if h := msg.Header; h.Exchange != m.Header.Exchange || h.MessageID != m.Header.MessageID || h.Major != wire.MajorVersion {
				t.Errorf("the header is %+v, want that of %+v", h, m.Header)
			}
		}
	})
}

// TestOpenRefusesChanges: not one bit of a sealed message may be changed, those
// of the header and of the payload's header included.
func TestOpenRefusesChanges(t *testing.T) {
	forEachSuite(t, func(t *testing.T, s wire.Sealer, o wire.Opener) {
		m := goodbye()
		b, err := m.Seal(nil, s)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(b) {
			changed := bytes.Clone(b)
			changed[bit/8] ^= 1 << (bit % 8)
			msg, err := wire.Decode(changed)
			if err != nil {
				continue // a length, a version or the type of the payload
			}
			sk := wire.Find[*wire.SK](msg.Payloads)
			if sk == nil {
				continue // an unknown payload, which protects nothing
			}
			var syntax *wire.Error
			if _, err := sk.Open(o); err == nil || errors.As(err, &syntax) {
				t.Fatalf("with bit %d changed it opens, or blames the peer's syntax: %v", bit, err)
			}
		}
	})
}

// TestSealFragments: a message comes in datagrams that fit, all full but the
// last one, and is whole again when they are joined (RFC 7383 section 2.5).
func TestSealFragments(t *testing.T) {
	forEachSuite(t, func(t *testing.T, s wire.Sealer, o wire.Opener) {
		m := auth()
		for _, size := range []int{128, 255, 576 - 28, 1280 - 48, 4000} {
			datagrams, err := m.SealFragments(s, size)
			if err != nil {
				t.Fatal(err)
			}
			if first := wantJoined(t, datagrams, o, size, s.BlockLen()); !reflect.DeepEqual(first, m.Payloads) {
				t.Errorf("joined from fragments of %d octets the payloads are %v, want %v", size, first, m.Payloads)
			}
		}
	})
}

func wantJoined(t *testing.T, datagrams [][]byte, o wire.Opener, size, block int) []wire.Payload {
	t.Helper()
	var plain []byte
	var first wire.PayloadType
	for i, d := range datagrams {
		if len(d) > size || (i < len(datagrams)-1 && len(d) <= size-block) {
			t.Errorf("fragment %d of %d has %d octets, want about %d", i+1, len(datagrams), len(d), size)
		}
		msg, err := wire.Decode(d)
		if err != nil {
			t.Fatal(err)
		}
		f := wire.Find[*wire.SKF](msg.Payloads)
		if int(f.Number) != i+1 || int(f.Total) != len(datagrams) {
			t.Errorf("datagram %d of %d is fragment %d of %d", i+1, len(datagrams), f.Number, f.Total)
		}
		switch {
		case i == 0:
			first = f.First
		case f.First != wire.PayloadNone:
			t.Errorf("fragment %d names %v as its first payload, want none", i+1, f.First)
		}
		part, err := f.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		plain = append(plain, part...)
	}
	payloads, err := wire.DecodePayloads(first, plain)
	if err != nil {
		t.Fatal(err)
	}
	return payloads
}

// TestFragmentsAreNotInterchangeable: number and total are authenticated, so no
// fragment passes for another one.
func TestFragmentsAreNotInterchangeable(t *testing.T) {
	forEachSuite(t, func(t *testing.T, s wire.Sealer, o wire.Opener) {
		m := auth()
		datagrams, err := m.SealFragments(s, 200)
		if err != nil {
			t.Fatal(err)
		}
		const number, total = 32, 34
		for _, changed := range [][]byte{
			put16(datagrams[1], number, 1),
			put16(datagrams[1], total, uint16(len(datagrams)+1)),
		} {
			msg, err := wire.Decode(changed)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wire.Find[*wire.SKF](msg.Payloads).Open(o); !errors.Is(err, suite.ErrAuthentication) {
				t.Errorf("a renumbered fragment opens with %v, want %v", err, suite.ErrAuthentication)
			}
		}
	})
}

// TestSealFragmentsRefuses what cannot be: no room, or too many.
func TestSealFragmentsRefuses(t *testing.T) {
	s, _ := protectors(t, "aes128-sha1")
	m := auth()
	for _, size := range []int{-1, 0, 28, 64, 79} {
		if d, err := m.SealFragments(s, size); err == nil {
			t.Errorf("datagrams of %d octets make %d fragments, want an error", size, len(d))
		}
	}
	m.Payloads = []wire.Payload{&wire.VendorID{Data: make([]byte, 20000)}}
	if d, err := m.SealFragments(s, 128); err == nil {
		t.Errorf("a message makes %d fragments, want at most %d", len(d), wire.MaxFragments)
	}
}

// TestBadFragmentNumbers: numbers start at one, and none exceeds the total.
func TestBadFragmentNumbers(t *testing.T) {
	s, _ := protectors(t, "aes128gcm-prfsha256")
	m := goodbye()
	d, err := m.SealFragments(s, 500)
	if err != nil || len(d) != 1 {
		t.Fatalf("%d fragments, %v, want 1", len(d), err)
	}
	for _, tt := range []struct{ number, total uint16 }{{0, 0}, {0, 1}, {2, 1}, {1, wire.MaxFragments + 1}} {
		_, err := wire.Decode(put16(put16(d[0], 32, tt.number), 34, tt.total))
		wantError(t, err, wire.InvalidSyntax, wire.PayloadSKF, 28)
	}
}

// TestPadding: the recipient "MUST accept any length that results in proper
// alignment". RFC 7296 section 3.14. One that is longer than the contents is an
// error of an authenticated peer.
func TestPadding(t *testing.T) {
	s, o := protectors(t, "aes128-sha1")
	contents := []byte{0, 0, 0, 5, 'v'}
	for _, tt := range []struct{ pad, claim int }{{10, 10}, {26, 26}, {250, 250}, {10, 15}, {10, 14}, {10, 0}} {
		padded := append(bytes.Clone(contents), bytes.Repeat([]byte{0xee}, tt.pad)...)
		plain, err := reopen(t, s, o, append(padded, byte(tt.claim)))
		if want := padded[:max(0, len(padded)-tt.claim)]; err != nil || !bytes.Equal(plain, want) {
			t.Errorf("of %d octets of padding %d are claimed: %x, %v, want %x", tt.pad, tt.claim, plain, err, want)
		}
	}
	_, err := reopen(t, s, o, append(bytes.Clone(contents), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16))
	wantError(t, err, wire.InvalidSyntax, wire.PayloadSK, 28)
}

// reopen seals a plaintext that is already padded, and opens it.
func reopen(t *testing.T, s wire.Sealer, o wire.Opener, padded []byte) ([]byte, error) {
	t.Helper()
	m := wire.Message{Header: goodbye().Header}
	b, err := m.Seal(nil, s) // for its headers
	if err != nil {
		t.Fatal(err)
	}
	const body = wire.HeaderLen + 4
	b = append(b[:body:body], make([]byte, s.IVLen())...)
	b = append(append(b, padded...), make([]byte, s.ICVLen())...)
	b = put16(put16(b, 26, uint16(len(b))), body-2, uint16(len(b)-wire.HeaderLen))
	b[wire.HeaderLen] = byte(wire.PayloadVendor)
	if err := s.Seal(b, body); err != nil {
		t.Fatal(err)
	}
	msg, err := wire.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return wire.Find[*wire.SK](msg.Payloads).Open(o)
}

// TestPayloadBehindSK: "The Encrypted payload, if present in a message, MUST be
// the last payload in the message." RFC 7296 section 3.14.
func TestPayloadBehindSK(t *testing.T) {
	s, _ := protectors(t, "aes128gcm-prfsha256")
	m := goodbye()
	b, err := m.Seal(nil, s)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, 0, 0, 0, 5, 'v')
	_, err = wire.Decode(put16(b, 26, uint16(len(b))))
	wantError(t, err, wire.InvalidSyntax, wire.PayloadSK, 28)

	msg, err := wire.Decode(b[:len(b)-5])
	if err != nil {
		t.Fatal(err)
	}
	msg.Payloads = append(msg.Payloads, &wire.VendorID{Data: []byte("v")})
	if _, err := msg.Append(nil); err == nil {
		t.Errorf("a payload is encoded behind an SK payload")
	}
}

// TestPayloadBeforeSK: what stands before SK is covered by its ICV.
func TestPayloadBeforeSK(t *testing.T) {
	s, o := protectors(t, "aes128gcm-prfsha256")
	const body = wire.HeaderLen + 5 + 4
	m := wire.Message{Header: goodbye().Header, Payloads: []wire.Payload{&wire.VendorID{Data: []byte("v")}}}
	b, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b[wire.HeaderLen] = byte(wire.PayloadSK)
	b = append(b, 0, 0, 0, byte(4+s.IVLen()+1+s.ICVLen()))
	b = append(b, make([]byte, s.IVLen()+1+s.ICVLen())...)
	b = put16(b, 26, uint16(len(b)))
	if err := s.Seal(b, body); err != nil {
		t.Fatal(err)
	}
	for _, vendor := range []byte("wv") {
		b[wire.HeaderLen+4] = vendor
		msg, err := wire.Decode(b)
		if err != nil || len(msg.Payloads) != 2 {
			t.Fatalf("it decodes to %d payloads, %v, want 2", len(msg.Payloads), err)
		}
		_, err = wire.Find[*wire.SK](msg.Payloads).Open(o)
		if (err == nil) != (vendor == 'v') {
			t.Errorf("with %c in the Vendor ID it opens with %v", vendor, err)
		}
	}
}

// TestOpenWithoutMessage: a payload that nobody decoded cannot be opened.
func TestOpenWithoutMessage(t *testing.T) {
	_, o := protectors(t, "aes128gcm-prfsha256")
	if _, err := new(wire.SK).Open(o); !errors.Is(err, wire.ErrNotSealed) {
		t.Errorf("an empty SK payload opens with %v, want %v", err, wire.ErrNotSealed)
	}
	if _, err := (&wire.SKF{Message: make([]byte, 40), Body: 41}).Open(o); !errors.Is(err, wire.ErrNotSealed) {
		t.Errorf("an SKF payload beyond its message opens with %v, want %v", err, wire.ErrNotSealed)
	}
}

// TestSealReportsExhaustion: the sealer's error reaches the caller, who must
// rekey.
func TestSealReportsExhaustion(t *testing.T) {
	k, s := keysOf(t, "aes128gcm-prfsha256")
	sealer, err := suite.NewSealer(s, k, suite.IV{Counter: suite.MaxIVCounter}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := auth()
	if _, err := m.Seal(nil, sealer); !errors.Is(err, suite.ErrIVExhausted) {
		t.Errorf("sealing ends with %v, want %v", err, suite.ErrIVExhausted)
	}
	if _, err := m.SealFragments(sealer, 300); !errors.Is(err, suite.ErrIVExhausted) {
		t.Errorf("sealing fragments ends with %v, want %v", err, suite.ErrIVExhausted)
	}
}

// TestSealTooLong: a message that does not fit into a datagram is not sealed,
// but in fragments.
func TestSealTooLong(t *testing.T) {
	s, o := protectors(t, "aes128gcm-prfsha256")
	m := goodbye()
	m.Payloads = []wire.Payload{&wire.VendorID{Data: bytes.Repeat([]byte("v"), 1<<16-4-1)}}
	if b, err := m.Seal(nil, s); err == nil {
		t.Errorf("a message of %d octets is sealed, want at most %d", len(b), wire.MaxMessage)
	}
	datagrams, err := m.SealFragments(s, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if got := wantJoined(t, datagrams, o, wire.MaxMessage, s.BlockLen()); !reflect.DeepEqual(got, m.Payloads) {
		t.Errorf("joined from the largest fragments the payloads are others")
	}
}

func openSK(t *testing.T, msg wire.Message, o wire.Opener) ([]byte, wire.PayloadType) {
	t.Helper()
	sk := wire.Find[*wire.SK](msg.Payloads)
	if sk == nil {
		t.Fatal("the message has no SK payload")
	}
	plain, err := sk.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return plain, sk.First
}

func forEachSuite(t *testing.T, f func(*testing.T, wire.Sealer, wire.Opener)) {
	t.Helper()
	for _, name := range sealed {
		t.Run(name, func(t *testing.T) {
			s, o := protectors(t, name)
			f(t, s, o)
		})
	}
}

// protectors are both ends of one direction.
func protectors(t testing.TB, proposal string) (*suite.Sealer, *suite.Opener) {
	t.Helper()
	k, s := keysOf(t, proposal)
	sealer, err := suite.NewSealer(s, k, suite.IV{Member: 3, Epoch: 1}, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	opener, err := suite.NewOpener(s, k)
	if err != nil {
		t.Fatal(err)
	}
	return sealer, opener
}

func keysOf(t testing.TB, proposal string) (suite.DirectionKeys, suite.Suite) {
	t.Helper()
	p, err := ipsec.ParseIKEProposal(proposal)
	if err != nil {
		t.Fatal(err)
	}
	s, err := suite.FromProposal(p.WithGroups(ipsec.GroupX25519))
	if err != nil {
		t.Fatal(err)
	}
	enc, err := ipsec.EncryptionKeyLen(s.Encryption, s.KeyBits)
	if err != nil {
		t.Fatal(err)
	}
	integ, err := s.Integrity.KeyLen()
	if err != nil {
		t.Fatal(err)
	}
	return suite.DirectionKeys{
		Encryption: ipsec.NewKey([]byte(strings.Repeat("e", enc))),
		Integrity:  ipsec.NewKey([]byte(strings.Repeat("i", integ))),
	}, s
}

// goodbye ends an IKE SA.
func goodbye() wire.Message {
	return wire.Message{
		Header: wire.Header{
			SPIi: 0x1000000000000001, SPIr: 0x2000000000000002,
			Exchange: wire.Informational, Flags: wire.FlagInitiator, MessageID: 9,
		},
		Payloads: []wire.Payload{&wire.Delete{Protocol: wire.ProtocolIKE}},
	}
}

// auth is an IKE_AUTH request of several hundred octets.
func auth() wire.Message {
	m := goodbye()
	m.Header.Exchange, m.Header.MessageID = wire.IKEAuth, 1
	any4 := wire.TS{Selectors: []ipsec.TrafficSelector{ipsec.AnySelector(false)}}
	esp := ipsec.Proposal{Transforms: []ipsec.Transform{
		{Type: ipsec.TypeEncryption, ID: uint16(ipsec.EncrAESGCM16), KeyBits: 128},
		{Type: ipsec.TypeESN, ID: ipsec.NoESN},
	}}
	m.Payloads = []wire.Payload{
		&wire.IDi{ID: wire.ID{Type: 2, Data: []byte("client.example")}},
		&wire.Cert{Encoding: 4, Data: bytes.Repeat([]byte("certificate "), 50)},
		&wire.Auth{Method: wire.AuthDigitalSignature, Data: bytes.Repeat([]byte("sign"), 16)},
		&wire.SA{Proposals: []wire.Proposal{wire.NewProposal(1, wire.ProtocolESP, wire.SPIBytes(0x30001234), esp)}},
		&wire.TSi{TS: any4},
		&wire.TSr{TS: any4},
	}
	return m
}
