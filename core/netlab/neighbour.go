package netlab

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addrs lists the addresses of the interface with their prefix lengths, but for
// those of its link.
func (i *Interface) Addrs() []string {
	i.ns.lab.tb.Helper()
	found, err := i.ns.nl.AddrList(i.link(), netlink.FAMILY_ALL)
	i.must("list the addresses of", err)
	var out []string
	for _, a := range found {
		if a.Scope == unix.RT_SCOPE_UNIVERSE {
			out = append(out, a.IPNet.String())
		}
	}
	return out
}

// Neighbour is the hardware address to which the namespace sends what is for a
// neighbour's address, "" when it does not know any.
func (n *Namespace) Neighbour(addr string) string {
	n.lab.tb.Helper()
	found, err := n.nl.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		n.lab.tb.Fatalf("netlab: list the neighbours of %s: %v", n.name, err)
	}
	for _, e := range found {
		if e.IP.Equal(net.ParseIP(addr)) {
			return e.HardwareAddr.String()
		}
	}
	return ""
}
