//go:build dpdk

package dpdk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk/loop"
)

const (
	// settleTime is how long changes of routes and neighbours are gathered.
	settleTime = 10 * time.Millisecond
	// reviewTime is when all paths are looked up again, and the host is told that
	// they are in use, so that it finds out whether neighbours are still there.
	reviewTime = 30 * time.Second
	// maxDumps is how often a list is read that changes while it is read.
	maxDumps = 8
)

// neighbours asks the host where packets to a peer go: which port, and which
// hardware address.
type neighbours struct {
	nl      *netlink.Handle
	hosts   []*hostDevice
	changes chan struct{} // has room for one token
	asked   chan struct{} // likewise
	watcher *changeWatcher
}

// watchNeighbours begins to watch routes and their rules, neighbours, links, addresses
// and whether they forward, in the namespace of the calling thread.
func watchNeighbours(nl *netlink.Handle, hosts []*hostDevice) (*neighbours, error) {
	w, err := newChangeWatcher()
	if err != nil {
		return nil, err
	}
	return &neighbours{nl: nl, hosts: hosts, changes: make(chan struct{}, 1), asked: make(chan struct{}, 1), watcher: w}, nil
}

func (n *neighbours) close() { n.watcher.close() }

// run calls review whenever something may have changed, and now and then all the
// same, and answer when the loop asks, until ctx ends.
func (n *neighbours) run(ctx context.Context, review func(confirm bool), answer func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.watcher.run(n.again)
	}()
	tick := time.NewTicker(reviewTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			<-done
			return
		case <-tick.C:
			review(true)
		case <-n.changes:
			gather(ctx)
			review(false)
		case <-n.asked:
			answer()
		}
	}
}

// gather lets changes that come together come together.
func gather(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	<-ctx.Done()
}

// survey looks up many paths, and each answer once.
type survey struct {
	n      *neighbours
	routes map[[2]netip.Addr]hop
	tables map[int][]netlink.Neigh // by index of the host's end and family
	mtus   map[int]uint16          // by index
	inUse  map[hop]bool            // neighbours that may go
	torn   bool                    // some list may lack what is there
}

// hop is the first hop of a path.
type hop struct {
	known bool
	port  int
	addr  netip.Addr
	mtu   uint16
}

func (n *neighbours) survey() *survey {
	return &survey{n: n, routes: make(map[[2]netip.Addr]hop), tables: make(map[int][]netlink.Neigh), mtus: make(map[int]uint16), inUse: make(map[hop]bool)}
}

// path finds where packets between two ends go. What is not known yet is asked for.
func (s *survey) path(to offload.Endpoint) loop.Path {
	p := loop.Path{Endpoint: to}
	h := s.route(to.Local, to.Remote)
	if !h.known {
		return p
	}
	p.Port, p.MTU = h.port, h.mtu
	p.MAC, p.Resolved = s.neighbour(h)
	return p
}

// neighbour is the hardware address of a hop. One that is not known is asked for.
func (s *survey) neighbour(h hop) (mac [6]byte, resolved bool) {
	for _, x := range s.table(s.n.hosts[h.port].index, h.addr.Is6()) {
		if a, ok := netip.AddrFromSlice(x.IP); ok && a.Unmap() == h.addr && len(x.HardwareAddr) == 6 && usable(x.State) {
			mac, resolved = [6]byte(x.HardwareAddr), true
			s.inUse[h] = x.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) == 0
		}
	}
	if !resolved {
		s.n.ask(h)
	}
	return mac, resolved
}

// usable tells whether an entry has an address to send to.
func usable(state int) bool {
	return state&(netlink.NUD_PERMANENT|netlink.NUD_NOARP|netlink.NUD_REACHABLE|netlink.NUD_STALE|netlink.NUD_DELAY|netlink.NUD_PROBE) != 0
}

// route asks the host for the first hop.
func (s *survey) route(local, remote netip.Addr) hop {
	ends := [2]netip.Addr{local, remote}
	if h, known := s.routes[ends]; known {
		return h
	}
	h := s.lookup(remote, &netlink.RouteGetOptions{SrcAddr: local.AsSlice(), Mark: offload.OuterMark})
	s.routes[ends] = h
	return h
}

// lookup asks the host for the first hop to an address; it is not known where that is
// behind no port.
func (s *survey) lookup(to netip.Addr, o *netlink.RouteGetOptions) hop {
	routes, err := s.n.nl.RouteGetWithOptions(to.AsSlice(), o)
	if err != nil || len(routes) == 0 || routes[0].Type != unix.RTN_UNICAST {
		return hop{}
	}
	r := routes[0]
	port := slices.IndexFunc(s.n.hosts, func(d *hostDevice) bool { return d.index == r.LinkIndex })
	if port < 0 {
		return hop{}
	}
	h := hop{known: true, port: port, addr: to, mtu: uint16(min(r.MTU, 65535))}
	if via, ok := netip.AddrFromSlice(r.Gw); ok {
		h.addr = via.Unmap()
	}
	if h.mtu == 0 {
		h.mtu = s.linkMTU(r.LinkIndex)
	}
	return h
}

// linkMTU is the MTU of an interface, 0 for unknown.
func (s *survey) linkMTU(index int) uint16 {
	mtu, known := s.mtus[index]
	if !known {
		if link, err := s.n.nl.LinkByIndex(index); err == nil {
			mtu = uint16(min(link.Attrs().MTU, 65535))
		}
		s.mtus[index] = mtu
	}
	return mtu
}

// table lists the neighbours behind a port.
func (s *survey) table(index int, v6 bool) []netlink.Neigh {
	key, family := index*2, netlink.FAMILY_V4
	if v6 {
		key, family = index*2+1, netlink.FAMILY_V6
	}
	if t, known := s.tables[key]; known {
		return t
	}
	t, err := whole(func() ([]netlink.Neigh, error) { return s.n.nl.NeighList(index, family) })
	s.torn = s.torn || err != nil
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		s.n.again()
	}
	s.tables[key] = t
	return t
}

// whole reads a list until the kernel says that nothing changed meanwhile: what was
// moved then may be missing (NLM_F_DUMP_INTR). After maxDumps it returns the last one
// with the error.
func whole[T any](list func() ([]T, error)) ([]T, error) {
	for tries := 1; ; tries++ {
		out, err := list()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || tries == maxDumps {
			return out, err
		}
	}
}

// again has everything looked up again soon.
func (n *neighbours) again() { put(n.changes) }

// put puts a token into a channel unless there is one.
func put(tokens chan<- struct{}) {
	select {
	case tokens <- struct{}{}:
	default:
	}
}

// ask has the host find out who has an address; the answer is a change that is
// watched for.
func (n *neighbours) ask(h hop) {
	x := &netlink.Neigh{LinkIndex: n.hosts[h.port].index, IP: net.IP(h.addr.AsSlice()), Family: netlink.FAMILY_V4, Flags: netlink.NTF_USE}
	if h.addr.Is6() {
		x.Family = netlink.FAMILY_V6
	}
	_ = n.nl.NeighSet(x) // a host that does not ask is told again at the next review
}

// confirm has the host find out whether the first hops that were looked up are still
// there. Asking for an entry that an operator made would unmake it.
func (s *survey) confirm() {
	for h, mayGo := range s.inUse {
		if mayGo {
			s.n.ask(h)
		}
	}
}

// reroute brings the paths of all SAs up to date.
func (e *Engine) reroute(confirm bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.usable() != nil {
		return
	}
	s := e.network.hops.survey()
	for _, a := range e.sas {
		err := e.settle(s, a)
		if a.Direction == ipsec.Outbound {
			err = errors.Join(err, e.setPath(s, a, a.path.Endpoint))
		}
		if err != nil {
			e.log.Error("path not changed", slog.Any("sa", a.ID), slog.Any("error", err))
		}
	}
	e.reviewOnward(s, confirm)
	if confirm {
		s.confirm()
	}
}

// setPath looks up a path and gives it to an SA when it is another one. An inbound
// SA needs its ends only.
func (e *Engine) setPath(s *survey, a *association, to offload.Endpoint) error {
	next := loop.Path{Endpoint: to}
	if a.Direction == ipsec.Outbound {
		next = s.path(to)
	}
	if s.torn && !next.Resolved && a.placed && a.path.Resolved && a.path.Remote == to.Remote && a.path.Port == next.Port {
		next.MAC, next.Resolved = a.path.MAC, true // until the neighbours can be read
	}
	if a.placed && a.path == next {
		return nil
	}
	var known uint16
	if a.placed {
		known = a.loop.Usage().MTUKnown
	}
	if err := e.network.plane.SetPath(a.loop, next); err != nil {
		return err
	}
	a.path, a.placed = next, true
	if u := a.loop.Usage(); u.MTUKnown != known && u.MTUKnown != 0 && u.Role == offload.Active && a.Direction == ipsec.Outbound {
		e.network.plane.NoticeMTU(a.serial, u.MTUKnown)
	}
	return nil
}

// changeWatcher hears of changes from the kernel.
type changeWatcher struct{ file *os.File }

func newChangeWatcher() (*changeWatcher, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("watch neighbours: %w", err)
	}
	groups := uint32(1<<(unix.RTNLGRP_NEIGH-1) | 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1) |
		1<<(unix.RTNLGRP_IPV6_ROUTE-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
		1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1) | 1<<(unix.RTNLGRP_IPV4_NETCONF-1) | 1<<(unix.RTNLGRP_IPV6_NETCONF-1))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("watch neighbours: %w", err), unix.Close(fd))
	}
	return &changeWatcher{os.NewFile(uintptr(fd), "netlink")}, nil
}

// run calls news whenever there are some, until close. What they are does not matter,
// and so not whether some were lost.
func (w *changeWatcher) run(news func()) {
	b := make([]byte, 1<<14)
	for {
		if _, err := w.file.Read(b); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		news()
	}
}

func (w *changeWatcher) close() { _ = w.file.Close() }
