package ike

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 7296 section 2.23 asks for SHA-1; it hides nothing
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/wire"
)

// NAT traversal, RFC 7296 section 2.23 and RFC 3948.

// ports of IKE.
const (
	portIKE  = 500
	portNATT = 4500
)

// nat is what NAT detection found out.
type nat struct {
	supported     bool // the peer takes part
	local, remote bool // who is behind a NAT
	encap         bool // ESP travels in UDP
}

// natHash is the data of a NAT detection notification: "[...] a SHA-1 digest of
// the SPIs (in the order they appear in the header), IP address, and port" of one
// end. RFC 7296 section 2.23.
func natHash(spiI, spiR ipsec.IKESPI, a netip.AddrPort) []byte {
	h := sha1.New()
	var spis [16]byte
	binary.BigEndian.PutUint64(spis[:8], uint64(spiI))
	binary.BigEndian.PutUint64(spis[8:], uint64(spiR))
	h.Write(spis[:])
	h.Write(a.Addr().Unmap().AsSlice())
	h.Write(binary.BigEndian.AppendUint16(nil, a.Port()))
	return h.Sum(nil)
}

// natPayloads announce our view of the addresses. Where encapsulation is forced,
// the source is a lie, so that the peer believes in a NAT too.
func (t *Tunnel) natPayloads(h wire.Header, mode NATT, local, remote netip.AddrPort) []wire.Payload {
	if mode == NATTOff {
		return nil
	}
	src := natHash(h.SPIi, h.SPIr, local)
	if mode == NATTForced {
		readRandom(t.env.Rand, src)
	}
	return []wire.Payload{
		&wire.Notify{Type: wire.NATDetectionSourceIP, Data: src},
		&wire.Notify{Type: wire.NATDetectionDestinationIP, Data: natHash(h.SPIi, h.SPIr, remote)},
	}
}

// detectNAT compares what the peer saw with what we see.
//
// "There MAY be multiple NAT_DETECTION_SOURCE_IP payloads in a message if the
// sender does not know which of several network attachments will be used to
// send the packet." RFC 7296 section 2.23.
func detectNAT(h wire.Header, mode NATT, local, remote netip.AddrPort, payloads []wire.Payload) nat {
	var n nat
	if mode == NATTOff {
		return n
	}
	var sources, matched bool
	for _, p := range payloads {
		switch p, ok := p.(*wire.Notify); {
		case !ok:
		case p.Type == wire.NATDetectionSourceIP:
			sources = true
			matched = matched || bytes.Equal(p.Data, natHash(h.SPIi, h.SPIr, remote))
		case p.Type == wire.NATDetectionDestinationIP:
			n.supported = true
			n.local = !bytes.Equal(p.Data, natHash(h.SPIi, h.SPIr, local))
		}
	}
	n.supported = n.supported && sources
	if !n.supported {
		return nat{}
	}
	n.remote = !matched
	n.encap = n.local || n.remote || mode == NATTForced
	return n
}

// float moves an initiator to port 4500,
// once a NAT was found; RFC 7296 section 2.23 wants all that follows there.
func (t *Tunnel) float() {
	if !t.nat.encap {
		return
	}
	t.local = netip.AddrPortFrom(t.local.Addr(), portNATT)
	if t.remote.Port() == portIKE {
		t.remote = netip.AddrPortFrom(t.remote.Addr(), portNATT)
	}
}

// encapPorts are the ports of encapsulated ESP, nil for raw ESP.
func (t *Tunnel) encapPorts() *ipsec.Encap {
	if !t.nat.encap {
		return nil
	}
	return &ipsec.Encap{LocalPort: t.local.Port(), RemotePort: t.remote.Port()}
}

// follow notes where a fresh authentic message came from.
func (t *Tunnel) follow(d Datagram) {
	if t.setup != nil {
		t.local, t.remote = d.Local, d.Remote
		return
	}
	if d.Remote != t.remote && t.mayMove() {
		t.move(d.Local, d.Remote)
	}
}

// mayMove tells whether the peer's address may change.
//
// "There are cases where a NAT box decides to remove mappings that are still
// alive [...]. When such a validated packet is found, a host [...] that is not
// behind a NAT, SHOULD send all packets (including retransmission packets) to
// the IP address and port in the validated packet [...]. A host behind a NAT
// SHOULD NOT do this type of dynamic address update". RFC 7296 section 2.23. A
// responder does it behind a NAT as well: that is how gateways
// with translated addresses stand in clouds, and their clients' mappings move no
// less.
func (t *Tunnel) mayMove() bool {
	return t.nat.encap && t.nat.remote && (!t.nat.local || !t.initiator)
}

// move gives the tunnel and all its SAs new outer addresses.
func (t *Tunnel) move(local, remote netip.AddrPort) {
	t.log().Info("peer moved", "from", t.remote, "to", remote)
	t.env.Stats.PeerMoves++
	t.local, t.remote, t.packet = local, remote, 0
	for _, c := range t.children {
		t.generation++
		c.generation = t.generation
	}
	t.out.Move = &Move{Local: local, Remote: remote, Encap: t.encapPorts()}
	t.publish()
}

// keepaliveDue is when the next NAT keepalive has to be sent, zero for never.
//
// RFC 3948 section 4: whoever is behind the NAT sends one when nothing else
// went to the peer for a while, so that the NAT keeps its mapping.
func (t *Tunnel) keepaliveDue() time.Time {
	if t.state != StateUp || !t.nat.local || !t.nat.encap {
		return time.Time{}
	}
	return later(t.lastOut, t.espOut).Add(orDefault(t.conn.Keepalive, 20*time.Second))
}

func (t *Tunnel) keepalive() {
	t.env.Stats.Keepalives++
	t.lastOut = t.now
	t.out.Send = append(t.out.Send, Datagram{Local: t.local, Remote: t.remote, Payload: []byte{0xff}, Keepalive: true})
}
