package wire

import (
	"encoding/binary"
	"fmt"
)

// ID is the body of both Identification payloads (RFC 7296 section 3.5).
type ID struct {
	Type uint8 // IANA's "IKEv2 Identification Payload ID Types"
	// Reserved is sent as zero. It is kept on receipt, because AUTH covers it.
	Reserved [3]byte
	Data     []byte
}

// Octets are what AUTH covers: "RestOfInitIDPayload = IDType | RESERVED |
// InitIDData". RFC 7296 section 2.15.
func (id ID) Octets() []byte { return id.append(nil) }

// IDi is the Identification payload of the initiator.
type IDi struct{ ID }

// IDr is the Identification payload of the responder.
type IDr struct{ ID }

// AuthMethod is IANA's "IKEv2 Authentication Method".
type AuthMethod uint8

// The methods of RFC 7296 section 3.8 and RFC 7427 section 3.
const (
	AuthRSASignature     AuthMethod = 1
	AuthSharedKey        AuthMethod = 2
	AuthDSSSignature     AuthMethod = 3
	AuthDigitalSignature AuthMethod = 14
)

// String is IANA's name.
func (m AuthMethod) String() string {
	switch m {
	case AuthRSASignature:
		return "RSA digital signature"
	case AuthSharedKey:
		return "shared key message integrity code"
	case AuthDSSSignature:
		return "DSS digital signature"
	case AuthDigitalSignature:
		return "digital signature"
	default:
		return fmt.Sprintf("authentication method %d", uint8(m))
	}
}

// Auth is the Authentication payload (RFC 7296 section 3.8).
type Auth struct {
	Method AuthMethod
	Data   []byte
}

// Cert is the Certificate payload (RFC 7296 section 3.6).
type Cert struct {
	Encoding uint8 // IANA's "IKEv2 Certificate Encodings"
	Data     []byte
}

// CertReq is the Certificate Request payload (RFC 7296 section 3.7).
type CertReq struct {
	Encoding  uint8
	Authority []byte // as the encoding has it: SHA-1 hashes of trusted CAs' keys
}

// EAP is the Extensible Authentication payload (RFC 7296 section 3.16): one
// whole EAP message, its length checked.
type EAP struct {
	Message []byte
}

// PayloadType is PayloadIDi.
func (*IDi) PayloadType() PayloadType { return PayloadIDi }

// PayloadType is PayloadIDr.
func (*IDr) PayloadType() PayloadType { return PayloadIDr }

// PayloadType is PayloadAuth.
func (*Auth) PayloadType() PayloadType { return PayloadAuth }

// PayloadType is PayloadCert.
func (*Cert) PayloadType() PayloadType { return PayloadCert }

// PayloadType is PayloadCertReq.
func (*CertReq) PayloadType() PayloadType { return PayloadCertReq }

// PayloadType is PayloadEAP.
func (*EAP) PayloadType() PayloadType { return PayloadEAP }

func (id *ID) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	id.Type = body[0]
	copy(id.Reserved[:], body[1:])
	id.Data = body[4:]
	return nil
}

func (id ID) append(dst []byte) []byte {
	dst = append(append(dst, id.Type), id.Reserved[:]...)
	return append(dst, id.Data...)
}

func (p *IDi) appendBody(dst []byte) ([]byte, error) { return p.append(dst), nil }

func (p *IDr) appendBody(dst []byte) ([]byte, error) { return p.append(dst), nil }

func (p *Auth) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	p.Method, p.Data = AuthMethod(body[0]), body[4:]
	return nil
}

func (p *Auth) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, byte(p.Method), 0, 0, 0), p.Data...), nil
}

func (p *Cert) decode(body []byte) error {
	if err := wantOctets(body, 1); err != nil {
		return err
	}
	p.Encoding, p.Data = body[0], body[1:]
	return nil
}

func (p *Cert) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, p.Encoding), p.Data...), nil
}

func (p *CertReq) decode(body []byte) error {
	if err := wantOctets(body, 1); err != nil {
		return err
	}
	p.Encoding, p.Authority = body[0], body[1:]
	return nil
}

func (p *CertReq) appendBody(dst []byte) ([]byte, error) {
	return append(append(dst, p.Encoding), p.Authority...), nil
}

func (p *EAP) decode(body []byte) error {
	p.Message = body
	return p.check()
}

func (p *EAP) appendBody(dst []byte) ([]byte, error) {
	return append(dst, p.Message...), p.check()
}

// check compares the length field of the EAP message (RFC 3748 section 4).
func (p *EAP) check() error {
	if err := wantOctets(p.Message, 4); err != nil {
		return err
	}
	if n := int(binary.BigEndian.Uint16(p.Message[2:])); n != len(p.Message) {
		return fmt.Errorf("EAP message of length %d in %d octets", n, len(p.Message))
	}
	return nil
}
