package hatest

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// client is a dialup client that knows nothing of the cluster.
type client struct {
	c    *Cluster
	id   int
	salt uint64 // what its router hashes

	dialing bool
	up      bool
	tunnel  ipsec.TunnelID
	mid     uint64 // of the last request that was answered
	asking  uint64 // the request under way, 0 for none
	in, out ipsec.SAID
	seq     uint64
	seen    window
	// heard is when the last packet of the present SA was taken.
	heard   time.Time
	dropped int // in a row
}

func (cl *client) addr() netip.Addr {
	return netip.AddrFrom4([4]byte{10, 0, byte(cl.id >> 8), byte(cl.id)})
}

func gateway() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

// route is where the router sends what the client sends, or, back, what is for
// it; nil where that is dead and the router has not noticed.
func (cl *client) route(back bool) *member {
	m := cl.c.members[int((cl.salt>>map[bool]int{false: 0, true: 32}[back])%uint64(len(cl.c.members)))]
	for range cl.c.members {
		if m.routed() {
			return m
		}
		m = cl.c.members[(int(m.id)+1)%len(cl.c.members)]
	}
	return nil
}

// routed tells whether routers send to m: they see a death, but not a freeze.
func (m *member) routed() bool {
	if m.c.cfg.Units > 0 {
		return m.up && m.fit
	}
	return m.up && !m.leaving && m.node.Role() == ha.Standby
}

// live is one moment of the client's life.
func (cl *client) live() {
	defer func() { cl.c.clock.After(20*time.Millisecond+cl.c.upTo(20*time.Millisecond), cl.live) }()
	switch roll := cl.c.rnd.IntN(100); {
	case !cl.up:
		if !cl.dialing && roll < 20 && !cl.c.still {
			cl.dial()
		}
	case roll < 2 && cl.c.busy():
		cl.hangUp()
	case roll < 4 && cl.c.busy():
		cl.rekey()
	case roll < 16 && !cl.c.still:
		cl.ask()
	default:
		cl.traffic()
	}
}

// busy tells whether clients come, go and rekey.
func (c *Cluster) busy() bool { return !c.quiet && !c.cfg.Steady }

// dial makes a tunnel with whom the router chooses.
func (cl *client) dial() {
	m := cl.route(false)
	if m == nil || m.frozen {
		return
	}
	cl.dialing = true
	run := m.run
	id := ipsec.TunnelID(ipsec.NewIKESPI(m.id, cl.c.rnd.Uint64()))
	cl.c.tracef("client %d: dials %v at member %d", cl.id, id, m.id)
	m.tunnels[id] = &session{id: id, mid: 1}
	m.step(ha.StoreIKE{Tunnel: id, IKE: encode(1), Heard: true})
	in, out, index := m.newChild(cl, id)
	m.hold(held{index: index, tunnel: id, child: out, do: func() {
		cl.c.clock.After(cl.c.upTo(5*time.Millisecond), func() {
			cl.dialing = false
			cl.up, cl.tunnel, cl.mid, cl.asking = true, id, 1, 0
			cl.take(in, out)
		})
	}})
	cl.c.clock.After(2*time.Second, func() {
		if cl.dialing && (m.run != run || !m.up || m.tunnels[id] == nil) {
			cl.dialing = false // it got no answer
		}
	})
}

// take uses a new pair.
func (cl *client) take(in, out ipsec.SAID) {
	cl.in, cl.out, cl.seq, cl.seen, cl.dropped = in, out, 0, window{}, 0
	cl.heard = cl.c.clock.Now()
}

// newChild installs a pair and publishes it.
func (m *member) newChild(cl *client, id ipsec.TunnelID) (in, out ipsec.SAID, index ha.Index) {
	in = ipsec.SAID{SPI: ipsec.NewSPI(m.id, m.c.rnd.Uint32()), Dst: gateway(), Proto: ipsec.ESP}
	out = ipsec.SAID{SPI: ipsec.SPI(m.c.rnd.Uint32() | 1<<16), Dst: cl.addr(), Proto: ipsec.ESP}
	desc := ipsec.SA{
		ID: in, Direction: ipsec.Inbound, Tunnel: id, Pair: out.SPI, Group: m.id, Sender: m.id, Generation: 1,
		Encryption: ipsec.NewKey([]byte{1}), Local: gateway(), Remote: cl.addr(), ReplayWindow: windowSize,
	}
	back := desc
	back.ID, back.Direction, back.Pair = out, ipsec.Outbound, in.SPI
	back.Sequence = ipsec.Sequence{Next: 1, Ceiling: m.c.cfg.Lease}
	m.plane.install(desc, true)
	m.plane.install(back, true)
	m.c.created(m, id, out)
	index = m.step(ha.StoreChild{Tunnel: id, In: desc, Out: back})
	return in, out, index
}

// owner finds who runs the IKE SA, by way of the member that got the message.
func (cl *client) owner(m *member) *member {
	if m == nil || m.frozen {
		return nil
	}
	if m.tunnels[cl.tunnel] != nil {
		return m
	}
	st, ok := m.node.Tunnel(cl.tunnel)
	if !ok {
		return nil
	}
	o := cl.c.members[st.Owner]
	if o == m || cl.c.cut.Between(m.id, o.id) || !o.up || o.frozen || o.tunnels[cl.tunnel] == nil {
		return nil
	}
	return o
}

// ask makes an exchange, or repeats its request: a gateway answers each once,
// and again when it is asked again (RFC 7296 section 2.1).
func (cl *client) ask() {
	if cl.asking == 0 {
		cl.asking = cl.mid + 1
	}
	m := cl.owner(cl.route(false))
	if m == nil {
		return
	}
	s, mid, tunnel := m.tunnels[cl.tunnel], cl.asking, cl.tunnel
	answer := func() {
		cl.c.clock.After(cl.c.upTo(5*time.Millisecond), func() {
			if cl.up && cl.tunnel == tunnel && cl.asking == mid {
				cl.mid, cl.asking = mid, 0
			}
		})
	}
	switch mid {
	case s.mid + 1:
		s.mid = mid
		index := m.step(ha.StoreIKE{Tunnel: tunnel, IKE: encode(mid), Heard: true})
		s.index = index
		m.hold(held{index: index, tunnel: tunnel, mid: mid, do: answer})
	case s.mid:
		m.hold(held{index: s.index, tunnel: tunnel, mid: mid, do: answer}) // with the first answer
	}
}

// rekey replaces the pair.
func (cl *client) rekey() {
	if m := cl.owner(cl.route(false)); m != nil {
		m.rekey(cl.tunnel, cl.in)
	}
}

func (m *member) rekey(id ipsec.TunnelID, old ipsec.SAID) {
	cl := m.c.clientOf(id)
	if m.tunnels[id] == nil || cl == nil || cl.in != old {
		return
	}
	in, out, index := m.newChild(cl, id)
	m.c.tracef("member %d: rekeys %v: %v -> %v", m.id, id, cl.out, out)
	run := m.run
	m.hold(held{index: index, tunnel: id, child: out, do: func() {
		m.c.clock.After(m.c.upTo(5*time.Millisecond), func() {
			if !cl.up || cl.tunnel != id {
				return
			}
			cl.take(in, out)
			m.c.clock.After(10*time.Millisecond, func() { m.do(run, func() { m.dropChild(id, old) }) })
		})
	}})
}

func (m *member) dropChild(id ipsec.TunnelID, old ipsec.SAID) {
	if m.tunnels[id] == nil {
		return
	}
	if sa := m.plane.sas[old]; sa != nil {
		delete(m.plane.sas, ipsec.SAID{SPI: sa.desc.Pair, Dst: sa.desc.Remote, Proto: ipsec.ESP})
		delete(m.plane.sas, old)
	}
	m.step(ha.DeleteChild{Tunnel: id, Child: old})
}

func (c *Cluster) clientOf(id ipsec.TunnelID) *client {
	for _, cl := range c.clients {
		if cl.up && cl.tunnel == id {
			return cl
		}
	}
	return nil
}

// hangUp deletes the tunnel; the answer waits until a standby knows of it.
func (cl *client) hangUp() {
	m := cl.owner(cl.route(false))
	if m == nil {
		return
	}
	id := cl.tunnel
	cl.c.tracef("client %d: hangs up %v at member %d", cl.id, id, m.id)
	delete(m.tunnels, id)
	m.buried[id] = true
	for _, sa := range m.plane.ids() {
		if m.plane.sas[sa].desc.Tunnel == id {
			delete(m.plane.sas, sa)
		}
	}
	index := m.step(ha.Delete{Tunnel: id, Final: true})
	m.hold(held{index: index, tunnel: id, gone: true, do: func() {
		if m.unprotected < index {
			cl.c.remember(id)
		}
		cl.c.sum.Removed++
		cl.c.clock.After(cl.c.upTo(5*time.Millisecond), func() {
			if cl.tunnel == id {
				cl.up = false
			}
		})
	}})
}

// traffic sends a packet to the gateway, and a burst back.
func (cl *client) traffic() {
	if m := cl.route(false); m != nil && !m.frozen {
		cl.seq++
		m.plane.receive(cl.in, cl.seq)
	}
	cl.receive(1 + uint64(cl.c.rnd.IntN(300)))
}

// receive gets a burst from whom the router sends to, or from the owner, when
// that one cannot.
func (cl *client) receive(burst uint64) {
	m := cl.route(true)
	if m == nil || m.frozen {
		return
	}
	from, to := m.plane.send(cl.out, burst)
	if from == 0 {
		if o := cl.owner(m); o != nil && o != m {
			from, to = o.plane.send(cl.out, burst)
		}
	}
	if from == 0 {
		return
	}
	cl.c.sum.Packets += to - from + 1
	for seq := from; seq <= to; seq++ {
		if cl.seen.take(seq) {
			cl.heard, cl.dropped = cl.c.clock.Now(), 0
			continue
		}
		cl.c.sum.Lost++
		cl.dropped++
	}
}
