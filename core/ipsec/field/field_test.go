package field_test

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
)

// sample is a message with a field of each kind.
func sample() []byte {
	w := field.NewWriter(nil)
	w.Uint(1, 1<<63)
	w.Int(2, -1)
	w.Bool(3, true)
	w.Fixed32(4, 0xfedcba98)
	w.Fixed64(5, 0xfedcba9876543210)
	w.Bytes(6, []byte("octets"))
	w.String(7, "text")
	w.Addr(8, netip.MustParseAddr("192.0.2.1"))
	w.Addr(9, netip.MustParseAddr("2001:db8::1"))
	m := w.Begin(10)
	w.Uint(1, 3)
	w.End(m)
	field.Uints(w, 11, []uint32{1, 300})
	long := w.Begin(12)
	w.Bytes(1, bytes.Repeat([]byte("long"), 100))
	w.End(long)
	return w.Message()
}

// TestMessagesAreProtobuf reads with the library of protobuf what was written.
func TestMessagesAreProtobuf(t *testing.T) {
	var fields []protowire.Number
	for b := sample(); len(b) > 0; {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			t.Fatalf("After the fields %v the library of protobuf finds none: %v.", fields, protowire.ParseError(n))
		}
		_ = typ
		fields, b = append(fields, num), b[n:]
	}
	if want := []protowire.Number{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}; !slices.Equal(fields, want) {
		t.Errorf("The message has the fields %v, want %v.", fields, want)
	}
}

// TestWhatIsWrittenIsRead goes through a message and looks at each field.
func TestWhatIsWrittenIsRead(t *testing.T) {
	var err error
	got := map[int]any{}
	var raw []byte
	r := field.NewReader(sample(), &err)
	for r.Next() {
		raw = append(raw, r.Raw()...)
		got[r.Field()] = value(&r)
	}
	want := map[int]any{
		1: uint64(1 << 63), 2: int64(-1), 3: true, 4: uint32(0xfedcba98), 5: uint64(0xfedcba9876543210), 6: "octets", 7: "text",
		8: netip.MustParseAddr("192.0.2.1"), 9: netip.MustParseAddr("2001:db8::1"), 10: uint64(3), 11: []uint64{1, 300}, 12: 400,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("The fields came back as %v (%v), want %v.", got, err, want)
	}
	if !bytes.Equal(raw, sample()) {
		t.Error("The fields as they stand do not make the message again.")
	}
	if n := field.Count(append(sample(), sample()...), 6); n != 2 {
		t.Errorf("A field that stands twice was counted %d times.", n)
	}
}

func value(r *field.Reader) any {
	switch r.Field() {
	case 1:
		return r.Uint()
	case 2:
		return r.Int()
	case 3:
		return r.Bool()
	case 4:
		return r.Fixed32()
	case 5:
		return r.Fixed64()
	case 6, 7:
		return string(r.Bytes())
	case 8, 9:
		return r.Addr("address")
	case 11:
		var list []uint64
		r.Uints(func(v uint64) { list = append(list, v) })
		return list
	case 10:
		m := r.Message()
		m.Next()
		return m.Uint()
	default:
		m := r.Message()
		m.Next()
		return len(m.Bytes())
	}
}

// TestDefaultsAreLeftOut: in proto3 they are not on the wire.
func TestDefaultsAreLeftOut(t *testing.T) {
	w := field.NewWriter(nil)
	w.Uint(1, 0)
	w.Bool(2, false)
	w.Fixed32(3, 0)
	w.Fixed64(4, 0)
	w.Bytes(5, nil)
	w.String(6, "")
	w.Addr(7, netip.Addr{})
	w.Encap(8, nil)
	w.Limits(9, ipsec.Limits{})
	w.Selectors(10, nil)
	if len(w.Message()) != 0 {
		t.Errorf("A message of defaults is %x.", w.Message())
	}
}

// TestBrokenMessagesAreRefused: every strict prefix that ends within a field, other
// types than the reader asks for, and values that are too wide.
func TestBrokenMessagesAreRefused(t *testing.T) {
	whole, ends := sample(), map[int]bool{0: true}
	var err error
	at := 0
	for r := field.NewReader(whole, &err); r.Next(); {
		at += len(r.Raw())
		ends[at] = true
	}
	for n := range whole {
		var err error
		r := field.NewReader(whole[:n], &err)
		for r.Next() {
			_ = value(&r)
		}
		if (err == nil) != ends[n] {
			t.Errorf("The first %d octets were read with the error %v.", n, err)
		}
	}
	number := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1<<16)
	octets := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), make([]byte, 5))
	for what, c := range map[string]struct {
		b    []byte
		read func(*field.Reader)
		want error
	}{
		"a number of 17 bits":       {number, func(r *field.Reader) { field.Narrow[uint16](r, "port") }, field.ErrRange},
		"an address of five octets": {octets, func(r *field.Reader) { r.Addr("address") }, field.ErrRange},
		"a number as a message":     {number, func(r *field.Reader) { r.Message() }, field.ErrMalformed},
		"octets as a number":        {octets, func(r *field.Reader) { r.Uint() }, field.ErrMalformed},
		"a group":                   {protowire.AppendTag(nil, 1, protowire.StartGroupType), func(*field.Reader) {}, field.ErrMalformed},
		"a field without a number":  {[]byte{0, 1}, func(*field.Reader) {}, field.ErrMalformed},
	} {
		var err error
		r := field.NewReader(c.b, &err)
		for r.Next() {
			c.read(&r)
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: the error is %v, want %v.", what, err, c.want)
		}
	}
}

// TestVocabularyComesBack: the messages that both borders share.
func TestVocabularyComesBack(t *testing.T) {
	id := ipsec.SAID{SPI: 300, Dst: netip.MustParseAddr("2001:db8::1"), Proto: ipsec.ESP, Port: 4500}
	encap := ipsec.Encap{LocalPort: 4500, RemotePort: 1024}
	limits := ipsec.Limits{Time: 1, Bytes: 2, Packets: 3}
	sequence := ipsec.Sequence{Next: 1, Ceiling: 2, Highest: 3, Bitmap: []byte{4}}
	selectors := ipsec.Selectors{
		Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
		Remote: []ipsec.TrafficSelector{ipsec.AnySelector(true), {Proto: 6, PortMin: 1, PortMax: 2, Min: id.Dst, Max: id.Dst}},
	}
	w := field.NewWriter(nil)
	w.SAID(1, id)
	w.Encap(2, &encap)
	w.Limits(3, limits)
	w.Sequence(4, sequence)
	w.Selectors(5, selectors.Local)
	w.Selectors(6, selectors.Remote)
	var (
		err   error
		body  field.Body
		gotID ipsec.SAID
		l     ipsec.Limits
		s     ipsec.Sequence
		both  ipsec.Selectors
	)
	for r := field.NewReader(w.Message(), &err); r.Next(); {
		switch r.Field() {
		case 1:
			r.SAID(&gotID)
		case 2:
			r.Encap(body.Encap())
		case 3:
			r.Limits(&l)
		case 4:
			r.Sequence(&s)
		case 5:
			body.Local(&both, r.Selector())
		case 6:
			body.Remote(&both, r.Selector())
		}
	}
	if err != nil || gotID != id || *body.Encap() != encap || l != limits || !reflect.DeepEqual(s, sequence) || !reflect.DeepEqual(both, selectors) {
		t.Errorf("The vocabulary came back as %v, %v, %v, %v, %v (%v).", gotID, *body.Encap(), l, s, both, err)
	}
}

// FuzzReader: whatever comes, it ends, and never reads beyond.
func FuzzReader(f *testing.F) {
	f.Add(sample())
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		read := 0
		r := field.NewReader(b, &err)
		for r.Next() {
			read += len(r.Raw())
			_ = value(&r)
		}
		if err == nil && read != len(b) {
			t.Errorf("Of %d octets %d were read.", len(b), read)
		}
	})
}
