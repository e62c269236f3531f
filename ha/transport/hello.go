package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha/transport/cert"
)

// alpn names the framing of the stream, in TLS's own negotiation (RFC 7301). A
// next version is put before it, and this one stays for one release.
const alpn = "evergate-sync/1"

// hello is the first frame in each direction.
type hello struct {
	Name         cert.Name
	Min, Max     uint16 // protocol versions
	Capabilities uint64
	// Start is drawn at random when a Mesh is made: another one means that the
	// sender has forgotten its sessions.
	Start uint64
	// Lost is the id of the last session with the receiver that ended, 0 for
	// none.
	Lost uint64
}

const helloLen = 30

func (h hello) frame() Frame {
	b := make([]byte, 0, helloLen)
	b = append(b, h.Name.Group, byte(h.Name.Member))
	b = binary.BigEndian.AppendUint16(b, h.Min)
	b = binary.BigEndian.AppendUint16(b, h.Max)
	b = binary.BigEndian.AppendUint64(b, h.Capabilities)
	b = binary.BigEndian.AppendUint64(b, h.Start)
	b = binary.BigEndian.AppendUint64(b, h.Lost)
	return Frame{Type: typeHello, Body: b}
}

// parseHello reads the fields that this version knows: a later one may say more
// behind them.
func parseHello(f Frame) (hello, error) {
	if f.Type != typeHello {
		return hello{}, fmt.Errorf("it begins with a frame of type %d instead of a hello", f.Type)
	}
	b := f.Body
	if len(b) < helloLen {
		return hello{}, fmt.Errorf("its hello has %d octets, fewer than %d", len(b), helloLen)
	}
	h := hello{
		Name:         cert.Name{Group: b[0], Member: ipsec.MemberID(b[1])},
		Min:          binary.BigEndian.Uint16(b[2:]),
		Max:          binary.BigEndian.Uint16(b[4:]),
		Capabilities: binary.BigEndian.Uint64(b[6:]),
		Start:        binary.BigEndian.Uint64(b[14:]),
		Lost:         binary.BigEndian.Uint64(b[22:]),
	}
	if h.Min > h.Max {
		return hello{}, fmt.Errorf("it speaks protocol versions %d to %d, which are none", h.Min, h.Max)
	}
	return h, nil
}

// common is the highest protocol version that both ends speak.
func (h hello) common(o hello) (uint16, error) {
	v := min(h.Max, o.Max)
	if v < h.Min || v < o.Min {
		return 0, fmt.Errorf("it speaks protocol versions %d to %d, we speak %d to %d", o.Min, o.Max, h.Min, h.Max)
	}
	return v, nil
}

// refuse is the last frame of a connection that becomes no session.
func (r Reason) frame(text string) Frame {
	text = text[:min(len(text), maxControl-1)]
	return Frame{Type: typeRefuse, Body: append([]byte{byte(r)}, text...)}
}

// parseVerdict reads the answer to a hello: nil for an accepted one.
func parseVerdict(f Frame) error {
	switch f.Type {
	case typeAccept:
		return nil
	case typeRefuse:
		if len(f.Body) == 0 {
			return errors.New("it refused us without a reason")
		}
		said := strings.ToValidUTF8(string(f.Body[1:]), "?")
		if Reason(f.Body[0]) == ReasonCrossed {
			return &refusedError{ReasonCrossed, said}
		}
		return &refusedError{ReasonRemote, said}
	default:
		return fmt.Errorf("it answers our hello with a frame of type %d", f.Type)
	}
}

// refusedError is what the other member said.
type refusedError struct {
	reason Reason
	said   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("it refused us: %q", e.said) }
