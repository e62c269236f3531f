package wire_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/evergate/evergate/ike/wire"
)

// FuzzDecode: whatever arrives is refused with an *Error, or decodes, encodes
// and decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, c := range conversations(f) {
		for _, m := range c.messages {
			for _, d := range m.datagrams {
				f.Add(d)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		msg, err := wire.Decode(b)
		if !bytes.Equal(b, before) {
			t.Fatalf("decoding changed its input")
		}
		if err != nil {
			wantBlame(t, err, len(b))
			return
		}
		again, err := msg.Append(nil)
		if err != nil {
			t.Fatalf("what was decoded does not encode: %v", err)
		}
		msg2, err := wire.Decode(again)
		if err != nil {
			t.Fatalf("what was decoded and encoded does not decode: %v", err)
		}
		if third, err := msg2.Append(nil); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("encoding is no fixed point: %x, %v, then %x", again, err, third)
		}
	})
}

// FuzzDecodePayloads is the same for what was encrypted: an authenticated peer
// is hostile too.
func FuzzDecodePayloads(f *testing.F) {
	for _, c := range conversations(f) {
		for _, m := range c.messages {
			_, _, first, plain := decrypt(f, c.suite, m)
			f.Add(byte(first), plain)
		}
	}
	f.Fuzz(func(t *testing.T, first byte, b []byte) {
		payloads, err := wire.DecodePayloads(wire.PayloadType(first), b)
		if err != nil {
			wantBlame(t, err, len(b))
			return
		}
		kind, again, err := wire.AppendPayloads(nil, payloads)
		if err != nil || kind != wire.PayloadType(first) {
			t.Fatalf("what was decoded does not encode: %v payload, %v", kind, err)
		}
		payloads2, err := wire.DecodePayloads(kind, again)
		if err != nil {
			t.Fatalf("what was decoded and encoded does not decode: %v", err)
		}
		if !reflect.DeepEqual(payloads, payloads2) {
			t.Fatalf("decoded again, the payloads are %v, want %v", payloads2, payloads)
		}
	})
}

// FuzzOpen: what is not authentic is never opened, whatever the cipher.
func FuzzOpen(f *testing.F) {
	for _, proposal := range sealed {
		s, _ := protectors(f, proposal)
		m := goodbye()
		b, err := m.Seal(nil, s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[:len(b)-1])
	}
	for _, c := range conversations(f) {
		for _, m := range c.messages {
			for _, d := range m.datagrams {
				f.Add(d)
			}
		}
	}
	openers := map[string]wire.Opener{}
	for _, proposal := range sealed {
		_, openers[proposal] = protectors(f, proposal)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := wire.Decode(b)
		if err != nil {
			return
		}
		for name, o := range openers {
			if sk := wire.Find[*wire.SK](msg.Payloads); sk != nil {
				if plain, err := sk.Open(o); err == nil {
					t.Fatalf("%s opened what nobody sealed: %x", name, plain)
				}
			}
			if skf := wire.Find[*wire.SKF](msg.Payloads); skf != nil {
				if plain, err := skf.Open(o); err == nil {
					t.Fatalf("%s opened what nobody sealed: %x", name, plain)
				}
			}
		}
	})
}

// wantBlame checks that a refusal tells what to answer and where to look.
func wantBlame(t *testing.T, err error, length int) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v, want an *Error", err)
	}
	if e.Offset < 0 || e.Offset > length+wire.HeaderLen {
		t.Fatalf("%v: its offset %d lies outside of %d octets", err, e.Offset, length)
	}
	switch e.Notify {
	case wire.InvalidSyntax, wire.UnsupportedCriticalPayload, wire.InvalidMajorVersion:
	default:
		t.Fatalf("%v: it asks for %v", err, e.Notify)
	}
}
