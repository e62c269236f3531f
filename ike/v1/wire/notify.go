package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// NotifyType is a Notify Message Type of RFC 2408 section 3.14.1, RFC 2407
// section 4.6.3 and RFC 3706 section 5.2.
type NotifyType uint16

// The notifications.
const (
	InvalidPayloadType     NotifyType = 1
	DOINotSupported        NotifyType = 2
	SituationNotSupported  NotifyType = 3
	InvalidCookie          NotifyType = 4
	InvalidMajorVersion    NotifyType = 5
	InvalidMinorVersion    NotifyType = 6
	InvalidExchangeType    NotifyType = 7
	InvalidFlags           NotifyType = 8
	InvalidMessageID       NotifyType = 9
	InvalidProtocolID      NotifyType = 10
	InvalidSPI             NotifyType = 11
	InvalidTransformID     NotifyType = 12
	AttributesNotSupported NotifyType = 13
	NoProposalChosen       NotifyType = 14
	BadProposalSyntax      NotifyType = 15
	PayloadMalformed       NotifyType = 16
	InvalidKeyInformation  NotifyType = 17
	InvalidIDInformation   NotifyType = 18
	InvalidHashInformation NotifyType = 23
	AuthenticationFailed   NotifyType = 24
	UnequalPayloadLengths  NotifyType = 30
	Connected              NotifyType = 16384
	ResponderLifetime      NotifyType = 24576
	ReplayStatus           NotifyType = 24577
	InitialContact         NotifyType = 24578
	RUThere                NotifyType = 36136
	RUThereAck             NotifyType = 36137
)

// IsError tells whether n reports an error: 1 to 8191, and up to 16383 the private
// ones (RFC 2408 section 3.14.1).
func (n NotifyType) IsError() bool { return n < 16384 }

// String is the RFC's name.
func (n NotifyType) String() string {
	names := map[NotifyType]string{
		InvalidPayloadType: "INVALID-PAYLOAD-TYPE", DOINotSupported: "DOI-NOT-SUPPORTED",
		SituationNotSupported: "SITUATION-NOT-SUPPORTED", InvalidCookie: "INVALID-COOKIE",
		InvalidMajorVersion: "INVALID-MAJOR-VERSION", InvalidMinorVersion: "INVALID-MINOR-VERSION",
		InvalidExchangeType: "INVALID-EXCHANGE-TYPE", InvalidFlags: "INVALID-FLAGS",
		InvalidMessageID: "INVALID-MESSAGE-ID", InvalidProtocolID: "INVALID-PROTOCOL-ID",
		InvalidSPI: "INVALID-SPI", InvalidTransformID: "INVALID-TRANSFORM-ID",
		AttributesNotSupported: "ATTRIBUTES-NOT-SUPPORTED", NoProposalChosen: "NO-PROPOSAL-CHOSEN",
		BadProposalSyntax: "BAD-PROPOSAL-SYNTAX", PayloadMalformed: "PAYLOAD-MALFORMED",
		InvalidKeyInformation: "INVALID-KEY-INFORMATION", InvalidIDInformation: "INVALID-ID-INFORMATION",
		InvalidHashInformation: "INVALID-HASH-INFORMATION", AuthenticationFailed: "AUTHENTICATION-FAILED",
		UnequalPayloadLengths: "UNEQUAL-PAYLOAD-LENGTHS", Connected: "CONNECTED",
		ResponderLifetime: "RESPONDER-LIFETIME", ReplayStatus: "REPLAY-STATUS", InitialContact: "INITIAL-CONTACT",
		RUThere: "R-U-THERE", RUThereAck: "R-U-THERE-ACK",
	}
	if name, ok := names[n]; ok {
		return name
	}
	return fmt.Sprintf("NOTIFY(%d)", uint16(n))
}

// Notify is the Notification payload (RFC 2408 section 3.14).
type Notify struct {
	Protocol Protocol
	SPI      []byte
	Kind     NotifyType
	Data     []byte
}

// FindNotify returns the first notification of that kind, nil when there is
// none.
func FindNotify(payloads []Payload, kind NotifyType) *Notify {
	for _, p := range payloads {
		if n, ok := p.(*Notify); ok && n.Kind == kind {
			return n
		}
	}
	return nil
}

// Type is PayloadNotify.
func (*Notify) Type() PayloadType { return PayloadNotify }

func (p *Notify) appendBody(dst []byte) ([]byte, error) {
	if len(p.SPI) > 255 {
		return nil, fmt.Errorf("SPI of %d octets", len(p.SPI))
	}
	dst = binary.BigEndian.AppendUint32(dst, doiIPsec)
	dst = append(dst, byte(p.Protocol), byte(len(p.SPI)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(p.Kind))
	return append(append(dst, p.SPI...), p.Data...), nil
}

// decode takes any domain of interpretation: that of ISAKMP itself, 0, comes
// with errors of phase 1.
func (p *Notify) decode(b []byte) error {
	if len(b) < 8 || len(b) < 8+int(b[5]) {
		return fmt.Errorf("%d octets are too few", len(b))
	}
	n := 8 + int(b[5])
	p.Protocol, p.Kind, p.SPI, p.Data = Protocol(b[4]), NotifyType(binary.BigEndian.Uint16(b[6:])), b[8:n:n], b[n:]
	return nil
}

// MaxDeleteSPIs limits the SPIs of one Delete payload.
const MaxDeleteSPIs = 256

// Delete is the Delete payload (RFC 2408 section 3.15). SPIs are of one length:
// four octets for ESP, the two cookies for ISAKMP.
type Delete struct {
	Protocol Protocol
	SPIs     [][]byte
}

// Type is PayloadDelete.
func (*Delete) Type() PayloadType { return PayloadDelete }

func (p *Delete) appendBody(dst []byte) ([]byte, error) {
	if len(p.SPIs) == 0 || len(p.SPIs) > MaxDeleteSPIs || len(p.SPIs[0]) > 255 {
		return nil, fmt.Errorf("%d SPIs, want 1 to %d of at most 255 octets", len(p.SPIs), MaxDeleteSPIs)
	}
	dst = binary.BigEndian.AppendUint32(dst, doiIPsec)
	dst = append(dst, byte(p.Protocol), byte(len(p.SPIs[0])))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(p.SPIs)))
	for _, spi := range p.SPIs {
		if len(spi) != len(p.SPIs[0]) {
			return nil, fmt.Errorf("SPIs of %d and %d octets", len(p.SPIs[0]), len(spi))
		}
		dst = append(dst, spi...)
	}
	return dst, nil
}

func (p *Delete) decode(b []byte) error {
	if len(b) < 8 {
		return fmt.Errorf("%d octets, want at least 8", len(b))
	}
	size, count := int(b[5]), int(binary.BigEndian.Uint16(b[6:]))
	if count == 0 || count > MaxDeleteSPIs || size == 0 || len(b) != 8+size*count {
		return fmt.Errorf("%d SPIs of %d octets in %d octets", count, size, len(b)-8)
	}
	p.Protocol = Protocol(b[4])
	for b = b[8:]; len(b) > 0; b = b[size:] {
		p.SPIs = append(p.SPIs, b[:size:size])
	}
	return nil
}

// SPIBytes is an ESP SPI as payloads have it.
func SPIBytes(spi ipsec.SPI) []byte { return binary.BigEndian.AppendUint32(nil, uint32(spi)) }

// ParseSPI reads an ESP SPI; false for what is not four octets long.
func ParseSPI(b []byte) (ipsec.SPI, bool) {
	if len(b) != 4 {
		return 0, false
	}
	return ipsec.SPI(binary.BigEndian.Uint32(b)), true
}
