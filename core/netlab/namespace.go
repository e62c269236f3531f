package netlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace: a host of the lab. It has its loopback
// up, forwards nothing until Forward, and uses IPv6 addresses without
// duplicate address detection.
type Namespace struct {
	lab    *Lab
	name   string
	handle netns.NsHandle
	nl     *netlink.Handle
}

// Namespace adds a host to the lab. The name appears in messages and file
// names only.
func (l *Lab) Namespace(name string) *Namespace {
	l.tb.Helper()
	n := &Namespace{lab: l, name: name}
	if err := onOwnThread(n.create); err != nil {
		l.tb.Fatalf("netlab: create namespace %s: %v", name, err)
	}
	l.tb.Cleanup(n.close)
	n.Sysctl("net/ipv6/conf/all/accept_dad", "0")
	n.Sysctl("net/ipv6/conf/default/accept_dad", "0")
	// No solicitations: what a capture shows is what the test did.
	n.Sysctl("net/ipv6/conf/default/router_solicitations", "0")
	n.Sysctl("net/ipv4/conf/all/rp_filter", "0")
	n.Sysctl("net/ipv4/conf/default/rp_filter", "0")
	// The kernel's limit on ICMP errors would hide path MTU messages.
	n.Sysctl("net/ipv4/icmp_ratelimit", "0")
	n.Sysctl("net/ipv6/icmp/ratelimit", "0")
	if err := n.loopbackUp(); err != nil {
		l.tb.Fatalf("netlab: bring up loopback of %s: %v", name, err)
	}
	return n
}

// create runs on the thread that becomes the namespace's first inhabitant.
func (n *Namespace) create() error {
	handle, err := netns.New()
	if err != nil {
		return err
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER)
	if err != nil {
		return errors.Join(err, handle.Close())
	}
	n.handle, n.nl = handle, nl
	return nil
}

func (n *Namespace) loopbackUp() error {
	lo, err := n.nl.LinkByName("lo")
	if err != nil {
		return err
	}
	return n.nl.LinkSetUp(lo)
}

func (n *Namespace) close() {
	n.nl.Close()
	if err := n.handle.Close(); err != nil {
		n.lab.tb.Errorf("netlab: close namespace %s: %v", n.name, err)
	}
}

// Name returns the name that the namespace has in messages.
func (n *Namespace) Name() string { return n.name }

// Lab returns the lab that the namespace belongs to.
func (n *Namespace) Lab() *Lab { return n.lab }

// Path names the namespace for other programs (nsenter --net=PATH), as long as
// this process and the lab live.
func (n *Namespace) Path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(n.handle))
}

// Do calls f on a thread that is inside the namespace and returns its error.
// Sockets that f opens stay there. Goroutines that f starts are not inside,
// and f must not end the test: it returns an error instead.
func (n *Namespace) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("netlab: enter namespace %s: %w", n.name, err)
		}
		return f()
	})
}

// errGoexit is returned for a function that ended its goroutine.
var errGoexit = errors.New("netlab: the function ended its goroutine (Fatalf inside Namespace.Do?)")

// onOwnThread calls f on a thread that ends with f, so whatever f did to the
// thread's namespaces cannot leak into other goroutines.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() { result <- err }()
		runtime.LockOSThread() // never unlocked: that is what ends the thread
		if unix.Gettid() == unix.Getpid() {
			// The main thread is no place to change: it cannot end, and
			// /proc/self shows its namespaces as those of the process.
			// While it is locked here, f gets another one.
			err = onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		err = f()
	}()
	return <-result
}

// Sysctl sets a kernel parameter of the namespace: "net/ipv4/ip_forward". It
// ends the test when the kernel refuses.
func (n *Namespace) Sysctl(key, value string) {
	n.lab.tb.Helper()
	err := n.Do(func() error {
		// /proc/sys/net shows the namespace of the thread that opens it.
		return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0o600)
	})
	if err != nil {
		n.lab.tb.Fatalf("netlab: set %s to %s in %s: %v", key, value, n.name, err)
	}
}

// Forward makes the namespace a router, for IPv4 and IPv6.
func (n *Namespace) Forward() {
	n.lab.tb.Helper()
	n.Sysctl("net/ipv4/ip_forward", "1")
	n.Sysctl("net/ipv6/conf/all/forwarding", "1")
}

// Loopback gives the namespace addresses on its loopback interface, such as
// the local-gw that several gateways share: "203.0.113.1/32".
func (n *Namespace) Loopback(prefixes ...string) {
	n.lab.tb.Helper()
	lo := &Interface{ns: n, name: "lo"}
	lo.AddAddr(prefixes...)
}

// Route sends traffic to dst ("10.0.0.0/8", "::/0") through the gateways. More
// than one makes an equal-cost multipath route. An earlier route to dst is
// replaced.
func (n *Namespace) Route(dst string, via ...string) {
	n.lab.tb.Helper()
	route := &netlink.Route{Dst: n.parsePrefix(dst)}
	for _, gateway := range via {
		ip := net.ParseIP(gateway)
		if ip == nil {
			n.lab.tb.Fatalf("netlab: route %s of %s: %q is no address", dst, n.name, gateway)
		}
		route.MultiPath = append(route.MultiPath, &netlink.NexthopInfo{Gw: ip})
	}
	switch len(via) {
	case 0:
		n.lab.tb.Fatalf("netlab: route %s of %s names no gateway", dst, n.name)
	case 1:
		route.Gw, route.MultiPath = route.MultiPath[0].Gw, nil
	}
	if err := n.nl.RouteReplace(route); err != nil {
		n.lab.tb.Fatalf("netlab: route %s of %s via %s: %v", dst, n.name, strings.Join(via, ", "), err)
	}
}

// Unroute removes the main table's route to dst. A route that is not there is
// no error.
func (n *Namespace) Unroute(dst string) {
	n.lab.tb.Helper()
	err := n.nl.RouteDel(&netlink.Route{Dst: n.parsePrefix(dst)})
	if err != nil && !errors.Is(err, unix.ESRCH) {
		n.lab.tb.Fatalf("netlab: remove route %s of %s: %v", dst, n.name, err)
	}
}

// HasRoute tells whether a routing table of the namespace, any of them, holds
// exactly that destination.
func (n *Namespace) HasRoute(dst string) bool {
	n.lab.tb.Helper()
	filter := &netlink.Route{Dst: n.parsePrefix(dst), Table: unix.RT_TABLE_UNSPEC}
	routes, err := n.nl.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if err != nil {
		n.lab.tb.Fatalf("netlab: list routes of %s: %v", n.name, err)
	}
	return len(routes) > 0
}

// parsePrefix is for literals of the test: a mistake ends it.
func (n *Namespace) parsePrefix(s string) *net.IPNet {
	n.lab.tb.Helper()
	_, prefix, err := net.ParseCIDR(s)
	if err != nil {
		n.lab.tb.Fatalf("netlab: %s: %q is no prefix: %v", n.name, s, err)
	}
	return prefix
}
