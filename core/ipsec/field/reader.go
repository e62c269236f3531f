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
type Reader struct {
	rest, from []byte // from the present field on
	num        int
	typ        uint64
	value      uint64
	octets     []byte
	err        *error
}

// NewReader reads a message, and puts the first error into err. It keeps b while
// it is used, and no longer.
func NewReader(b []byte, err *error) Reader { return Reader{rest: b, err: err} }

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
	if len(r.rest) == 0 || *r.err != nil {
		return false
	}
	r.from = r.rest
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
		if b := r.take(4); b != nil {
			r.value = uint64(binary.LittleEndian.Uint32(b))
		}
	case typeFixed64:
		if b := r.take(8); b != nil {
			r.value = binary.LittleEndian.Uint64(b)
		}
	case typeBytes:
		r.octets = r.take(r.varint())
	default: // groups, which proto3 does not have
		r.malformed("field %d has the wire type %d", r.num, r.typ)
	}
	return *r.err == nil
}

// Field is the number of the present one.
func (r *Reader) Field() int { return r.num }

// Raw is the present field as it stands, its number included. It belongs to the
// message.
func (r *Reader) Raw() []byte { return r.from[:len(r.from)-len(r.rest)] }

func (r *Reader) varint() uint64 {
	if len(r.rest) > 0 && r.rest[0] < 1<<7 {
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.malformed("a number does not end")
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *Reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.malformed("field %d ends after the message", r.num)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
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
	return r.octets
}

// Uints calls take for each number of a repeated field, packed or not.
func (r *Reader) Uints(take func(uint64)) {
	if r.typ != typeBytes {
		take(r.Uint())
		return
	}
	for numbers := (Reader{rest: r.octets, num: r.num, err: r.err}); len(numbers.rest) > 0 && *r.err == nil; {
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
