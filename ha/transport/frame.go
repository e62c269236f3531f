package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Class says how soon a frame leaves, and how it is counted.
type Class uint8

// The classes, most urgent first.
const (
	// Control: claims, acknowledgements, goodbyes.
	Control Class = iota
	// Packet: a datagram of a client that is for another member. It counts as
	// packet-type in the operator's views, all other classes as session-type.
	Packet
	// Record: what is published of tunnels.
	Record
	// Bulk: snapshots.
	Bulk

	// Classes is how many there are.
	Classes = 4
)

// String is the class's name in metrics.
func (c Class) String() string {
	switch c {
	case Control:
		return "control"
	case Packet:
		return "packet"
	case Record:
		return "record"
	case Bulk:
		return "bulk"
	default:
		return fmt.Sprintf("class(%d)", uint8(c))
	}
}

// Frame is what one member sends another. Type is the caller's, below
// FirstReserved; types that a receiver does not know reach its caller like any
// other.
type Frame struct {
	Type  uint16
	Class Class
	Body  []byte
}

// FirstReserved and all types above are the transport's own.
const FirstReserved = 0xff00

// The transport's own frames. Unknown ones are counted and passed over, so that
// a later version may add some.
const (
	typeHello uint16 = FirstReserved + iota
	typeAccept
	typeRefuse
	typePing
	typePong
)

const (
	// headerLen: four octets of body length, two of type, one of class, one that
	// is zero for now and ignored when received.
	headerLen = 8
	// maxFrame bounds Limits.Frame.
	maxFrame = 64 << 20
	// maxControl bounds the body of a frame of our own.
	maxControl = 1 << 10
)

func appendFrame(b []byte, f Frame) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Body)))
	b = binary.BigEndian.AppendUint16(b, f.Type)
	b = append(b, byte(f.Class), 0)
	return append(b, f.Body...)
}

// readFrame reads one frame with a body of its own, of at most limit octets.
// The error is io.EOF only at the border of a frame.
func readFrame(r io.Reader, limit int) (Frame, error) {
	var h [headerLen]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return Frame{}, err
	}
	n := binary.BigEndian.Uint32(h[:])
	f := Frame{Type: binary.BigEndian.Uint16(h[4:]), Class: Class(h[6])}
	if f.Type >= FirstReserved {
		limit = min(limit, maxControl)
	}
	if uint64(n) > uint64(limit) {
		return Frame{}, fmt.Errorf("a frame of type %d has %d octets, more than %d", f.Type, n, limit)
	}
	f.Body = make([]byte, n)
	if _, err := io.ReadFull(r, f.Body); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}
