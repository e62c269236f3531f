package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MaxFragments limits the fragments of one message, sent and received: some 60
// KiB in the smallest datagrams that RFC 7383 section 2.5.1 recommends.
const MaxFragments = 128

// skfHeaderLen is the length of an SKF payload's header: the generic one and
// the two counts.
const skfHeaderLen = payloadHeaderLen + 4

// Sealer encrypts and authenticates what we send in one direction of an IKE SA.
// ike/suite has one per suite.
type Sealer interface {
	// IVLen is the length of the initialization vector in octets.
	IVLen() int
	// BlockLen is what plaintext, padding and Pad Length together are a
	// multiple of, in octets; 1 where the cipher needs no padding.
	BlockLen() int
	// ICVLen is the length of the Integrity Check Value in octets.
	ICVLen() int
	// Seal protects a whole message in place. At body there is room for the IV,
	// then follows the padded plaintext, and the last ICVLen octets are room for
	// the ICV. All before body is complete, lengths included: it is the
	// associated data of AEADs (RFC 5282 section 5.1, RFC 7383 section 2.5), and
	// an integrity algorithm covers it too (RFC 7296 section 3.14).
	Seal(msg []byte, body int) error
}

// Opener undoes what the peer's Sealer did.
type Opener interface {
	// Open authenticates a whole message, then decrypts it in place, and
	// returns the padded plaintext, a part of msg. With an error msg is as it
	// was.
	Open(msg []byte, body int) ([]byte, error)
}

// SK is the Encrypted payload (RFC 7296 section 3.14), always the last one of a
// message.
type SK struct {
	// First is the type of the first payload inside.
	First PayloadType
	// Message is the whole message as it was received, and Body the offset in
	// it where this payload's header ends and the IV starts.
	Message []byte
	Body    int
}

// SKF is the Encrypted Fragment payload (RFC 7383 section 2.5), always the last
// one of a message.
type SKF struct {
	// First is the type of the first payload inside the joined fragments, in
	// fragment number 1; PayloadNone in the others.
	First PayloadType
	// Number counts from 1 to Total.
	Number, Total uint16
	// Message and Body are as in SK.
	Message []byte
	Body    int
}

// PayloadType is PayloadSK.
func (*SK) PayloadType() PayloadType { return PayloadSK }

// PayloadType is PayloadSKF.
func (*SKF) PayloadType() PayloadType { return PayloadSKF }

// Open authenticates and decrypts the message, in place, and returns what
// DecodePayloads reads: the plaintext without its padding. An error that is no
// *Error means that the message is not authentic, and that it is to be dropped
// without a word.
func (p *SK) Open(o Opener) ([]byte, error) {
	return openBody(PayloadSK, p.Message, p.Body, payloadHeaderLen, o)
}

// Open is as SK.Open. The plaintext is one fragment of the payloads: join all
// of them before DecodePayloads.
func (p *SKF) Open(o Opener) ([]byte, error) {
	return openBody(PayloadSKF, p.Message, p.Body, skfHeaderLen, o)
}

func openBody(t PayloadType, msg []byte, body, headerLen int, o Opener) ([]byte, error) {
	if body < HeaderLen+headerLen || body > len(msg) {
		return nil, ErrNotSealed
	}
	plain, err := o.Open(msg, body)
	if err != nil {
		return nil, fmt.Errorf("wire: open %v payload: %w", t, err)
	}
	plain, err = trimPadding(plain)
	if err != nil {
		return nil, syntaxError(t, body-headerLen, err)
	}
	return plain, nil
}

// trimPadding removes Padding and Pad Length.
//
// "Padding MAY contain any value chosen by the sender, and MUST have a length
// that makes the combination of the payloads, the Padding, and the Pad Length
// to be a multiple of the encryption block size." RFC 7296 section 3.14. The
// decryption holds the sender to that.
func trimPadding(plain []byte) ([]byte, error) {
	if len(plain) == 0 {
		return nil, errors.New("no pad length")
	}
	n := len(plain) - 1 - int(plain[len(plain)-1])
	if n < 0 {
		return nil, fmt.Errorf("padding of %d octets in %d", plain[len(plain)-1], len(plain))
	}
	return plain[:n], nil
}

// Seal encodes m behind dst with all its payloads inside one SK payload.
func (m *Message) Seal(dst []byte, s Sealer) ([]byte, error) {
	start := len(dst)
	dst = m.Header.append(dst, PayloadSK)
	dst = append(dst, byte(firstType(m.Payloads)), 0, 0, 0)
	body := len(dst) - start
	dst = append(dst, make([]byte, s.IVLen())...)
	_, dst, err := AppendPayloads(dst, m.Payloads)
	if err != nil {
		return nil, err
	}
	dst, err = seal(dst, start, body, payloadHeaderLen, s)
	if err != nil {
		return nil, fmt.Errorf("wire: seal message: %w", err)
	}
	return dst, nil
}

// SealedLen is the length in octets of what Seal would make of m: whoever may
// send fragments compares it with what fits into a packet.
func (m *Message) SealedLen(s Sealer) (int, error) {
	_, plain, err := AppendPayloads(nil, m.Payloads)
	if err != nil {
		return 0, err
	}
	return HeaderLen + payloadHeaderLen + s.IVLen() + len(plain) + padLen(s, len(plain)) + 1 + s.ICVLen(), nil
}

// SealFragments encodes m as Fragment Messages of at most size octets each,
// with all its payloads inside their SKF payloads (RFC 7383 section 2.5). size
// counts neither IP and UDP headers nor the non-ESP marker. There is at least
// one fragment.
func (m *Message) SealFragments(s Sealer, size int) ([][]byte, error) {
	first, plain, err := AppendPayloads(nil, m.Payloads)
	if err != nil {
		return nil, err
	}
	space := fragmentSpace(s, size)
	if space < 1 {
		return nil, fmt.Errorf("wire: seal fragments: %d octets leave no room for contents", size)
	}
	total := max(1, (len(plain)+space-1)/space)
	if total > MaxFragments {
		return nil, fmt.Errorf("wire: seal fragments: %d octets of contents make %d fragments of %d, want at most %d", len(plain), total, size, MaxFragments)
	}
	msgs := make([][]byte, total)
	for i := range msgs {
		n := min(space, len(plain))
		msgs[i], err = m.Header.sealFragment(first, i+1, total, plain[:n], s)
		if err != nil {
			return nil, fmt.Errorf("wire: seal fragment %d of %d: %w", i+1, total, err)
		}
		// Next Payload "in the very first fragment (with Fragment Number equal
		// to 1) [...] MUST be set to the payload type of the first inner payload
		// [...]. In the rest of the Fragment messages (with Fragment Number
		// greater than 1), this field MUST be set to zero." RFC 7383 section 2.5.
		first, plain = PayloadNone, plain[n:]
	}
	return msgs, nil
}

// fragmentSpace is how much of the contents fits into a fragment of size
// octets.
func fragmentSpace(s Sealer, size int) int {
	sealed := min(size, MaxMessage) - HeaderLen - skfHeaderLen - s.IVLen() - s.ICVLen()
	return sealed - sealed%s.BlockLen() - 1
}

func (h Header) sealFragment(first PayloadType, number, total int, plain []byte, s Sealer) ([]byte, error) {
	msg := make([]byte, 0, HeaderLen+skfHeaderLen+s.IVLen()+len(plain)+s.BlockLen()+s.ICVLen())
	msg = h.append(msg, PayloadSKF)
	msg = append(msg, byte(first), 0, 0, 0)
	msg = binary.BigEndian.AppendUint16(msg, uint16(number))
	msg = binary.BigEndian.AppendUint16(msg, uint16(total))
	body := len(msg)
	msg = append(msg, make([]byte, s.IVLen())...)
	msg = append(msg, plain...)
	return seal(msg, 0, body, skfHeaderLen, s)
}

// seal finishes the message dst[start:], whose IV starts at its octet body and
// whose contents end with dst: padding, room for the ICV, lengths, encryption.
func seal(dst []byte, start, body, headerLen int, s Sealer) ([]byte, error) {
	pad := padLen(s, len(dst)-start-body-s.IVLen())
	dst = append(dst, make([]byte, pad)...)
	dst = append(dst, byte(pad))
	dst = append(dst, make([]byte, s.ICVLen())...)
	msg := dst[start:]
	if err := setLength(msg); err != nil {
		return nil, err
	}
	if err := setPayloadLength(msg[body-headerLen:]); err != nil {
		return nil, err
	}
	if err := s.Seal(msg, body); err != nil {
		return nil, err
	}
	return dst, nil
}

// padLen is the Pad Length behind so many octets of payloads.
//
// "The sender SHOULD set the Pad Length to the minimum value that makes the
// combination of the payloads, the Padding, and the Pad Length a multiple of
// the block size". RFC 7296 section 3.14.
func padLen(s Sealer, payloads int) int {
	if over := (payloads + 1) % s.BlockLen(); over > 0 {
		return s.BlockLen() - over
	}
	return 0
}

// decodeEncrypted reads the header of the SK or SKF payload of length octets at
// msg[pos:].
//
// "The Encrypted payload, if present in a message, MUST be the last payload in
// the message." RFC 7296 section 3.14; RFC 7383 section 2.5 says so of SKF.
func decodeEncrypted(t PayloadType, msg []byte, pos, length int) (Payload, error) {
	if pos+length != len(msg) {
		return nil, syntaxError(t, pos, fmt.Errorf("%d octets behind it, want none", len(msg)-pos-length))
	}
	first := PayloadType(msg[pos])
	if t == PayloadSK {
		return &SK{First: first, Message: msg, Body: pos + payloadHeaderLen}, nil
	}
	if length < skfHeaderLen {
		return nil, syntaxError(t, pos, fmt.Errorf("length %d, want at least %d", length, skfHeaderLen))
	}
	f := &SKF{
		First:   first,
		Number:  binary.BigEndian.Uint16(msg[pos+4:]),
		Total:   binary.BigEndian.Uint16(msg[pos+6:]),
		Message: msg,
		Body:    pos + skfHeaderLen,
	}
	if err := f.check(); err != nil {
		return nil, syntaxError(t, pos, err)
	}
	return f, nil
}

func (p *SKF) check() error {
	if p.Number < 1 || p.Number > p.Total {
		return fmt.Errorf("fragment %d of %d", p.Number, p.Total)
	}
	if p.Total > MaxFragments {
		return fmt.Errorf("%d fragments, want at most %d", p.Total, MaxFragments)
	}
	return nil
}

// appendBody writes the payload as it was received.
func (p *SK) appendBody(dst []byte) ([]byte, error) {
	if p.Body < HeaderLen+payloadHeaderLen || p.Body > len(p.Message) {
		return nil, ErrNotSealed
	}
	return append(dst, p.Message[p.Body:]...), nil
}

// appendBody writes the payload as it was received.
func (p *SKF) appendBody(dst []byte) ([]byte, error) {
	if p.Body < HeaderLen+skfHeaderLen || p.Body > len(p.Message) {
		return nil, ErrNotSealed
	}
	dst = binary.BigEndian.AppendUint16(dst, p.Number)
	dst = binary.BigEndian.AppendUint16(dst, p.Total)
	return append(dst, p.Message[p.Body:]...), p.check()
}
