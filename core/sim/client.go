package sim

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// client is a dialup client that knows nothing of the cluster: a gateway that
// stands alone.
type client struct {
	*gateway
	id     int
	inside netip.Addr
	policy *engine.Policy
	boot   uint32
	salt   [flows]uint64

	// nat stands in front of it: outside is what its port 500 looks like from
	// there, and port 4500 is the next one.
	nat     bool
	outside netip.AddrPort

	wanted bool // it is to have a tunnel
	dials  int  // IKE_SA_INIT exchanges that it has begun
	// When packets passed last, and on which SAs.
	upAt, downAt time.Time
	up, down     ipsec.SAID
	sent         []sent // for those who listen on the way
	last         ipsec.IKESPI
}

// sent is a packet that somebody may send again.
type sent struct {
	sa  ipsec.SAID
	seq uint64
}

func newClient(c *Cluster, id int) *client {
	name := fmt.Sprintf("client %d", id)
	cl := &client{id: id, inside: netip.AddrFrom4([4]byte{198, 51, 100, byte(id + 1)})}
	cl.gateway = &gateway{c: c, name: name, daemon: &process{c: c, name: name}, host: cl}
	cl.plane = newPlane(c, name, cl.now, kind{})
	cl.skew = c.upTo(time.Hour)
	cl.nat = c.chance(3)
	cl.outside = netip.AddrPortFrom(cl.inside, 500)
	if cl.nat {
		cl.outside = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(id + 1)}), 20000)
	}
	cl.policy = engine.NewPolicy(clientConnection(cl))
	cl.draw()
	return cl
}

// net is the network behind the client, and hostAddr somebody there.
func (cl *client) net() netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 10, byte(cl.id), 0}), 24)
}

func (cl *client) hostAddr() netip.Addr { return cl.net().Addr().Next() }

// draw makes the routers think of its flows otherwise.
func (cl *client) draw() {
	for i := range cl.salt {
		cl.salt[i] = cl.c.rnd.Uint64()
	}
}

// start starts the client's daemon, which dials.
func (cl *client) start() {
	if cl.daemon.up {
		return
	}
	cl.wanted = true
	cl.boot++
	cl.c.tracef(cl.name, "starts")
	cl.plane = newPlane(cl.c, cl.name, cl.now, kind{})
	cl.plane.start(0, cl.boot, cl.inside)
	cl.begin(engine.NewShard(engine.ShardOptions{
		Count: 1, Epoch: cl.epoch(), Policy: cl.policy, Names: engine.NewNameTable(),
		Env: ike.Env{Rand: rand.NewChaCha8(cl.c.seed()), Boot: cl.boot}, Log: slog.New(slog.DiscardHandler),
	}))
	cl.all(engine.Reload{Policy: cl.policy})
}

// vanish ends the client without a word.
func (cl *client) vanish() {
	cl.c.tracef(cl.name, "vanishes")
	cl.wanted = false
	cl.daemon.stop()
	cl.plane.stop()
}

// move gives the client another address outside.
func (cl *client) move() {
	a := cl.outside.Addr().As4()
	if cl.c.chance(2) {
		a[2]++
	}
	cl.outside = netip.AddrPortFrom(netip.AddrFrom4(a), cl.outside.Port()+10)
	cl.c.sum.Moves++
	cl.c.tracef(cl.name, "moves to %v", cl.outside)
}

// carryOut implements host.
func (cl *client) carryOut(_ *shard, rd engine.Ready) {
	for _, dg := range rd.Send {
		if !dg.Keepalive {
			cl.noteDial(dg.Payload)
			cl.c.ledger.chained(nil, dg.Payload)
			cl.c.outside(func() { cl.c.forward(cl, dg) })
		}
	}
}

// noteDial counts the IKE SAs that the client begins, besides those that rekey
// another one: those of IKEv1 begin like the first.
func (cl *client) noteDial(payload []byte) {
	spi := ipsec.IKESPI(binary.BigEndian.Uint64(payload))
	first := binary.BigEndian.Uint64(payload[8:]) == 0
	if !first || spi == cl.last || !slices.ContainsFunc(cl.tunnels(), func(t engine.TunnelStatus) bool { return t.IKE.SPIi == spi }) {
		return
	}
	cl.last = spi
	cl.dials++
	cl.c.sum.Dials++
}

func (cl *client) noticed(offload.Event)        {}
func (cl *client) takeStock([]offload.Counters) {}
func (cl *client) counted([]offload.Counters)   {}
func (cl *client) epoch() offload.Epoch         { return offload.NewEpoch(1, 0) }

// port is what one of the client's ports looks like from outside.
func (cl *client) port(inside uint16) netip.AddrPort {
	switch {
	case !cl.nat:
		return netip.AddrPortFrom(cl.inside, inside)
	case inside == 500:
		return cl.outside
	default:
		return netip.AddrPortFrom(cl.outside.Addr(), cl.outside.Port()+1)
	}
}

// forward brings a client's message to the member that the router chooses.
func (c *Cluster) forward(cl *client, dg ike.Datagram) {
	m := c.router.route(cl, flowIKE)
	if m == nil || !m.daemon.up {
		return
	}
	c.tracef(cl.name, "-> %s: %s", m.name, describeIKE(dg.Payload))
	m.gateway.receive(ike.Datagram{Local: dg.Remote, Remote: cl.port(dg.Local.Port()), Payload: dg.Payload}, false)
}

// deliver brings a member's message to the client that has the address.
func (c *Cluster) deliver(dg ike.Datagram) {
	for _, cl := range c.clients {
		for _, port := range []uint16{500, 4500} {
			if cl.port(port) == dg.Remote {
				cl.gateway.receive(ike.Datagram{Local: netip.AddrPortFrom(cl.inside, port), Remote: dg.Local, Payload: dg.Payload}, false)
				return
			}
		}
	}
}
