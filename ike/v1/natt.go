package v1

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// NAT traversal, RFC 3947 and RFC 3948.

const (
	portIKE  = 500
	portNATT = 4500
)

// nat is what NAT detection found out.
type nat struct {
	local, remote bool // who is behind a NAT
	encap         bool // ESP travels in UDP
}

// natHash is the data of a NAT-D payload.
//
//	HASH = HASH(CKY-I | CKY-R | IP | Port)
//
// RFC 3947 section 3.2, with the negotiated hash.
func natHash(sa *isakmpSA, a netip.AddrPort) []byte {
	h, err := keymat.NewHash(sa.suite.PRF)
	if err != nil {
		return nil // the suite was accepted, so it has one
	}
	h.Write(wire.Cookies(sa.cookieI, sa.cookieR))
	h.Write(a.Addr().Unmap().AsSlice())
	h.Write([]byte{byte(a.Port() >> 8), byte(a.Port())})
	return h.Sum(nil)
}

// natPayloads announce our view of the addresses: the other end's first, then
// ours (RFC 3947 section 3.2). Where encapsulation is forced, ours is a lie, so
// that the peer believes in a NAT too.
func (t *Tunnel) natPayloads(sa *isakmpSA) []wire.Payload {
	if t.conn.NATT == ike.NATTOff || !t.peer.natt {
		return nil
	}
	own := natHash(sa, t.local)
	if t.conn.NATT == ike.NATTForced {
		readRandom(t.env, own)
	}
	return []wire.Payload{&wire.NATD{Data: natHash(sa, t.remote)}, &wire.NATD{Data: own}}
}

// detectNAT compares what the peer saw with what we see. The message came from
// t.from.
func (t *Tunnel) detectNAT(sa *isakmpSA, payloads []wire.Payload) {
	found := wire.All[*wire.NATD](payloads)
	if t.conn.NATT == ike.NATTOff || !t.peer.natt || len(found) < 2 {
		return
	}
	n := nat{local: !bytes.Equal(found[0].Data, natHash(sa, t.from.Local)), remote: true}
	for _, d := range found[1:] {
		if bytes.Equal(d.Data, natHash(sa, t.from.Remote)) {
			n.remote = false
		}
	}
	n.encap = n.local || n.remote || t.conn.NATT == ike.NATTForced
	t.nat = n
}

// float moves an initiator to port 4500 with the first message after detection,
// once a NAT was found: RFC 3947 section 4.
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

// natOriginal are the NAT-OA payloads of a quick mode for transport mode: the
// initiator's address and the responder's as this end knows them (RFC 3947
// section 5.2).
func (t *Tunnel) natOriginal(mode ipsec.Mode, initiator bool) []wire.Payload {
	if mode != ipsec.Transport || !t.nat.encap {
		return nil
	}
	i, r := t.local.Addr(), t.remote.Addr()
	if !initiator {
		i, r = r, i
	}
	return []wire.Payload{&wire.NATOA{Addr: i}, &wire.NATOA{Addr: r}}
}

// heard notes that a fresh authentic message came on sa, and from where. On another one
// than the current it does not tell that the peer knows that, so the question goes on
// whether it is there.
func (t *Tunnel) heard(sa *isakmpSA) {
	t.lastIn, t.probeAt, sa.heard = t.now, time.Time{}, t.now
	if sa == t.sa || sa.stage < stageUp {
		t.probe = nil
	}
	if t.setup != nil {
		t.local, t.remote = t.from.Local, t.from.Remote
		return
	}
	if t.from.Remote != t.remote && t.mayMove() {
		t.move(t.from.Local, t.from.Remote)
	}
}

// mayMove tells whether the peer's address may change: that of a peer behind a
// NAT whose mappings were lost. We do not follow where we are behind one
// ourselves and have dialled, because then the address is one that we know.
func (t *Tunnel) mayMove() bool {
	return t.nat.encap && t.nat.remote && (!t.nat.local || !t.initiator)
}

// move gives the tunnel and all its SAs new outer addresses.
func (t *Tunnel) move(local, remote netip.AddrPort) {
	t.log.Info("peer moved", "from", t.remote, "to", remote)
	t.env.Stats.PeerMoves++
	t.local, t.remote = local, remote
	for _, c := range t.children {
		t.generation++
		c.generation = t.generation
	}
	t.out.Move = &ike.Move{Local: local, Remote: remote, Encap: t.encapPorts()}
	t.publish()
}

// keepaliveDue is when the next NAT keepalive has to be sent (RFC 3948 section
// 4), zero for never.
func (t *Tunnel) keepaliveDue() time.Time {
	if t.state != ike.StateUp || !t.nat.local || !t.nat.encap {
		return time.Time{}
	}
	return later(t.lastOut, t.espOut).Add(orDefault(t.conn.Keepalive, 20*time.Second))
}

func (t *Tunnel) keepalive() {
	t.env.Stats.Keepalives++
	t.lastOut = t.now
	t.out.Send = append(t.out.Send, ike.Datagram{Local: t.local, Remote: t.remote, Payload: []byte{0xff}, Keepalive: true})
}
