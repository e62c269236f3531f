package wire

import (
	"encoding/binary"
	"fmt"
)

// MaxPayloads limits the payloads of one message.
const MaxPayloads = 64

// MaxPadding is the most octets that may follow the last payload of an encrypted
// message. One block would do; some pad by random amounts.
const MaxPadding = 255

// payloadHeaderLen is the length of the generic payload header in octets (RFC
// 2408 section 3.2).
const payloadHeaderLen = 4

// Message is an ISAKMP message.
type Message struct {
	Header   Header
	Payloads []Payload // of a message in the clear
	Sealed   []byte    // the ciphertext of an encrypted one
}

// Chain is the payloads that were inside an encrypted message.
type Chain struct {
	Payloads []Payload
	// AfterFirst is the encoding of all payloads but the first, without padding:
	// what the HASH in front covers.
	AfterFirst []byte
}

// Decode reads a whole message. The result aliases b. The error is an *Error.
func Decode(b []byte) (Message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Message{}, err
	}
	if h.Encrypted() {
		if len(b) == HeaderLen || h.Next == PayloadNone {
			return Message{}, malformed(PayloadNone, HeaderLen, fmt.Errorf("nothing is encrypted"))
		}
		return Message{Header: h, Sealed: b[HeaderLen:]}, nil
	}
	payloads, ends, err := decodeChain(h.Next, b, HeaderLen)
	if err != nil {
		return Message{}, err
	}
	if end := last(ends, HeaderLen); end != len(b) {
		return Message{}, malformed(PayloadNone, end, fmt.Errorf("%d octets behind the last payload", len(b)-end))
	}
	return Message{Header: h, Payloads: payloads}, nil
}

// DecodeChain reads the decrypted contents of a message, whose first payload is
// of type first; padding may follow. The result aliases b. The error is an
// *Error.
func DecodeChain(first PayloadType, b []byte) (Chain, error) {
	payloads, ends, err := decodeChain(first, b, 0)
	if err != nil {
		return Chain{}, err
	}
	end := last(ends, 0)
	if len(ends) == 0 || len(b)-end > MaxPadding {
		return Chain{}, malformed(PayloadNone, end, fmt.Errorf("%d payloads and %d octets behind them", len(ends), len(b)-end))
	}
	return Chain{Payloads: payloads, AfterFirst: b[ends[0]:end:end]}, nil
}

// decodeChain reads the payloads from msg[pos:] and tells where each ends.
func decodeChain(next PayloadType, msg []byte, pos int) ([]Payload, []int, error) {
	var payloads []Payload
	var ends []int
	for next != PayloadNone {
		if len(payloads) == MaxPayloads {
			return nil, nil, malformed(next, pos, fmt.Errorf("more than %d payloads", MaxPayloads))
		}
		rest := msg[pos:]
		if len(rest) < payloadHeaderLen {
			return nil, nil, malformed(next, pos, fmt.Errorf("%d octets left for its header of %d", len(rest), payloadHeaderLen))
		}
		// "Verify the RESERVED field contains the value zero. If the value in the
		// RESERVED field is not zero, the message is discarded". RFC 2408 section
		// 5.3. It is also how a message that was decrypted with a wrong key shows.
		if rest[1] != 0 {
			return nil, nil, malformed(next, pos, fmt.Errorf("reserved octet is %#02x, want 0", rest[1]))
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < payloadHeaderLen || length > len(rest) {
			return nil, nil, malformed(next, pos, fmt.Errorf("length %d with %d octets left", length, len(rest)))
		}
		p, err := decodePayload(next, rest[payloadHeaderLen:length:length], pos)
		if err != nil {
			return nil, nil, err
		}
		payloads = append(payloads, p)
		next, pos = PayloadType(rest[0]), pos+length
		ends = append(ends, pos)
	}
	return payloads, ends, nil
}

func last(ends []int, otherwise int) int {
	if len(ends) == 0 {
		return otherwise
	}
	return ends[len(ends)-1]
}

// decoder is a payload that can be read from its body.
type decoder interface {
	Payload
	decode(body []byte) error
}

func decodePayload(t PayloadType, body []byte, pos int) (Payload, error) {
	p := newPayload(t)
	if p == nil {
		return &Unknown{Of: t, Data: body}, nil
	}
	if err := p.decode(body); err != nil {
		e := malformed(t, pos, err)
		if n, ok := err.(notifyError); ok { //nolint:errorlint // decode makes it, unwrapped
			e.Notify = n.notify
		}
		return nil, e
	}
	return p, nil
}

// notifyError is what is wrong with a payload in a way that has a notification
// of its own.
type notifyError struct {
	notify NotifyType
	text   string
}

func (e notifyError) Error() string { return e.text }

// newPayload returns an empty payload of type t, nil for those that are not
// known.
func newPayload(t PayloadType) decoder {
	switch t {
	case PayloadSA:
		return new(SA)
	case PayloadKE:
		return new(KE)
	case PayloadID:
		return new(ID)
	case PayloadHash:
		return new(Hash)
	case PayloadNonce:
		return new(Nonce)
	case PayloadNotify:
		return new(Notify)
	case PayloadDelete:
		return new(Delete)
	case PayloadVendor:
		return new(VendorID)
	case PayloadConfig:
		return new(Config)
	case PayloadNATD:
		return new(NATD)
	case PayloadNATOA:
		return new(NATOA)
	case PayloadFragment:
		return new(Fragment)
	default:
		return nil
	}
}

// Append encodes m behind dst, in the clear. An error means that a field has no
// encoding, and names the payload.
func (m *Message) Append(dst []byte) ([]byte, error) {
	first, chain, err := AppendChain(nil, m.Payloads)
	if err != nil {
		return nil, err
	}
	if HeaderLen+len(chain) > MaxMessage {
		return nil, fmt.Errorf("wire: encode message: %d octets, want at most %d", HeaderLen+len(chain), MaxMessage)
	}
	return append(m.Header.Append(dst, first, HeaderLen+len(chain)), chain...), nil
}

// AppendChain encodes payloads behind dst and returns the type of the first one,
// PayloadNone when there is none.
func AppendChain(dst []byte, payloads []Payload) (PayloadType, []byte, error) {
	if len(payloads) > MaxPayloads {
		return PayloadNone, nil, fmt.Errorf("wire: encode %d payloads, want at most %d", len(payloads), MaxPayloads)
	}
	for i, p := range payloads {
		next := PayloadNone
		if i+1 < len(payloads) {
			next = payloads[i+1].Type()
		}
		start := len(dst)
		var err error
		if dst, err = p.appendBody(append(dst, byte(next), 0, 0, 0)); err != nil {
			return PayloadNone, nil, fmt.Errorf("wire: encode %v payload: %w", p.Type(), err)
		}
		if err := putLength(dst[start:]); err != nil {
			return PayloadNone, nil, fmt.Errorf("wire: encode %v payload: %w", p.Type(), err)
		}
	}
	if len(payloads) == 0 {
		return PayloadNone, dst, nil
	}
	return payloads[0].Type(), dst, nil
}

// putLength writes the length of a payload or substructure whose length field
// follows its first two octets.
func putLength(b []byte) error {
	if len(b) > 1<<16-1 {
		return fmt.Errorf("%d octets, want at most %d", len(b), 1<<16-1)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return nil
}
