package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxPayloads limits the payloads of one chain: of a message, or of the
// contents of an SK payload.
const MaxPayloads = 128

// usualPayloads is how many payloads a chain has room for before it grows.
const usualPayloads = 8

// payloadHeaderLen is the length of the generic payload header in octets (RFC
// 7296 section 3.2).
const payloadHeaderLen = 4

// criticalBit of the generic payload header. All payloads that this package
// knows are sent without it and understood whether or not it is set.
const criticalBit = 0x80

// Message is an IKE message.
type Message struct {
	Header   Header
	Payloads []Payload
}

// Decode reads the header and the payloads of a whole message; an SK or SKF
// payload stays closed and ends the chain. The result aliases b. After an error
// the header may be had from ParseHeader. The error is an *Error.
func Decode(b []byte) (Message, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return Message{}, err
	}
	if h.Major != MajorVersion {
		return Message{}, &Error{
			Notify: InvalidMajorVersion, Offset: versionOffset,
			Err: fmt.Errorf("version %d.%d, want %d", h.Major, h.Minor, MajorVersion),
		}
	}
	payloads, err := decodeChain(h.NextPayload, b, HeaderLen, true)
	if err != nil {
		return Message{}, err
	}
	return Message{Header: h, Payloads: payloads}, nil
}

// DecodePayloads reads the decrypted contents of an SK payload, or of joined
// fragments, without their padding: a chain of payloads whose first is of type
// first. The result aliases b, offsets in errors count from its start. The
// error is an *Error.
func DecodePayloads(first PayloadType, b []byte) ([]Payload, error) {
	return decodeChain(first, b, 0, false)
}

// decodeChain reads the payloads from msg[pos:]; encrypted ones only where
// outer is set.
func decodeChain(next PayloadType, msg []byte, pos int, outer bool) ([]Payload, error) {
	var payloads []Payload
	for next != PayloadNone {
		if len(payloads) == MaxPayloads {
			return nil, syntaxError(next, pos, fmt.Errorf("more than %d payloads", MaxPayloads))
		}
		rest := msg[pos:]
		if len(rest) < payloadHeaderLen {
			return nil, syntaxError(next, pos, fmt.Errorf("%d octets left for its header of %d", len(rest), payloadHeaderLen))
		}
		length := int(binary.BigEndian.Uint16(rest[2:]))
		if length < payloadHeaderLen || length > len(rest) {
			return nil, syntaxError(next, pos, fmt.Errorf("length %d with %d octets left", length, len(rest)))
		}
		if next == PayloadSK || next == PayloadSKF {
			if !outer {
				return nil, syntaxError(next, pos, errors.New("inside another one"))
			}
			p, err := decodeEncrypted(next, msg, pos, length)
			if err != nil {
				return nil, err
			}
			return append(payloads, p), nil
		}
		p, err := decodePayload(next, rest[1]&criticalBit != 0, rest[payloadHeaderLen:length:length], pos)
		if err != nil {
			return nil, err
		}
		if payloads == nil {
			payloads = make([]Payload, 0, usualPayloads)
		}
		payloads = append(payloads, p)
		next, pos = PayloadType(rest[0]), pos+length
	}
	if pos != len(msg) {
		return nil, syntaxError(PayloadNone, pos, fmt.Errorf("%d octets behind the last payload", len(msg)-pos))
	}
	return payloads, nil
}

// decoder is a payload that can be read from its body. Offsets in its errors
// count from the start of the body.
type decoder interface {
	Payload
	decode(body []byte) error
}

// decodePayload reads one payload at offset pos.
func decodePayload(t PayloadType, critical bool, body []byte, pos int) (Payload, error) {
	p := newPayload(t)
	if p == nil {
		// "If the critical flag is set and the payload type is unrecognized, the
		// message MUST be rejected and the response to the IKE request
		// containing that payload MUST include a Notify payload
		// UNSUPPORTED_CRITICAL_PAYLOAD, indicating an unsupported critical
		// payload was included." RFC 7296 section 2.5.
		if critical {
			return nil, &Error{
				Notify: UnsupportedCriticalPayload, Payload: t, Offset: pos,
				Err: errors.New("critical and not supported"),
			}
		}
		return &Unknown{Type: t, Body: body}, nil
	}
	if err := p.decode(body); err != nil {
		return nil, syntaxError(t, pos, err)
	}
	return p, nil
}

// newPayload returns an empty payload of type t, nil for those that are not
// known or not read from their body.
func newPayload(t PayloadType) decoder {
	switch t {
	case PayloadSA:
		return new(SA)
	case PayloadKE:
		return new(KE)
	case PayloadIDi:
		return new(IDi)
	case PayloadIDr:
		return new(IDr)
	case PayloadCert:
		return new(Cert)
	case PayloadCertReq:
		return new(CertReq)
	case PayloadAuth:
		return new(Auth)
	case PayloadNonce:
		return new(Nonce)
	case PayloadNotify:
		return new(Notify)
	case PayloadDelete:
		return new(Delete)
	case PayloadVendor:
		return new(VendorID)
	case PayloadTSi:
		return new(TSi)
	case PayloadTSr:
		return new(TSr)
	case PayloadCP:
		return new(CP)
	case PayloadEAP:
		return new(EAP)
	default:
		return nil
	}
}

// Append encodes m behind dst, in the clear. It sets the header's NextPayload,
// Length and, where Major is zero, version; m itself is not changed. An error
// means that a field has no encoding, and names the payload.
func (m *Message) Append(dst []byte) ([]byte, error) {
	start := len(dst)
	dst = m.Header.append(dst, firstType(m.Payloads))
	_, dst, err := AppendPayloads(dst, m.Payloads)
	if err != nil {
		return nil, err
	}
	if err := setLength(dst[start:]); err != nil {
		return nil, fmt.Errorf("wire: encode message: %w", err)
	}
	return dst, nil
}

// AppendPayloads encodes a chain of payloads behind dst and returns the type of
// the first one, PayloadNone when there is none.
func AppendPayloads(dst []byte, payloads []Payload) (PayloadType, []byte, error) {
	if len(payloads) > MaxPayloads {
		return PayloadNone, nil, fmt.Errorf("wire: encode %d payloads, want at most %d", len(payloads), MaxPayloads)
	}
	for i, p := range payloads {
		var err error
		if dst, err = appendPayload(dst, p, payloads[i+1:]); err != nil {
			return PayloadNone, nil, fmt.Errorf("wire: encode %v payload: %w", p.PayloadType(), err)
		}
	}
	return firstType(payloads), dst, nil
}

// appendPayload encodes p with its generic header; rest follows it.
func appendPayload(dst []byte, p Payload, rest []Payload) ([]byte, error) {
	next, critical := firstType(rest), byte(0)
	switch p := p.(type) {
	case *SK:
		next = p.First
	case *SKF:
		next = p.First
	case *Unknown:
		if p.Type == PayloadNone || p.Type == PayloadSK || p.Type == PayloadSKF || newPayload(p.Type) != nil {
			return nil, errors.New("its type is a known one")
		}
		if p.Critical {
			critical = criticalBit
		}
	}
	if encrypted(p) && len(rest) > 0 {
		return nil, fmt.Errorf("%d payloads behind it, want none", len(rest))
	}
	start := len(dst)
	dst, err := p.appendBody(append(dst, byte(next), critical, 0, 0))
	if err != nil {
		return nil, err
	}
	return dst, setPayloadLength(dst[start:])
}

// setPayloadLength writes the Payload Length of one whole payload.
func setPayloadLength(b []byte) error {
	if len(b) > 1<<16-1 {
		return fmt.Errorf("%d octets, want at most %d", len(b), 1<<16-1)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return nil
}

func firstType(payloads []Payload) PayloadType {
	if len(payloads) == 0 {
		return PayloadNone
	}
	return payloads[0].PayloadType()
}

func encrypted(p Payload) bool {
	t := p.PayloadType()
	return t == PayloadSK || t == PayloadSKF
}
