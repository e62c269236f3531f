package field

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ErrMalformed says that octets are no message, or that one of its fields has
// another type than it should.
var ErrMalformed = errors.New("field: malformed message")

// ErrRange says that a field has a value that the vocabulary has not.
var ErrRange = errors.New("field: value out of range")

// A Reader goes through the fields of a message in the order in which they stand.
// Fields that the caller does not know are passed over; of one that stands twice
// the last counts. The first error ends it, and all Readers of one message share
// it: it is looked at once, at the end. What was read before an error means
// nothing.
//
// It goes by positions: slices that change with every field would be as many notes for
// the garbage collector while that is at work.
type Reader struct {
	b        []byte
	from, at int // the present field, and the next one
	num      int
	typ      uint64
	value    uint64
	octets   int // where those of the present field begin: they end at at
	err      *error
}

// NewReader reads a message, and puts the first error into err. It keeps b while
// it is used, and no longer.
func NewReader(b []byte, err *error) Reader { return Reader{b: b, err: err} }

// Count is how often a message has a field, up to its first error.
func Count(b []byte, num int) (n int) {
	var err error
	for r := NewReader(b, &err); r.Next(); {
		if r.num == num {
			n++
		}
	}
	return n
}

// Next goes to the next field, and is false at the end.
func (r *Reader) Next() bool {
	if r.at == len(r.b) || *r.err != nil {
		return false
	}
	r.from = r.at
	tag := r.varint()
	r.num, r.typ = int(tag>>3), tag&7
	if tag>>3 == 0 || tag>>3 >= 1<<29 {
		r.malformed("a field has the number %d", tag>>3)
		return false
	}
	switch r.typ {
	case typeVarint:
		r.value = r.varint()
	case typeFixed32:
		if r.take(4) {
			r.value = uint64(binary.LittleEndian.Uint32(r.b[r.octets:]))
		}
	case typeFixed64:
		if r.take(8) {
			r.value = binary.LittleEndian.Uint64(r.b[r.octets:])
		}
	case typeBytes:
		r.take(r.varint())
	default: // groups, which proto3 does not have
		r.malformed("field %d has the wire type %d", r.num, r.typ)
	}
	return *r.err == nil
}

// Field is the number of the present one.
func (r *Reader) Field() int { return r.num }

// Raw is the present field as it stands, its number included. It belongs to the
// message.
func (r *Reader) Raw() []byte { return r.b[r.from:r.at:r.at] }

func (r *Reader) varint() uint64 {
	if r.at < len(r.b) && r.b[r.at] < 1<<7 {
		r.at++
		return uint64(r.b[r.at-1])
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 {
		r.malformed("a number does not end")
		return 0
	}
	r.at += n
	return v
}

// take passes over the octets of a field, and is false where they are not there.
func (r *Reader) take(n uint64) bool {
	r.octets = r.at
	if n > uint64(len(r.b)-r.at) {
		r.malformed("field %d ends after the message", r.num)
		return false
	}
	r.at += int(n)
	return true
}

func (r *Reader) malformed(format string, args ...any) {
	r.fail(fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...)))
}

func (r *Reader) fail(err error) {
	if *r.err == nil {
		*r.err = err
	}
}

// is checks the present field's wire type.
func (r *Reader) is(typ uint64) bool {
	if r.typ != typ {
		r.malformed("field %d has the wire type %d, want %d", r.num, r.typ, typ)
	}
	return r.typ == typ
}

// Uint reads a uint64.
func (r *Reader) Uint() uint64 {
	if !r.is(typeVarint) {
		return 0
	}
	return r.value
}

// Int reads an int64, or an enumeration.
func (r *Reader) Int() int64 { return int64(r.Uint()) }

// Bool reads a bool.
func (r *Reader) Bool() bool { return r.Uint() != 0 }

// Fixed32 reads a fixed32.
func (r *Reader) Fixed32() uint32 {
	if !r.is(typeFixed32) {
		return 0
	}
	return uint32(r.value)
}

// Fixed64 reads a fixed64.
func (r *Reader) Fixed64() uint64 {
	if !r.is(typeFixed64) {
		return 0
	}
	return r.value
}

// Bytes reads bytes. They belong to the message: who keeps them copies them.
func (r *Reader) Bytes() []byte {
	if !r.is(typeBytes) {
		return nil
	}
	return r.b[r.octets:r.at:r.at]
}

// Uints calls take for each number of a repeated field, packed or not.
func (r *Reader) Uints(take func(uint64)) {
	if r.typ != typeBytes {
		take(r.Uint())
		return
	}
	for numbers := NewReader(r.Bytes(), r.err); numbers.at < len(numbers.b) && *r.err == nil; {
		take(numbers.varint())
	}
}

// Message reads a message. Its Reader ends with an error of this one's.
func (r *Reader) Message() Reader { return NewReader(r.Bytes(), r.err) }

// Addr reads an address, the zero one for no octets. name is for the error.
func (r *Reader) Addr(name string) netip.Addr {
	b := r.Bytes()
	if len(b) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		r.OutOfRange(name, fmt.Sprintf("%d octets", len(b)))
	}
	return a
}

// OutOfRange refuses the value of a field, which name names for people.
func (r *Reader) OutOfRange(name string, value any) {
	r.fail(fmt.Errorf("%w: field %s of the message is %v", ErrRange, name, value))
}

// Narrow reads a uint32 whose values a narrower type holds. name is for the error.
//
// As in all of protobuf, what is above 32 bits is cut off first.
func Narrow[T ~uint8 | ~uint16 | ~uint32](r *Reader, name string) T {
	v := uint32(r.Uint())
	if uint32(T(v)) != v {
		r.OutOfRange(name, v)
		return 0
	}
	return T(v)
}
