package wire

import (
	"encoding/binary"
	"fmt"

	"github.com/evergate/evergate/core/ipsec"
)

// MaxDeleteSPIs limits the SPIs of one Delete payload.
const MaxDeleteSPIs = 1024

// Notify is the Notify payload (RFC 7296 section 3.10).
type Notify struct {
	// Protocol of SPI; ProtocolNone when there is none. On receipt it means
	// nothing without an SPI.
	Protocol ProtocolID
	SPI      []byte // 4 octets for ESP and AH, else empty
	Type     NotifyType
	Data     []byte
}

// ESPSPI is the SPI of a notification about an ESP or AH SA; false when it has
// another length.
func (n *Notify) ESPSPI() (ipsec.SPI, bool) { return parseSPI(n.SPI) }

// Delete is the Delete payload (RFC 7296 section 3.11): for ProtocolIKE it ends
// the IKE SA that carries it and has no SPIs; for ESP and AH it lists the
// sender's inbound SPIs.
type Delete struct {
	Protocol ProtocolID
	SPIs     []ipsec.SPI
}

// PayloadType is PayloadNotify.
func (*Notify) PayloadType() PayloadType { return PayloadNotify }

// PayloadType is PayloadDelete.
func (*Delete) PayloadType() PayloadType { return PayloadDelete }

func (n *Notify) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	spi := int(body[1])
	if len(body) < 4+spi {
		return fmt.Errorf("SPI of %d octets with %d left", spi, len(body)-4)
	}
	n.Protocol = ProtocolID(body[0])
	n.Type = NotifyType(binary.BigEndian.Uint16(body[2:]))
	n.SPI, n.Data = body[4:4+spi:4+spi], body[4+spi:]
	return nil
}

func (n *Notify) appendBody(dst []byte) ([]byte, error) {
	if len(n.SPI) > 255 {
		return nil, fmt.Errorf("SPI of %d octets, want at most 255", len(n.SPI))
	}
	dst = append(dst, byte(n.Protocol), byte(len(n.SPI)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(n.Type))
	return append(append(dst, n.SPI...), n.Data...), nil
}

func (d *Delete) decode(body []byte) error {
	if err := wantOctets(body, 4); err != nil {
		return err
	}
	size, count, rest := int(body[1]), int(binary.BigEndian.Uint16(body[2:])), body[4:]
	d.Protocol = ProtocolID(body[0])
	if want := d.spiSize(); size != want {
		return fmt.Errorf("%v SPIs of %d octets, want %d", d.Protocol, size, want)
	}
	if size*count != len(rest) {
		return fmt.Errorf("%d SPIs of %d octets in %d octets", count, size, len(rest))
	}
	if d.Protocol == ProtocolIKE {
		if count != 0 {
			return fmt.Errorf("%d SPIs for IKE, want none", count)
		}
		return nil
	}
	if count > MaxDeleteSPIs {
		return fmt.Errorf("%d SPIs, want at most %d", count, MaxDeleteSPIs)
	}
	d.SPIs = make([]ipsec.SPI, count)
	for i := range d.SPIs {
		d.SPIs[i] = ipsec.SPI(binary.BigEndian.Uint32(rest[4*i:]))
	}
	return nil
}

func (d *Delete) appendBody(dst []byte) ([]byte, error) {
	switch {
	case d.Protocol == ProtocolIKE && len(d.SPIs) > 0:
		return nil, fmt.Errorf("%d SPIs for IKE, want none", len(d.SPIs))
	case len(d.SPIs) > MaxDeleteSPIs:
		return nil, fmt.Errorf("%d SPIs, want at most %d", len(d.SPIs), MaxDeleteSPIs)
	}
	dst = append(dst, byte(d.Protocol), byte(d.spiSize()))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(d.SPIs)))
	for _, s := range d.SPIs {
		dst = binary.BigEndian.AppendUint32(dst, uint32(s))
	}
	return dst, nil
}

// "SPI Size [...] MUST be zero for IKE (SPI is in message header) or four for
// AH and ESP": RFC 7296 section 3.11.
func (d *Delete) spiSize() int {
	if d.Protocol == ProtocolIKE {
		return 0
	}
	return 4
}
