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
type Writer struct {
	out []byte // all that there is room in
	n   int    // how much of it is written
}

// NewWriter appends to b, which it owns from then on.
func NewWriter(b []byte) *Writer { return &Writer{b[:cap(b)], len(b)} }

// Message is what was written. The Writer keeps no claim to it.
func (w *Writer) Message() []byte { return w.out[:w.n] }

// Raw appends fields as they are.
func (w *Writer) Raw(fields []byte) { w.put(fields) }

// room makes sure that there is room for n octets more.
func (w *Writer) room(n int) {
	if len(w.out)-w.n < n {
		grown := slices.Grow(w.out[:w.n], n)
		w.out = grown[:cap(grown)]
	}
}

// most is the room that a number takes at most, with the tag before it.
const most = 2 * binary.MaxVarintLen64

// tag begins a field. There must be room for it.
func (w *Writer) tag(num, typ uint64) { w.varint(num<<3 | typ) }

// varint writes a number. There must be room for it.
func (w *Writer) varint(v uint64) {
	for ; v >= 1<<7; v >>= 7 {
		w.out[w.n] = byte(v) | 1<<7
		w.n++
	}
	w.out[w.n] = byte(v)
	w.n++
}

func (w *Writer) put(b []byte) {
	w.room(len(b))
	w.n += copy(w.out[w.n:], b)
}

// Uint writes a uint32, a uint64 or an enumeration.
func (w *Writer) Uint(num, v uint64) {
	if v != 0 {
		w.room(most)
		w.tag(num, typeVarint)
		w.varint(v)
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
		w.room(most)
		w.tag(num, typeFixed32)
		binary.LittleEndian.PutUint32(w.out[w.n:], v)
		w.n += 4
	}
}

// Fixed64 writes a fixed64.
func (w *Writer) Fixed64(num, v uint64) {
	if v != 0 {
		w.room(most)
		w.tag(num, typeFixed64)
		binary.LittleEndian.PutUint64(w.out[w.n:], v)
		w.n += 8
	}
}

// Bytes writes bytes.
func (w *Writer) Bytes(num uint64, b []byte) {
	if len(b) > 0 {
		w.room(most + len(b))
		w.tag(num, typeBytes)
		w.varint(uint64(len(b)))
		w.n += copy(w.out[w.n:], b)
	}
}

// String writes a string, which must be UTF-8.
func (w *Writer) String(num uint64, s string) {
	if s != "" {
		w.room(most + len(s))
		w.tag(num, typeBytes)
		w.varint(uint64(len(s)))
		w.n += copy(w.out[w.n:], s)
	}
}

// Uints writes the numbers of a repeated field, packed.
func Uints[T ~uint32 | ~uint64](w *Writer, num uint64, list []T) {
	if len(list) > 0 {
		m := w.Begin(num)
		for _, v := range list {
			w.room(most)
			w.varint(uint64(v))
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
	w.room(most)
	w.tag(num, typeBytes)
	w.n++ // its length, which most often is one octet long
	return w.n
}

// End closes the message that was opened last.
func (w *Writer) End(begun int) {
	length := uint64(w.n - begun)
	if length < 1<<7 {
		w.out[begun-1] = byte(length)
		return
	}
	var octets [binary.MaxVarintLen64]byte
	more := binary.PutUvarint(octets[:], length) - 1
	w.room(more)
	copy(w.out[begun+more:], w.out[begun:w.n])
	copy(w.out[begun-1:], octets[:more+1])
	w.n += more
}
