package sim

import (
	"errors"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// live is one moment of the client's life.
func (cl *client) live() {
	c := cl.c
	c.clock.After(20*time.Millisecond+c.upTo(60*time.Millisecond), cl.live)
	if !cl.daemon.up {
		if c.chance(20) && !c.still {
			cl.start()
		}
		return
	}
	cl.ask()
	for range 1 + c.rnd.IntN(4) {
		cl.sendUp()
	}
	for range 1 + c.rnd.IntN(8) {
		c.sendDown(cl)
	}
	if len(cl.sent) > 0 && !c.cfg.Calm && c.chance(8) {
		cl.replay()
	}
}

// sendUp sends a packet to the network behind the members.
func (cl *client) sendUp() {
	sa := cl.plane.outbound(lan().Addr().Next())
	if sa == nil {
		return
	}
	pkt, err := cl.plane.Outbound(sa.desc.ID)
	cl.pump()
	if err != nil {
		return
	}
	cl.c.sum.Up++
	id := here(sa)
	if len(cl.sent) < 500 {
		cl.sent = append(cl.sent, sent{id, pkt.Seq})
	} else {
		cl.sent[cl.c.rnd.IntN(len(cl.sent))] = sent{id, pkt.Seq}
	}
	cl.c.outside(func() { cl.c.arrive(cl, id, pkt.Seq, false) })
}

// here is what the members call an outbound SA of a client.
func here(sa *planeSA) ipsec.SAID {
	return ipsec.SAID{SPI: sa.desc.ID.SPI, Dst: gatewayAddr(), Proto: ipsec.ESP}
}

// replay sends an old packet again, as somebody on the way may do.
func (cl *client) replay() {
	s := cl.sent[cl.c.rnd.IntN(len(cl.sent))]
	cl.c.sum.Replayed++
	cl.c.arrive(cl, s.sa, s.seq, true)
}

// arrive brings a packet of a client to the member that the router chooses.
func (c *Cluster) arrive(cl *client, id ipsec.SAID, seq uint64, again bool) {
	lost := uint64(1)
	if again {
		lost = 0
	}
	m := c.router.route(cl, flowUp)
	if m == nil || !m.plane.works() {
		c.sum.UpLost += lost
		return
	}
	err := m.plane.Inbound(id, seq)
	if err == nil {
		c.ledger.accepted(m, id, seq)
		m.noteSource(id, cl)
	}
	m.pump()
	if err != nil {
		c.sum.UpLost += lost
		return
	}
	if !again {
		cl.upAt, cl.up = c.clock.Now(), id
	}
}

// noteSource reports where an authentic packet came from, once for each place.
func (m *member) noteSource(id ipsec.SAID, cl *client) {
	sa := m.plane.sas[id]
	if sa == nil || sa.desc.Encap == nil {
		return
	}
	if from := cl.port(4500); sa.remote != from && sa.moved != from {
		sa.moved = from
		m.plane.Event(offload.PeerMoved{ID: id, Remote: from})
	}
}

// sendDown sends a packet to the client's network by way of the member that the
// router chooses.
func (c *Cluster) sendDown(cl *client) {
	c.sum.Down++
	if m := c.router.back(cl); m != nil {
		m.encrypt(cl, false)
	} else {
		c.sum.DownLost++
	}
}

// encrypt sends a packet for a client's network. One that stands by hands it to
// the owner, over the members' link, once.
func (m *member) encrypt(cl *client, linked bool) {
	if !m.plane.works() {
		m.c.sum.DownLost++
		return
	}
	sa := m.plane.outbound(cl.hostAddr())
	if sa == nil {
		m.c.sum.DownLost++
		return
	}
	pkt, err := m.plane.Outbound(sa.desc.ID)
	m.pump()
	if err != nil {
		owner := m.c.members[sa.desc.Group]
		if !errors.Is(err, mem.ErrStandby) || linked || owner == m {
			m.c.sum.DownLost++
			return
		}
		m.c.sum.Carried++
		m.c.between(m.id, owner.id, func() { owner.encrypt(cl, true) })
		return
	}
	if sa.ceiling != 0 && pkt.Seq > sa.ceiling {
		m.c.sum.Beyond++
	}
	m.checkSends(sa)
	m.c.ledger.sent(m, sa, pkt)
	to, encap, id := sa.remote, sa.desc.Encap != nil, sa.desc.ID
	m.c.outside(func() { m.c.decrypt(cl, id.SPI, pkt.Seq, to, encap) })
}

// decrypt brings a packet to the client, if that is where it was sent.
func (c *Cluster) decrypt(cl *client, spi ipsec.SPI, seq uint64, to netip.AddrPort, encap bool) {
	there := to.Addr() == cl.port(500).Addr()
	if encap {
		there = to == cl.port(4500)
	}
	id := ipsec.SAID{SPI: spi, Dst: cl.inside, Proto: ipsec.ESP}
	if !there || !cl.plane.works() || cl.plane.Inbound(id, seq) != nil {
		c.sum.DownLost++
		return
	}
	cl.pump()
	cl.downAt, cl.down = c.clock.Now(), id
}
