package xfrm

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// noteVersion is that of the layout of notes.
const noteVersion = 1

// noteSize is the length of a note in octets.
const noteSize = 2 + 16 + 1 + 4 + 8 + 1 + 8 + 8 + 8 + 2 + 6*8 + 2 + 7

// linkNote tells the member of a link from a group.
const linkNote = 0x80

// note is what the kernel keeps of an SA for a later process of this dataplane. It
// holds no secret.
func (a *association) note() []byte {
	b := make([]byte, 0, noteSize)
	b = append(b, noteVersion, uint8(a.direction))
	dst := a.id.Dst.As16()
	b = append(b, dst[:]...)
	b = append(b, uint8(a.id.Dst.BitLen()/8))
	b = binary.BigEndian.AppendUint32(b, uint32(a.id.SPI))
	b = binary.BigEndian.AppendUint64(b, uint64(a.tunnel))
	if a.link == nil {
		b = append(b, uint8(a.group))
	} else {
		b = append(b, linkNote|uint8(a.link.Member))
	}
	b = binary.BigEndian.AppendUint64(b, a.generation)
	b = binary.BigEndian.AppendUint64(b, a.ceiling)
	b = binary.BigEndian.AppendUint64(b, a.lease)
	b = binary.BigEndian.AppendUint16(b, a.pathMTU)
	for _, n := range []uint64{
		a.lifetime.Soft.Bytes, a.lifetime.Soft.Packets, a.lifetime.Hard.Bytes, a.lifetime.Hard.Packets,
		a.earlier.Bytes, a.earlier.Packets,
	} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	for _, n := range []uint16{a.id.Port, uint16(a.algorithms.Encryption), a.algorithms.KeyBits, uint16(a.algorithms.Integrity)} {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	if a.algorithms.ESN {
		return append(b, 1)
	}
	return append(b, 0)
}

var errNote = errors.New("not a note of this version")

// readNote makes an association of a note; the kernel's state is still to come.
func readNote(reqID uint32, b []byte) (*association, error) {
	if len(b) != noteSize || b[0] != noteVersion || uint8(ipsec.Outbound) < b[1] || b[1] == 0 {
		return nil, errNote
	}
	a := &association{reqID: reqID, direction: ipsec.Direction(b[1])}
	dst := netip.AddrFrom16([16]byte(b[2:18]))
	if b[18] == 4 {
		dst = dst.Unmap()
	}
	a.id = ipsec.SAID{SPI: ipsec.SPI(binary.BigEndian.Uint32(b[19:])), Dst: dst, Proto: ipsec.ESP}
	a.tunnel = ipsec.TunnelID(binary.BigEndian.Uint64(b[23:]))
	if b[31]&linkNote != 0 {
		a.link = &ipsec.Link{Member: ipsec.MemberID(b[31] &^ linkNote)}
	} else {
		a.group = offload.Group(b[31])
	}
	if a.group >= offload.MaxGroups || a.link != nil && a.link.Member >= ipsec.MaxMembers {
		return nil, errNote
	}
	a.generation = binary.BigEndian.Uint64(b[32:])
	a.ceiling = binary.BigEndian.Uint64(b[40:])
	a.lease = binary.BigEndian.Uint64(b[48:])
	a.pathMTU = binary.BigEndian.Uint16(b[56:])
	for i, n := range []*uint64{
		&a.lifetime.Soft.Bytes, &a.lifetime.Soft.Packets, &a.lifetime.Hard.Bytes, &a.lifetime.Hard.Packets,
		&a.earlier.Bytes, &a.earlier.Packets,
	} {
		*n = binary.BigEndian.Uint64(b[58+8*i:])
	}
	a.id.Port = binary.BigEndian.Uint16(b[106:])
	a.algorithms = ipsec.Algorithms{
		Encryption: ipsec.EncryptionID(binary.BigEndian.Uint16(b[108:])), KeyBits: binary.BigEndian.Uint16(b[110:]),
		Integrity: ipsec.IntegrityID(binary.BigEndian.Uint16(b[112:])), ESN: b[114] != 0,
	}
	return a, nil
}
