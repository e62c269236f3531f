package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
)

// PayloadType is the Next Payload of RFC 2408 section 3.1 and its extensions.
type PayloadType uint8

// The payload types. NAT-D and NAT-OA are of RFC 3947 section 3; Fragment is a
// private number that all vendors share.
const (
	PayloadNone     PayloadType = 0
	PayloadSA       PayloadType = 1
	PayloadKE       PayloadType = 4
	PayloadID       PayloadType = 5
	PayloadCert     PayloadType = 6
	PayloadCertReq  PayloadType = 7
	PayloadHash     PayloadType = 8
	PayloadSig      PayloadType = 9
	PayloadNonce    PayloadType = 10
	PayloadNotify   PayloadType = 11
	PayloadDelete   PayloadType = 12
	PayloadVendor   PayloadType = 13
	PayloadConfig   PayloadType = 14
	PayloadNATD     PayloadType = 20
	PayloadNATOA    PayloadType = 21
	PayloadFragment PayloadType = 132
)

// String is the RFC's notation.
func (t PayloadType) String() string {
	switch t {
	case PayloadNone:
		return "no"
	case PayloadSA:
		return "SA"
	case PayloadKE:
		return "KE"
	case PayloadID:
		return "ID"
	case PayloadCert:
		return "CERT"
	case PayloadCertReq:
		return "CR"
	case PayloadHash:
		return "HASH"
	case PayloadSig:
		return "SIG"
	case PayloadNonce:
		return "NONCE"
	case PayloadNotify:
		return "N"
	case PayloadDelete:
		return "D"
	case PayloadVendor:
		return "VID"
	case PayloadConfig:
		return "ATTR"
	case PayloadNATD:
		return "NAT-D"
	case PayloadNATOA:
		return "NAT-OA"
	case PayloadFragment:
		return "FRAG"
	default:
		return fmt.Sprintf("type %d", uint8(t))
	}
}

// Payload is one payload of a message.
type Payload interface {
	Type() PayloadType
	appendBody(dst []byte) ([]byte, error)
}

// Find returns the first payload of type T, the zero value (nil) when there is
// none.
func Find[T Payload](payloads []Payload) T {
	var none T
	for _, p := range payloads {
		if t, ok := p.(T); ok {
			return t
		}
	}
	return none
}

// All returns all payloads of type T in order.
func All[T Payload](payloads []Payload) []T {
	var out []T
	for _, p := range payloads {
		if t, ok := p.(T); ok {
			out = append(out, t)
		}
	}
	return out
}

// Body encodes a payload without its generic header: what RFC 2409 section 5
// writes as <P>_b.
func Body(p Payload) ([]byte, error) { return p.appendBody(nil) }

// Limits of a nonce in octets.
//
// "The length of nonce payload MUST be between 8 and 256 bytes inclusive." RFC
// 2409 section 5.
const (
	MinNonceLen = 8
	MaxNonceLen = 256
)

type (
	// KE is the Key Exchange payload (RFC 2408 section 3.7).
	KE struct{ Data []byte }

	// Hash is the Hash payload (RFC 2408 section 3.11).
	Hash struct{ Data []byte }

	// Nonce is the Nonce payload (RFC 2408 section 3.13).
	Nonce struct{ Data []byte }

	// VendorID is the Vendor ID payload (RFC 2408 section 3.16).
	VendorID struct{ Data []byte }

	// NATD is the NAT discovery payload (RFC 3947 section 3.2): a hash of
	// cookies, address and port.
	NATD struct{ Data []byte }

	// NATOA is the NAT original address payload (RFC 3947 section 5.2).
	NATOA struct{ Addr netip.Addr }

	// ID is the Identification payload (RFC 2407 section 4.6.2).
	ID struct {
		Kind  IDType
		Proto uint8  // 0 for any
		Port  uint16 // 0 for any
		Data  []byte
	}

	// Fragment is a piece of a message with a header of its own (the extension
	// that the vendor id "FRAGMENTATION" announces).
	Fragment struct {
		ID     uint16 // of the message
		Number uint8  // from 1
		Last   bool
		Data   []byte
	}

	// Unknown is a payload of any other type.
	Unknown struct {
		Of   PayloadType
		Data []byte
	}
)

// Type is PayloadKE.
func (*KE) Type() PayloadType { return PayloadKE }

// Type is PayloadHash.
func (*Hash) Type() PayloadType { return PayloadHash }

// Type is PayloadNonce.
func (*Nonce) Type() PayloadType { return PayloadNonce }

// Type is PayloadVendor.
func (*VendorID) Type() PayloadType { return PayloadVendor }

// Type is PayloadNATD.
func (*NATD) Type() PayloadType { return PayloadNATD }

// Type is PayloadNATOA.
func (*NATOA) Type() PayloadType { return PayloadNATOA }

// Type is PayloadID.
func (*ID) Type() PayloadType { return PayloadID }

// Type is PayloadFragment.
func (*Fragment) Type() PayloadType { return PayloadFragment }

// Type is Of.
func (p *Unknown) Type() PayloadType { return p.Of }

func (p *KE) appendBody(dst []byte) ([]byte, error)       { return append(dst, p.Data...), nil }
func (p *Hash) appendBody(dst []byte) ([]byte, error)     { return append(dst, p.Data...), nil }
func (p *VendorID) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }
func (p *NATD) appendBody(dst []byte) ([]byte, error)     { return append(dst, p.Data...), nil }

func (p *Nonce) appendBody(dst []byte) ([]byte, error) {
	if err := checkNonce(p.Data); err != nil {
		return nil, err
	}
	return append(dst, p.Data...), nil
}

func (p *NATOA) appendBody(dst []byte) ([]byte, error) {
	a := p.Addr.Unmap()
	kind := IDIPv6
	switch {
	case !a.IsValid():
		return nil, errors.New("no address")
	case a.Is4():
		kind = IDIPv4
	}
	return append(append(dst, byte(kind), 0, 0, 0), a.AsSlice()...), nil
}

func (p *ID) appendBody(dst []byte) ([]byte, error) {
	dst = append(dst, byte(p.Kind), p.Proto)
	return append(binary.BigEndian.AppendUint16(dst, p.Port), p.Data...), nil
}

func (p *Fragment) appendBody(dst []byte) ([]byte, error) {
	if p.Number == 0 {
		return nil, errors.New("number 0, they count from 1")
	}
	dst = append(binary.BigEndian.AppendUint16(dst, p.ID), p.Number, 0)
	if p.Last {
		dst[len(dst)-1] = 1
	}
	return append(dst, p.Data...), nil
}

func (p *Unknown) appendBody(dst []byte) ([]byte, error) {
	if p.Of == PayloadNone || newPayload(p.Of) != nil {
		return nil, errors.New("its type is a known one")
	}
	return append(dst, p.Data...), nil
}

func (p *KE) decode(b []byte) error       { p.Data = b; return nil }
func (p *Hash) decode(b []byte) error     { p.Data = b; return nil }
func (p *VendorID) decode(b []byte) error { p.Data = b; return nil }
func (p *NATD) decode(b []byte) error     { p.Data = b; return nil }

func (p *Nonce) decode(b []byte) error {
	p.Data = b
	return checkNonce(b)
}

func checkNonce(b []byte) error {
	if len(b) < MinNonceLen || len(b) > MaxNonceLen {
		return fmt.Errorf("%d octets, want %d to %d", len(b), MinNonceLen, MaxNonceLen)
	}
	return nil
}

func (p *NATOA) decode(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%d octets, want at least 4", len(b))
	}
	a, ok := netip.AddrFromSlice(b[4:])
	if !ok || IDType(b[0]) != IDIPv4 && IDType(b[0]) != IDIPv6 || a.Is4() != (IDType(b[0]) == IDIPv4) {
		return fmt.Errorf("address of %d octets and type %d", len(b)-4, b[0])
	}
	p.Addr = a
	return nil
}

func (p *ID) decode(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%d octets, want at least 4", len(b))
	}
	p.Kind, p.Proto, p.Port, p.Data = IDType(b[0]), b[1], binary.BigEndian.Uint16(b[2:]), b[4:]
	return nil
}

// ParseID reads the body of an Identification payload, as Body returns it.
func ParseID(body []byte) (*ID, error) {
	p := new(ID)
	if err := p.decode(body); err != nil {
		return nil, malformed(PayloadID, 0, err)
	}
	return p, nil
}

func (p *Fragment) decode(b []byte) error {
	if len(b) < 4 || b[2] == 0 {
		return errors.New("no fragment header, or number 0")
	}
	p.ID, p.Number, p.Last, p.Data = binary.BigEndian.Uint16(b), b[2], b[3]&1 != 0, b[4:]
	return nil
}

// Cookies are the SPI of an ISAKMP SA (RFC 2408 section 2.4).
func Cookies(i, r ipsec.IKESPI) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(i)), uint64(r))
}
