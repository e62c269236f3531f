package xfrmnl

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"

	"github.com/evergate/evergate/core/ipsec"
)

// State is an SA as the kernel has it.
type State struct {
	SPI      ipsec.SPI
	Dst, Src netip.Addr // the outer addresses
	Proto    ipsec.Protocol
	Mode     uint8
	ReqID    uint32
	// IfID is that of the XFRM interface whose packets this is for; 0 for none.
	IfID uint32
	// Flags and Extra are the bits of Flag... and Extra...
	Flags uint8
	Extra uint32
	// Selector of inner packets; the zero value lets policies decide.
	Selector Selector
	Mark     Mark
	// OutputMark is what the mark of a packet becomes that has passed.
	OutputMark Mark

	AEAD        *Algorithm // or
	Crypt, Auth *Algorithm

	Encap *Encap
	// MappingAge is how many seconds pass before the kernel tells again that packets
	// come from elsewhere (Mapped), unless the port is another one; 0 has it told with
	// each packet, and so have kernels before 5.17. Inbound and in UDP only.
	MappingAge uint32
	// Offload to a device, as asked for or, in what the kernel tells, as it is.
	Offload *Offload

	Lifetime Lifetime
	Replay   Replay

	// What follows is the kernel's to tell.
	Current Current
	Stats   Stats
}

// Algorithm by the name that the kernel's cryptography knows.
type Algorithm struct {
	Name string
	Key  ipsec.Key // with the salt behind it
	// ICVBits is the length of the integrity check value, of AEADs and
	// authentication.
	ICVBits uint32
}

// Mark of packets, a value under a mask.
type Mark struct{ Value, Mask uint32 }

// Encap are the UDP ports that ESP travels between (RFC 3948).
type Encap struct{ SrcPort, DstPort uint16 }

// Offload of ESP to a network device.
type Offload struct {
	Device  int // index of the interface
	Inbound bool
	// Packet: the device does all of ESP, and not the cryptography only.
	Packet bool
}

// Lifetime limits a state; Unlimited where nothing shall be. At a hard limit the
// kernel removes the state.
type Lifetime struct {
	SoftBytes, HardBytes, SoftPackets, HardPackets uint64
}

// NoLimits is the Lifetime without an end.
func NoLimits() Lifetime {
	return Lifetime{SoftBytes: Unlimited, HardBytes: Unlimited, SoftPackets: Unlimited, HardPackets: Unlimited}
}

// Current is what a state has carried.
type Current struct {
	Bytes, Packets uint64
	// Added and Used are times in seconds since 1970, 0 for never.
	Added, Used uint64
}

// Stats count what an inbound state has refused.
type Stats struct{ OutsideWindow, Replayed, BadIntegrity uint32 }

// marshal makes a message of type NEWSA or UPDSA.
func (s State) marshal() ([]byte, error) {
	b := make([]byte, sizeSA)
	s.put(b)
	ae := netlink.NewAttributeEncoder()
	if s.AEAD != nil {
		ae.Bytes(attrAEAD, s.AEAD.marshal(true))
	}
	if s.Auth != nil {
		ae.Bytes(attrAuthTrunc, s.Auth.marshal(true))
	}
	if s.Crypt != nil {
		ae.Bytes(attrCrypt, s.Crypt.marshal(false))
	}
	if s.Encap != nil {
		ae.Bytes(attrEncap, s.Encap.marshal())
	}
	if s.MappingAge != 0 {
		ae.Uint32(attrMappingAge, s.MappingAge)
	}
	if s.Mark != (Mark{}) {
		ae.Bytes(attrMark, s.Mark.marshal())
	}
	ae.Bytes(attrReplay, s.Replay.marshal())
	if s.Extra != 0 {
		ae.Uint32(attrExtraFlags, s.Extra)
	}
	if s.Offload != nil {
		ae.Bytes(attrOffload, s.Offload.marshal())
	}
	if s.IfID != 0 {
		ae.Uint32(attrIfID, s.IfID)
	}
	if s.OutputMark != (Mark{}) {
		ae.Uint32(attrSetMark, s.OutputMark.Value)
		ae.Uint32(attrSetMarkMask, s.OutputMark.Mask)
	}
	attrs, err := ae.Encode()
	return append(b, attrs...), err
}

// put writes struct xfrm_usersa_info.
func (s State) put(b []byte) {
	s.Selector.put(b)
	putAddr(b[56:], s.Dst)
	network.PutUint32(b[72:], uint32(s.SPI))
	b[76] = uint8(s.Proto)
	putAddr(b[80:], s.Src)
	s.Lifetime.put(b[96:])
	native.PutUint32(b[208:], s.ReqID)
	native.PutUint16(b[212:], family(s.Dst))
	b[214] = s.Mode
	b[216] = s.Flags
}

func (l Lifetime) put(b []byte) {
	native.PutUint64(b, l.SoftBytes)
	native.PutUint64(b[8:], l.HardBytes)
	native.PutUint64(b[16:], l.SoftPackets)
	native.PutUint64(b[24:], l.HardPackets)
}

// marshal writes struct xfrm_algo, or the longer ones that tell the length of the
// check value too.
func (a Algorithm) marshal(icv bool) []byte {
	b := make([]byte, sizeAlgorithm+4, sizeAlgorithm+8+a.Key.Len())
	copy(b[:sizeAlgorithm-1], a.Name)
	native.PutUint32(b[sizeAlgorithm:], uint32(8*a.Key.Len()))
	if icv {
		b = native.AppendUint32(b, a.ICVBits)
	}
	return append(b, a.Key.Reveal()...)
}

func (e Encap) marshal() []byte {
	b := make([]byte, sizeEncap)
	native.PutUint16(b, encapESPinUDP)
	network.PutUint16(b[2:], e.SrcPort)
	network.PutUint16(b[4:], e.DstPort)
	return b
}

func (m Mark) marshal() []byte {
	b := make([]byte, sizeMark)
	native.PutUint32(b, m.Value)
	native.PutUint32(b[4:], m.Mask)
	return b
}

func (o Offload) marshal() []byte {
	b := make([]byte, sizeOffload)
	native.PutUint32(b, uint32(int32(o.Device)))
	if o.Inbound {
		b[4] |= offloadInbound
	}
	if o.Packet {
		b[4] |= offloadPacket
	}
	return b
}

// UnmarshalState reads what the kernel tells of a state: struct xfrm_usersa_info
// and the attributes behind it.
func UnmarshalState(b []byte) (State, error) {
	if len(b) < sizeSA {
		return State{}, fmt.Errorf("xfrmnl: parse a state: %w", errShort)
	}
	s := stateOf(b)
	if err := s.readAttributes(b[sizeSA:]); err != nil {
		return State{}, fmt.Errorf("xfrmnl: parse state %v: %w", s.SPI, err)
	}
	return s, nil
}

// stateOf reads struct xfrm_usersa_info; b has its full size.
func stateOf(b []byte) State {
	fam := native.Uint16(b[212:])
	return State{
		Selector: selectorOf(b),
		Dst:      addrOf(b[56:], fam),
		SPI:      ipsec.SPI(network.Uint32(b[72:])),
		Proto:    ipsec.Protocol(b[76]),
		Src:      addrOf(b[80:], fam),
		Lifetime: Lifetime{native.Uint64(b[96:]), native.Uint64(b[104:]), native.Uint64(b[112:]), native.Uint64(b[120:])},
		Current:  currentOf(b[160:]),
		Stats:    Stats{native.Uint32(b[192:]), native.Uint32(b[196:]), native.Uint32(b[200:])},
		ReqID:    native.Uint32(b[208:]),
		Mode:     b[214],
		Flags:    b[216],
	}
}

func currentOf(b []byte) Current {
	return Current{native.Uint64(b), native.Uint64(b[8:]), native.Uint64(b[16:]), native.Uint64(b[24:])}
}

func (s *State) readAttributes(b []byte) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return err
	}
	for ad.Next() {
		switch ad.Type() {
		case attrAEAD:
			ad.Do(func(b []byte) (err error) { s.AEAD, err = algorithmOf(b, true); return err })
		case attrAuthTrunc:
			ad.Do(func(b []byte) (err error) { s.Auth, err = algorithmOf(b, true); return err })
		case attrCrypt:
			ad.Do(func(b []byte) (err error) { s.Crypt, err = algorithmOf(b, false); return err })
		case attrEncap:
			ad.Do(func(b []byte) (err error) { s.Encap, err = encapOf(b); return err })
		case attrMappingAge:
			s.MappingAge = ad.Uint32()
		case attrMark:
			ad.Do(func(b []byte) (err error) { s.Mark, err = markOf(b); return err })
		case attrReplay:
			ad.Do(func(b []byte) (err error) { s.Replay, err = replayOf(b); return err })
		case attrOffload:
			ad.Do(func(b []byte) (err error) { s.Offload, err = offloadOf(b); return err })
		case attrExtraFlags:
			s.Extra = ad.Uint32()
		case attrIfID:
			s.IfID = ad.Uint32()
		case attrSetMark:
			s.OutputMark.Value = ad.Uint32()
		case attrSetMarkMask:
			s.OutputMark.Mask = ad.Uint32()
		}
	}
	return ad.Err()
}

func algorithmOf(b []byte, icv bool) (*Algorithm, error) {
	header := sizeAlgorithm + 4
	if icv {
		header += 4
	}
	if len(b) < header {
		return nil, fmt.Errorf("algorithm: %w", errShort)
	}
	name, _, _ := bytes.Cut(b[:sizeAlgorithm], []byte{0})
	a := &Algorithm{Name: string(name)}
	octets := (uint64(native.Uint32(b[sizeAlgorithm:])) + 7) / 8
	if icv {
		a.ICVBits = native.Uint32(b[sizeAlgorithm+4:])
	}
	if uint64(len(b)-header) < octets {
		return nil, fmt.Errorf("key of %s: %w", a.Name, errShort)
	}
	a.Key = ipsec.CopyKey(b[header : header+int(octets)])
	return a, nil
}

func encapOf(b []byte) (*Encap, error) {
	if len(b) < sizeEncap {
		return nil, fmt.Errorf("encapsulation: %w", errShort)
	}
	return &Encap{network.Uint16(b[2:]), network.Uint16(b[4:])}, nil
}

func markOf(b []byte) (Mark, error) {
	if len(b) < sizeMark {
		return Mark{}, fmt.Errorf("mark: %w", errShort)
	}
	return Mark{native.Uint32(b), native.Uint32(b[4:])}, nil
}

func offloadOf(b []byte) (*Offload, error) {
	if len(b) < sizeOffload {
		return nil, fmt.Errorf("offload: %w", errShort)
	}
	return &Offload{
		Device: int(int32(native.Uint32(b))), Inbound: b[4]&offloadInbound != 0, Packet: b[4]&offloadPacket != 0,
	}, nil
}

// putID writes struct xfrm_usersa_id.
func (s State) putID(b []byte) {
	putAddr(b, s.Dst)
	network.PutUint32(b[16:], uint32(s.SPI))
	native.PutUint16(b[20:], family(s.Dst))
	b[22] = uint8(s.Proto)
}

// marshalID makes a message that names the state: GETSA, DELSA.
func (s State) marshalID() ([]byte, error) {
	b := make([]byte, sizeSAID)
	s.putID(b)
	ae := netlink.NewAttributeEncoder()
	if s.Mark != (Mark{}) {
		ae.Bytes(attrMark, s.Mark.marshal())
	}
	attrs, err := ae.Encode()
	return append(b, attrs...), err
}
