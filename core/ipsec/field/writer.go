package field

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// The wire types of protobuf (its encoding specification, "Message Structure").
const (
	typeVarint  = 0
	typeFixed64 = 1
	typeBytes   = 2
	typeFixed32 = 5
)

// Writer appends a message, in the order of its calls. The zero value is an empty
// one. A field that has its default is left out, as proto3 does it. Numbers of
// fields are those of the .proto file.
type Writer struct{ out []byte }

// NewWriter appends to b, which it owns from then on.
func NewWriter(b []byte) *Writer { return &Writer{b} }

// Message is what was written. The Writer keeps no claim to it.
func (w *Writer) Message() []byte { return w.out }

// Raw appends fields as they are.
func (w *Writer) Raw(fields []byte) { w.out = append(w.out, fields...) }

func (w *Writer) tag(num, typ uint64) { w.out = binary.AppendUvarint(w.out, num<<3|typ) }

// Uint writes a uint32, a uint64 or an enumeration.
func (w *Writer) Uint(num, v uint64) {
	if v != 0 {
		w.tag(num, typeVarint)
		w.out = binary.AppendUvarint(w.out, v)
	}
}

// Int writes an int64.
func (w *Writer) Int(num uint64, v int64) { w.Uint(num, uint64(v)) }

// Bool writes a bool.
func (w *Writer) Bool(num uint64, v bool) {
	if v {
		w.Uint(num, 1)
	}
}

// Fixed32 writes a fixed32.
func (w *Writer) Fixed32(num uint64, v uint32) {
	if v != 0 {
		w.tag(num, typeFixed32)
		w.out = binary.LittleEndian.AppendUint32(w.out, v)
	}
}

// Fixed64 writes a fixed64.
func (w *Writer) Fixed64(num, v uint64) {
	if v != 0 {
		w.tag(num, typeFixed64)
		w.out = binary.LittleEndian.AppendUint64(w.out, v)
	}
}

// Bytes writes bytes.
func (w *Writer) Bytes(num uint64, b []byte) {
	if len(b) > 0 {
		w.tag(num, typeBytes)
		w.out = binary.AppendUvarint(w.out, uint64(len(b)))
		w.out = append(w.out, b...)
	}
}

// String writes a string, which must be UTF-8.
func (w *Writer) String(num uint64, s string) {
	if s != "" {
		w.tag(num, typeBytes)
		w.out = binary.AppendUvarint(w.out, uint64(len(s)))
		w.out = append(w.out, s...)
	}
}

// Uints writes the numbers of a repeated field, packed.
func Uints[T ~uint32 | ~uint64](w *Writer, num uint64, list []T) {
	if len(list) > 0 {
		m := w.Begin(num)
		for _, v := range list {
			w.out = binary.AppendUvarint(w.out, uint64(v))
		}
		w.End(m)
	}
}

// Addr writes an address as its octets.
func (w *Writer) Addr(num uint64, a netip.Addr) {
	switch {
	case a.Is4():
		octets := a.As4()
		w.Bytes(num, octets[:])
	case a.IsValid():
		octets := a.As16()
		w.Bytes(num, octets[:])
	}
}

// Begin opens a message that is a field of this one. What is written until End,
// which takes Begin's result, is its own. It is there even if nothing is.
func (w *Writer) Begin(num uint64) (begun int) {
	w.tag(num, typeBytes)
	w.out = append(w.out, 0) // its length, which most often is one octet long
	return len(w.out)
}

// End closes the message that was opened last.
func (w *Writer) End(begun int) {
	length := uint64(len(w.out) - begun)
	if length < 1<<7 {
		w.out[begun-1] = byte(length)
		return
	}
	var octets [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(octets[:], length)
	w.out = slices.Insert(w.out, begun, octets[1:n]...)
	w.out[begun-1] = octets[0]
}
