package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// HeaderLen is the length of the IKE header in octets (RFC 7296 section 3.1).
const HeaderLen = 28

// MaxMessage is the longest message in octets: more does not fit into a UDP
// datagram.
const MaxMessage = 1<<16 - 1

// Offsets in the header that errors name.
const (
	versionOffset = 17
	lengthOffset  = 24
)

// The version of the protocol that this package speaks.
const (
	MajorVersion = 2
	MinorVersion = 0
)

// ExchangeType is IANA's "IKEv2 Exchange Types".
type ExchangeType uint8

// The exchanges of RFC 7296.
const (
	IKESAInit     ExchangeType = 34
	IKEAuth       ExchangeType = 35
	CreateChildSA ExchangeType = 36
	Informational ExchangeType = 37
)

// String is the RFC's name.
func (x ExchangeType) String() string {
	switch x {
	case IKESAInit:
		return "IKE_SA_INIT"
	case IKEAuth:
		return "IKE_AUTH"
	case CreateChildSA:
		return "CREATE_CHILD_SA"
	case Informational:
		return "INFORMATIONAL"
	default:
		return fmt.Sprintf("EXCHANGE(%d)", uint8(x))
	}
}

// Flags of the header (RFC 7296 section 3.1).
type Flags uint8

// The flags. All other bits are ignored on receipt and sent as zero.
const (
	FlagInitiator Flags = 0x08 // the sender is the original initiator of the IKE SA
	FlagVersion   Flags = 0x10 // the sender could speak a higher major version
	FlagResponse  Flags = 0x20 // this is a response
)

const knownFlags = FlagInitiator | FlagVersion | FlagResponse

// Initiator tells whether the sender is the original initiator of the IKE SA.
func (f Flags) Initiator() bool { return f&FlagInitiator != 0 }

// Response tells whether the message answers the request with the same id.
func (f Flags) Response() bool { return f&FlagResponse != 0 }

// Header starts every message (RFC 7296 section 3.1). Encoding fills in
// NextPayload, the version (when Major is zero) and Length.
type Header struct {
	SPIi, SPIr   ipsec.IKESPI // of the original initiator and responder
	NextPayload  PayloadType
	Major, Minor uint8
	Exchange     ExchangeType
	Flags        Flags
	MessageID    uint32
	Length       uint32 // of the whole message, in octets
}

// ParseHeader reads the header of a whole message. It allocates only for an
// error. The layout is the same in IKEv1 (Major 1), which it lets pass.
//
// After an error that says InvalidMajorVersion the header is complete all the
// same, for the answer: "If an endpoint receives a message with a higher major
// version number, it MUST drop the message and SHOULD send an unauthenticated
// Notify message of type INVALID_MAJOR_VERSION containing the highest
// (closest) version number it supports." RFC 7296 section 2.5.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, syntaxError(PayloadNone, 0, fmt.Errorf("%d octets are no message, want at least %d", len(b), HeaderLen))
	}
	h := Header{
		SPIi:        ipsec.IKESPI(binary.BigEndian.Uint64(b)),
		SPIr:        ipsec.IKESPI(binary.BigEndian.Uint64(b[8:])),
		NextPayload: PayloadType(b[16]),
		Major:       b[17] >> 4,
		Minor:       b[17] & 0x0f,
		Exchange:    ExchangeType(b[18]),
		Flags:       Flags(b[19]) & knownFlags,
		MessageID:   binary.BigEndian.Uint32(b[20:]),
		Length:      binary.BigEndian.Uint32(b[24:]),
	}
	if h.Major > MajorVersion {
		return h, &Error{
			Notify: InvalidMajorVersion, Offset: versionOffset,
			Err: fmt.Errorf("version %d.%d, want %d", h.Major, h.Minor, MajorVersion),
		}
	}
	if uint64(h.Length) != uint64(len(b)) || len(b) > MaxMessage {
		return Header{}, syntaxError(PayloadNone, lengthOffset, fmt.Errorf("length %d in a datagram of %d octets", h.Length, len(b)))
	}
	return h, nil
}

// append encodes h; Length is filled in later, by setLength.
func (h Header) append(dst []byte, next PayloadType) []byte {
	version := h.Major<<4 | h.Minor&0x0f
	if h.Major == 0 {
		version = MajorVersion<<4 | MinorVersion
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.SPIi))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.SPIr))
	dst = append(dst, byte(next), version, byte(h.Exchange), byte(h.Flags&knownFlags))
	dst = binary.BigEndian.AppendUint32(dst, h.MessageID)
	return append(dst, 0, 0, 0, 0)
}

// setLength writes the Length of a whole message.
func setLength(msg []byte) error {
	if len(msg) > MaxMessage {
		return fmt.Errorf("%d octets, want at most %d", len(msg), MaxMessage)
	}
	binary.BigEndian.PutUint32(msg[lengthOffset:], uint32(len(msg)))
	return nil
}
