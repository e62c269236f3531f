package packet

import "encoding/binary"

// VnetLen is the virtio-net header before each packet of a TUN device.
const VnetLen = 10

// VnetHeader is struct virtio_net_hdr of the Linux kernel, in the byte order of
// the host (little endian is asked for with TUNSETVNETLE where it is not).
type VnetHeader struct {
	Flags, GSOType                          uint8
	HeaderLen, GSOSize, CsumStart, CsumOffs uint16
}

// Flags and types of the virtio-net header (linux/virtio_net.h).
const (
	vnetNeedsCsum = 1

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN   = 0x80
)

func (v *VnetHeader) decode(b []byte) {
	*v = VnetHeader{
		Flags:     b[0],
		GSOType:   b[1],
		HeaderLen: binary.LittleEndian.Uint16(b[2:]),
		GSOSize:   binary.LittleEndian.Uint16(b[4:]),
		CsumStart: binary.LittleEndian.Uint16(b[6:]),
		CsumOffs:  binary.LittleEndian.Uint16(b[8:]),
	}
}

func (v *VnetHeader) encode(b []byte) {
	b[0], b[1] = v.Flags, v.GSOType
	binary.LittleEndian.PutUint16(b[2:], v.HeaderLen)
	binary.LittleEndian.PutUint16(b[4:], v.GSOSize)
	binary.LittleEndian.PutUint16(b[6:], v.CsumStart)
	binary.LittleEndian.PutUint16(b[8:], v.CsumOffs)
}
