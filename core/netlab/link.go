package netlab

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Port describes an interface that a Link or Switch will create.
type Port struct {
	ns       *Namespace
	name     string
	prefixes []string
}

// Port describes an interface of the namespace with its addresses, for Link
// and Switch: Port("wan", "192.0.2.1/24", "2001:db8::1/64"). A name has up to
// 15 octets and is unique in its namespace.
func (n *Namespace) Port(name string, prefixes ...string) Port {
	return Port{ns: n, name: name, prefixes: prefixes}
}

// Interface is a network interface in a namespace.
type Interface struct {
	ns   *Namespace
	name string
}

// Link joins two ports with a cable of their own.
func (l *Lab) Link(a, b Port) (*Interface, *Interface) {
	l.tb.Helper()
	err := a.ns.nl.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: a.name, Index: l.cable()},
		PeerName:      b.name,
		PeerNamespace: netlink.NsFd(b.ns.handle),
	})
	if err != nil {
		l.tb.Fatalf("netlab: link %s/%s with %s/%s: %v", a.ns.name, a.name, b.ns.name, b.name, err)
	}
	one, other := a.activate(), b.activate()
	one.waitUp()
	other.waitUp()
	return one, other
}

// firstCable is above what the kernel numbers interfaces with.
const firstCable = 10000

// cable numbers the interface at one end of a cable. The kernel tells a pair whose ends
// have the same number, each in its namespace, of a carrier up to a second later: it takes
// them for ordinary ports.
func (l *Lab) cable() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.made++
	return firstCable + l.made
}

// waitUp waits until the interface carries packets: the kernel notices a carrier
// some time after both ends are up, and drops what is sent before.
func (i *Interface) waitUp() {
	i.ns.lab.tb.Helper()
	Eventually(i.ns.lab.tb, time.Minute, i.String()+" has a carrier", func() error {
		if state := i.link().Attrs().OperState; state != netlink.OperUp {
			return fmt.Errorf("it is %v", state)
		}
		return nil
	})
}

// Switch joins any number of ports into one network. The interfaces are in the
// order of the ports.
func (l *Lab) Switch(name string, ports ...Port) []*Interface {
	l.tb.Helper()
	ns := l.Namespace(name)
	snooping := false // groups of IPv6 neighbour discovery reach every port at once
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "switch"}, MulticastSnooping: &snooping}
	if err := ns.nl.LinkAdd(bridge); err != nil {
		l.tb.Fatalf("netlab: create switch %s: %v", name, err)
	}
	(&Interface{ns: ns, name: "switch"}).Up()
	var out []*Interface
	for i, port := range ports {
		socket, end := l.Link(ns.Port("port"+strconv.Itoa(i+1)), port)
		if err := ns.nl.LinkSetMaster(socket.link(), bridge); err != nil {
			l.tb.Fatalf("netlab: plug %s/%s into switch %s: %v", port.ns.name, port.name, name, err)
		}
		out = append(out, end)
	}
	return out
}

func (p Port) activate() *Interface {
	p.ns.lab.tb.Helper()
	i := p.ns.Interface(p.name)
	i.AddAddr(p.prefixes...)
	i.Up()
	return i
}

// Interface returns an interface that exists, whoever created it: "lo", or the
// "ipsec0" of a peer.
func (n *Namespace) Interface(name string) *Interface {
	n.lab.tb.Helper()
	i := &Interface{ns: n, name: name}
	i.link()
	return i
}

// Interfaces returns the names of all interfaces of the namespace.
func (n *Namespace) Interfaces() []string {
	n.lab.tb.Helper()
	links, err := n.nl.LinkList()
	if err != nil {
		n.lab.tb.Fatalf("netlab: list interfaces of %s: %v", n.name, err)
	}
	var names []string
	for _, link := range links {
		names = append(names, link.Attrs().Name)
	}
	return names
}

// Name returns the interface's name inside its namespace.
func (i *Interface) Name() string { return i.name }

// Namespace returns the namespace that the interface is in.
func (i *Interface) Namespace() *Namespace { return i.ns }

// link looks the interface up, because its index and state are the kernel's.
func (i *Interface) link() netlink.Link {
	i.ns.lab.tb.Helper()
	link, err := i.ns.nl.LinkByName(i.name)
	if err != nil {
		i.ns.lab.tb.Fatalf("netlab: find interface %s: %v", i, err)
	}
	return link
}

// String returns namespace/interface.
func (i *Interface) String() string { return i.ns.name + "/" + i.name }

// Index returns the interface's index inside its namespace.
func (i *Interface) Index() int {
	i.ns.lab.tb.Helper()
	return i.link().Attrs().Index
}

// MAC returns the hardware address, nil for an interface that has none.
func (i *Interface) MAC() net.HardwareAddr {
	i.ns.lab.tb.Helper()
	return i.link().Attrs().HardwareAddr
}

// MTU returns the maximum transmission unit in octets.
func (i *Interface) MTU() int {
	i.ns.lab.tb.Helper()
	return i.link().Attrs().MTU
}

// SetMTU changes what this end sends at most, in octets; a link whose path MTU
// changes needs it at both ends.
func (i *Interface) SetMTU(octets int) {
	i.ns.lab.tb.Helper()
	i.must("set the MTU of", i.ns.nl.LinkSetMTU(i.link(), octets))
}

// Single makes this end send each packet by itself, as a wire would carry it.
// Without it the ends of a link hand each other trains of packets (GSO), and a
// capture shows a train as one packet of their summed length.
func (i *Interface) Single() {
	i.ns.lab.tb.Helper()
	i.must("send single packets at", i.ns.nl.LinkSetGSOMaxSegs(i.link(), 1))
}

// Up lets the interface carry traffic.
func (i *Interface) Up() {
	i.ns.lab.tb.Helper()
	i.must("bring up", i.ns.nl.LinkSetUp(i.link()))
}

// Down pulls the plug: the other end loses its carrier too, and routes through
// the interface go.
func (i *Interface) Down() {
	i.ns.lab.tb.Helper()
	i.must("bring down", i.ns.nl.LinkSetDown(i.link()))
}

// AddAddr adds addresses: "192.0.2.1/24". They can be used at once.
func (i *Interface) AddAddr(prefixes ...string) {
	i.ns.lab.tb.Helper()
	for _, prefix := range prefixes {
		i.must("add "+prefix+" to", i.ns.nl.AddrAdd(i.link(), i.parseAddr(prefix)))
	}
}

// RemoveAddr removes addresses: a client that moves, a gateway that hands its
// address over.
func (i *Interface) RemoveAddr(prefixes ...string) {
	i.ns.lab.tb.Helper()
	for _, prefix := range prefixes {
		i.must("remove "+prefix+" from", i.ns.nl.AddrDel(i.link(), i.parseAddr(prefix)))
	}
}

func (i *Interface) parseAddr(prefix string) *netlink.Addr {
	i.ns.lab.tb.Helper()
	addr, err := netlink.ParseAddr(prefix)
	i.must("parse "+prefix+" for", err)
	if strings.Contains(prefix, ":") {
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

func (i *Interface) must(what string, err error) {
	i.ns.lab.tb.Helper()
	if err != nil {
		i.ns.lab.tb.Fatalf("netlab: %s %s: %v", what, i, err)
	}
}
