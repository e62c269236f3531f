package wire

import "fmt"

// PayloadType is IANA's "IKEv2 Payload Types".
type PayloadType uint8

// The payload types of RFC 7296 section 3.2 and RFC 7383 section 2.5.
const (
	PayloadNone    PayloadType = 0 // no next payload
	PayloadSA      PayloadType = 33
	PayloadKE      PayloadType = 34
	PayloadIDi     PayloadType = 35
	PayloadIDr     PayloadType = 36
	PayloadCert    PayloadType = 37
	PayloadCertReq PayloadType = 38
	PayloadAuth    PayloadType = 39
	PayloadNonce   PayloadType = 40
	PayloadNotify  PayloadType = 41
	PayloadDelete  PayloadType = 42
	PayloadVendor  PayloadType = 43
	PayloadTSi     PayloadType = 44
	PayloadTSr     PayloadType = 45
	PayloadSK      PayloadType = 46
	PayloadCP      PayloadType = 47
	PayloadEAP     PayloadType = 48
	PayloadSKF     PayloadType = 53
)

// String is the RFC's notation: "SA", "IDi", "CERTREQ".
func (t PayloadType) String() string {
	switch t {
	case PayloadNone:
		return "no"
	case PayloadSA:
		return "SA"
	case PayloadKE:
		return "KE"
	case PayloadIDi:
		return "IDi"
	case PayloadIDr:
		return "IDr"
	case PayloadCert:
		return "CERT"
	case PayloadCertReq:
		return "CERTREQ"
	case PayloadAuth:
		return "AUTH"
	case PayloadNonce:
		return "Nonce"
	case PayloadNotify:
		return "Notify"
	case PayloadDelete:
		return "Delete"
	case PayloadVendor:
		return "Vendor ID"
	case PayloadTSi:
		return "TSi"
	case PayloadTSr:
		return "TSr"
	case PayloadSK:
		return "SK"
	case PayloadCP:
		return "CP"
	case PayloadEAP:
		return "EAP"
	case PayloadSKF:
		return "SKF"
	default:
		return fmt.Sprintf("type %d", uint8(t))
	}
}

// ProtocolID is IANA's "IKEv2 Security Protocol Identifiers".
type ProtocolID uint8

// The protocols of RFC 7296 section 3.3.1. ProtocolNone is for notifications
// that concern no SA.
const (
	ProtocolNone ProtocolID = 0
	ProtocolIKE  ProtocolID = 1
	ProtocolAH   ProtocolID = 2
	ProtocolESP  ProtocolID = 3
)

// String is the RFC's name.
func (p ProtocolID) String() string {
	switch p {
	case ProtocolNone:
		return "none"
	case ProtocolIKE:
		return "IKE"
	case ProtocolAH:
		return "AH"
	case ProtocolESP:
		return "ESP"
	default:
		return fmt.Sprintf("PROTOCOL(%d)", uint8(p))
	}
}

// Payload is one payload of a message: *SA, *KE, *IDi, *IDr, *Cert, *CertReq,
// *Auth, *Nonce, *Notify, *Delete, *VendorID, *TSi, *TSr, *CP, *EAP, *SK, *SKF
// or *Unknown.
type Payload interface {
	// PayloadType is the type that goes on the wire.
	PayloadType() PayloadType
	// appendBody encodes what follows the generic header.
	appendBody(dst []byte) ([]byte, error)
}

// Unknown is a payload of a type that this package does not know. Decoded ones
// are never critical: those end in an error.
//
// "If the critical flag is not set and the payload type is unsupported, that
// payload MUST be ignored." RFC 7296 section 2.5.
type Unknown struct {
	Type     PayloadType
	Critical bool
	Body     []byte
}

// Find returns the first payload of type P, such as Find[*SA](msg.Payloads), or
// nil.
func Find[P Payload](payloads []Payload) P {
	for _, p := range payloads {
		if found, ok := p.(P); ok {
			return found
		}
	}
	var none P
	return none
}

// FindNotify returns the first notification of type t, or nil.
func FindNotify(payloads []Payload, t NotifyType) *Notify {
	for _, p := range payloads {
		if n, ok := p.(*Notify); ok && n.Type == t {
			return n
		}
	}
	return nil
}

// PayloadType is u.Type.
func (u *Unknown) PayloadType() PayloadType { return u.Type }

func (u *Unknown) appendBody(dst []byte) ([]byte, error) { return append(dst, u.Body...), nil }
