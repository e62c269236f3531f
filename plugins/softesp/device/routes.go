package device

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Routes asks the kernel where packets would go. It belongs to the namespace in
// which it was opened, and to one goroutine.
type Routes struct {
	handle *netlink.Handle
	// links is a socket to ask for interfaces: what netlink says of one is two
	// kilobytes that nobody reads, for each SA that begins to send.
	links int
	mark  uint32
}

// OpenRoutes prepares for questions about packets with a firewall mark.
func OpenRoutes(mark uint32) (*Routes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("device: open the routing socket: %w", err)
	}
	links, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("device: open a socket to ask for interfaces: %w", err)
	}
	return &Routes{handle: h, links: links, mark: mark}, nil
}

// errNoInterface: a route leads nowhere, as a blackhole does.
var errNoInterface = errors.New("the route has no interface")

// MTU is that of the first hop from local to remote, in octets of IP packet: what
// the route says, or else its interface. What the kernel learned of the path
// beyond is left out: an ICMP message that anybody may have sent lasts there.
func (r *Routes) MTU(local, remote netip.Addr) (int, error) {
	routes, err := r.handle.RouteGetWithOptions(remote.AsSlice(), &netlink.RouteGetOptions{
		SrcAddr: local.AsSlice(), Mark: r.mark, FIBMatch: true,
	})
	if err != nil {
		return 0, fmt.Errorf("device: look up the route from %v to %v: %w", local, remote, err)
	}
	least := 0
	for _, route := range routes {
		mtu, err := r.ofRoute(route)
		if err != nil {
			return 0, fmt.Errorf("device: find the mtu from %v to %v: %w", local, remote, err)
		}
		if least == 0 || mtu < least {
			least = mtu
		}
	}
	return least, nil
}

// ofRoute is the least of a route's next hops: packets may take any of them.
func (r *Routes) ofRoute(route netlink.Route) (int, error) {
	interfaces := []int{route.LinkIndex}
	if len(route.MultiPath) > 0 {
		interfaces = interfaces[:0]
		for _, hop := range route.MultiPath {
			interfaces = append(interfaces, hop.LinkIndex)
		}
	}
	least := route.MTU
	for _, index := range interfaces {
		if index == 0 {
			return 0, errNoInterface
		}
		mtu, err := r.ofLink(index)
		if err != nil {
			return 0, fmt.Errorf("interface %d: %w", index, err)
		}
		if least == 0 || mtu < least {
			least = mtu
		}
	}
	return least, nil
}

// ofLink is what an interface has: netdevice(7).
func (r *Routes) ofLink(index int) (int, error) {
	named, err := unix.NewIfreq("")
	if err != nil {
		return 0, err
	}
	named.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(r.links, unix.SIOCGIFNAME, named); err != nil {
		return 0, err
	}
	// Both answers lie in one place behind the name.
	if err := unix.IoctlIfreq(r.links, unix.SIOCGIFMTU, named); err != nil {
		return 0, err
	}
	return int(named.Uint32()), nil
}

// Close frees the sockets.
func (r *Routes) Close() {
	r.handle.Close()
	_ = unix.Close(r.links)
}
