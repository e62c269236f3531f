package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// HeaderLen is the length of the ISAKMP header in octets (RFC 2408 section 3.1).
const HeaderLen = 28

// MaxMessage is the longest message in octets: more does not fit into a UDP
// datagram, and fragments are joined to no more.
const MaxMessage = 1<<16 - 1

// MajorVersion is the version of the protocol that this package speaks.
const MajorVersion = 1

// ExchangeType is the Exchange Type of RFC 2408 section 3.1, RFC 2409 appendix A
// and the mode config draft.
type ExchangeType uint8

// The exchanges.
const (
	MainMode      ExchangeType = 2 // Identity Protection
	Aggressive    ExchangeType = 4
	Informational ExchangeType = 5
	Transaction   ExchangeType = 6 // mode config and XAUTH
	QuickMode     ExchangeType = 32
)

// String is the usual name.
func (x ExchangeType) String() string {
	switch x {
	case MainMode:
		return "main mode"
	case Aggressive:
		return "aggressive mode"
	case Informational:
		return "informational"
	case Transaction:
		return "transaction"
	case QuickMode:
		return "quick mode"
	default:
		return fmt.Sprintf("exchange(%d)", uint8(x))
	}
}

// Flags of the header (RFC 2408 section 3.1).
type Flags uint8

// The flags. All other bits are ignored on receipt and sent as zero.
const (
	FlagEncryption Flags = 1 // all payloads are encrypted
	FlagCommit     Flags = 2 // the receiver waits for CONNECTED
	FlagAuthOnly   Flags = 4 // authenticated, not encrypted: some notifications
)

const knownFlags = FlagEncryption | FlagCommit | FlagAuthOnly

// Header starts every message (RFC 2408 section 3.1).
type Header struct {
	CookieI, CookieR ipsec.IKESPI // of the initiator and the responder of phase 1
	Next             PayloadType  // filled in by Message.Append
	Major, Minor     uint8        // Append writes 1.0
	Exchange         ExchangeType
	Flags            Flags
	MessageID        uint32
	Length           uint32 // of the whole message in octets, filled in by Append
}

// Encrypted tells whether the payloads are.
func (h Header) Encrypted() bool { return h.Flags&FlagEncryption != 0 }

// ParseHeader reads the header of a whole message. It allocates only for an
// error.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, malformed(PayloadNone, 0, fmt.Errorf("%d octets are no message, want at least %d", len(b), HeaderLen))
	}
	h := Header{
		CookieI:   ipsec.IKESPI(binary.BigEndian.Uint64(b)),
		CookieR:   ipsec.IKESPI(binary.BigEndian.Uint64(b[8:])),
		Next:      PayloadType(b[16]),
		Major:     b[17] >> 4,
		Minor:     b[17] & 0x0f,
		Exchange:  ExchangeType(b[18]),
		Flags:     Flags(b[19]) & knownFlags,
		MessageID: binary.BigEndian.Uint32(b[20:]),
		Length:    binary.BigEndian.Uint32(b[24:]),
	}
	if h.Major != MajorVersion {
		return Header{}, &Error{
			Notify: InvalidMajorVersion, Offset: 17,
			Err: fmt.Errorf("version %d.%d, want %d", h.Major, h.Minor, MajorVersion),
		}
	}
	if uint64(h.Length) != uint64(len(b)) || len(b) > MaxMessage {
		return Header{}, &Error{
			Notify: UnequalPayloadLengths, Offset: 24,
			Err: fmt.Errorf("length %d in a datagram of %d octets", h.Length, len(b)),
		}
	}
	return h, nil
}

// Append encodes h behind dst, with the payload type and the length of the whole
// message that it is for.
func (h Header) Append(dst []byte, next PayloadType, length int) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.CookieI))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.CookieR))
	dst = append(dst, byte(next), MajorVersion<<4, byte(h.Exchange), byte(h.Flags&knownFlags))
	dst = binary.BigEndian.AppendUint32(dst, h.MessageID)
	return binary.BigEndian.AppendUint32(dst, uint32(length))
}
