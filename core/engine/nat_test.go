package engine

import (
	"net/netip"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// nat is one address that several clients share.
type nat struct {
	*pair
	clients []*gateway
	inside  map[netip.AddrPort]behind
}

// behind is whose a port of the NAT is.
type behind struct {
	client *gateway
	local  netip.AddrPort
}

// outside is where the server sees a client.
func (n *nat) outside(i int, local netip.AddrPort) netip.AddrPort {
	at := netip.AddrPortFrom(clientAddr, uint16(10000*(i+1))+local.Port())
	n.inside[at] = behind{n.clients[i], local}
	return at
}

func (n *nat) deliver() {
	n.t.Helper()
	for range 1000 {
		moved := n.server.events()
		for i, c := range n.clients {
			moved += c.events() + len(c.out)
			out := c.out
			c.out = nil
			for _, dg := range out {
				n.server.step(Packets{Datagrams: []ike.Datagram{{Local: dg.Remote, Remote: n.outside(i, dg.Local), Payload: dg.Payload}}})
			}
		}
		moved += len(n.server.out)
		out := n.server.out
		n.server.out = nil
		for _, dg := range out {
			to := n.inside[dg.Remote]
			to.client.step(Packets{Datagrams: []ike.Datagram{{Local: to.local, Remote: dg.Local, Payload: dg.Payload}}})
		}
		if moved == 0 {
			return
		}
	}
	n.t.Fatal("the clients and the server do not come to rest")
}

// TestTwoClientsOfOneAddressChooseOneSPI: they know nothing of each other. The
// server tells their SAs apart by the ports that the NAT gave them.
func TestTwoClientsOfOneAddressChooseOneSPI(t *testing.T) {
	n := &nat{pair: newPair(t), inside: make(map[netip.AddrPort]behind)}
	for i := range 2 {
		c := dialupClient()
		c.LocalID = ike.Identity{Type: ike.IDFQDN, Data: string(rune('a'+i)) + ".example"}
		c.Children[0].Selectors.Local = []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 10, byte(i), 0}), 24))}
		// The same randomness, so the same SPIs.
		n.clients = append(n.clients, n.gateway("client", 2, c))
	}
	for _, c := range n.clients {
		c.step(Reload{c.shard.policy.Policy})
		n.deliver()
	}
	spi := n.clients[0].only().Children[0].In.SA.ID.SPI
	if other := n.clients[1].only().Children[0].In.SA.ID.SPI; other != spi {
		t.Fatalf("the clients chose the SPIs %v and %v, so this tests nothing", spi, other)
	}
	n.server.wantSAs(4)
	ports := make(map[uint16]bool)
	for _, ts := range n.server.shard.Tunnels(n.now) {
		out := ts.Children[0].Out.SA
		if out.ID.SPI != spi || out.ID.Dst != clientAddr || out.Encap == nil || out.ID.Port != out.Encap.RemotePort {
			t.Errorf("%s sends on %v with the ports %+v, want the client's SPI %v and its port in the name", ts.Name, out.ID, out.Encap, spi)
		}
		ports[out.ID.Port] = true
		if _, err := n.server.plane.Outbound(out.ID); err != nil {
			t.Errorf("%s cannot send: %v", ts.Name, err)
		}
	}
	if len(ports) != 2 {
		t.Errorf("the server sends to the ports %v, want those of two clients", ports)
	}
	n.clients[0].step(Down{Name: "office"})
	n.deliver()
	n.server.wantSAs(2)
	if ts := n.server.shard.Tunnels(n.now); len(ts) != 1 || ts[0].IKE.RemoteID.Data != "b.example" {
		t.Errorf("when the first client has gone, the server has %+v, want the second one's tunnel", ts)
	}
}

// dialupNAT gives the only client of a group other ports.
type dialupNAT struct {
	port500 uint16 // outside, for the client's port 500
	// from500: the client begins on port 500 what it begins on port 4500, until the NAT
	// is found again.
	from500 bool
	inside  map[uint16]ports // by the port outside
}

// ports are those of a message inside: the client's and the gateway's.
type ports struct{ client, gateway uint16 }

// out is how a member sees a message of the client's.
func (n *dialupNAT) out(dg ike.Datagram) ike.Datagram {
	if n == nil {
		return dg
	}
	in := ports{dg.Remote.Port(), dg.Local.Port()}
	port := 10000 + in.client
	clear := len(dg.Payload) >= 28 && dg.Payload[19]&1 == 0 // not a keepalive
	if in.client == 500 || n.from500 && clear {
		port, dg.Local = n.port500, netip.AddrPortFrom(dg.Local.Addr(), 500)
	}
	n.inside[port] = in
	dg.Remote = netip.AddrPortFrom(dg.Remote.Addr(), port)
	return dg
}

// in is how the client sees a message of a member's.
func (n *dialupNAT) in(dg ike.Datagram) ike.Datagram {
	if n == nil {
		return dg
	}
	in := n.inside[dg.Local.Port()]
	dg.Local = netip.AddrPortFrom(dg.Local.Addr(), in.client)
	dg.Remote = netip.AddrPortFrom(dg.Remote.Addr(), in.gateway)
	return dg
}
