package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// Nonces have this many octets (RFC 7296 section 3.9).
const (
	MinNonce = 16
	MaxNonce = 256
)

// KE is the Key Exchange payload (RFC 7296 section 3.4).
type KE struct {
	Group ipsec.GroupID
	Data  []byte
}

// Nonce is the Nonce payload (RFC 7296 section 3.9).
type Nonce struct {
	Data []byte
}

// VendorID is the Vendor ID payload (RFC 7296 section 3.12).
type VendorID struct {
	Data []byte
}

// PayloadType is PayloadKE.
func (*KE) PayloadType() PayloadType { return PayloadKE }

// PayloadType is PayloadNonce.
func (*Nonce) PayloadType() PayloadType { return PayloadNonce }

// PayloadType is PayloadVendor.
func (*VendorID) PayloadType() PayloadType { return PayloadVendor }

func (p *KE) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	p.Group = ipsec.GroupID(binary.BigEndian.Uint16(body))
	p.Data = body[4:]
	return nil
}

func (p *KE) appendBody(dst []byte) ([]byte, error) {
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Group))
	return append(append(dst, 0, 0), p.Data...), nil
}

func (p *Nonce) decode(body []byte) error {
	p.Data = body
	return p.check()
}

func (p *Nonce) appendBody(dst []byte) ([]byte, error) {
	return append(dst, p.Data...), p.check()
}

// "The size of the Nonce Data MUST be between 16 and 256 octets, inclusive."
// RFC 7296 section 3.9.
func (p *Nonce) check() error {
	if len(p.Data) < MinNonce || len(p.Data) > MaxNonce {
		return fmt.Errorf("%d octets of nonce, want %d to %d", len(p.Data), MinNonce, MaxNonce)
	}
	return nil
}

func (p *VendorID) decode(body []byte) error {
	p.Data = body
	return nil
}

func (p *VendorID) appendBody(dst []byte) ([]byte, error) { return append(dst, p.Data...), nil }

// wantOctets tells when b is too short for the fixed part of what it holds.
func wantOctets(b []byte, n int) error {
	if len(b) < n {
		return fmt.Errorf("%d octets, want at least %d", len(b), n)
	}
	return nil
}
