//go:build dpdk

package dpdk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// spareSessions are for SAs that are replaced while others are in use.
const spareSessions = 64

// addedBuffers are for packets that the loop makes itself where a graph has the rest:
// fragments and ICMP messages.
const addedBuffers = 1024

// ethernetLen is the octets of a frame around an IP packet.
const ethernetLen = 14

// network is what the first Configure opened: devices of the host, ports, workers,
// and the goroutines that go with them.
type network struct {
	plane   *loop.Plane
	graph   *graph // that brings the plane its packets; nil where workers of its own do
	nl      *netlink.Handle
	tun     *hostDevice
	hosts   []*hostDevice // one for each port
	hops    *neighbours
	onward  *onward
	made    []string // virtual devices
	notices *os.File // readable when workers noticed something
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	mtu     int // of the TUN device
}

// openNetwork opens everything in the namespace of the calling thread, and starts
// the workers.
func openNetwork(e *Engine, s settings, found []loop.Cryptodev) (n *network, err error) {
	n = &network{mtu: s.tunMTU}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.abandon())
		}
	}()
	if n.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return n, fmt.Errorf("open netlink: %w", err)
	}
	if n.tun, err = openHostDevice(n.nl, s.tunName, unix.IFF_TUN, s.workers); err != nil {
		return n, fmt.Errorf("setting tun-name: %w", err)
	}
	n.plane, err = loop.NewPlane(s.plane())
	if err != nil {
		return n, fmt.Errorf("%w: raise -m of setting eal, or lower buffers or max-sas", err)
	}
	for i, d := range s.ports {
		if err := n.addPort(d, s.hostInterfaces[i], s, found); err != nil {
			return n, err
		}
	}
	if err := n.tun.up(n.nl, s.tunMTU, nil); err != nil {
		return n, err
	}
	if n.hops, err = watchNeighbours(n.nl, n.hosts); err != nil {
		return n, err
	}
	if n.onward, err = openOnward(); err != nil {
		return n, err
	}
	return n, n.start(e, s)
}

// addPort makes a device, its host's end, and joins them.
func (n *network) addPort(d device, host string, s settings, found []loop.Cryptodev) error {
	tap, err := openHostDevice(n.nl, host, unix.IFF_TAP, s.workers)
	if err != nil {
		return fmt.Errorf("setting host-interfaces: %w", err)
	}
	n.hosts = append(n.hosts, tap)
	if d.virtual() {
		if err := loop.AddDevice(d.name, d.arguments(s.workers)); err != nil {
			return fmt.Errorf("setting ports: %w: does this DPDK have the driver, are its arguments right, is there what they name, and has this process the rights (CAP_NET_RAW)?", err)
		}
		n.made = append(n.made, d.name)
	}
	port, mac, err := n.plane.AddPort(d.name, tap.fds)
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("setting ports: %w: is the device bound to vfio-pci, and named in setting eal (-a)?", err)
	case err != nil:
		return fmt.Errorf("setting ports: %w", err)
	}
	if slices.Contains(s.emulated, d.name) {
		if err := n.plane.Emulate(port, s.emulation(found)); errors.Is(err, unix.ERANGE) {
			return fmt.Errorf("%w: it has fewer queues than there are workers", err)
		} else if err != nil {
			return err
		}
	}
	return tap.up(n.nl, min(s.frame-ethernetLen, 1500), net.HardwareAddr(mac[:]))
}

// emulation is the card that a port plays; the first library that encrypts as cards do
// does its work.
func (s settings) emulation(found []loop.Cryptodev) loop.Emulation {
	e := loop.Emulation{
		InlineCrypto: slices.Contains(s.offloads, offloadInlineCrypto), InlineProtocol: slices.Contains(s.offloads, offloadInlineProtocol),
		Slots: s.slots,
	}
	for _, d := range cryptodevsOf(found, s) {
		if d.takes(ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256}) {
			e.Dev = d.Cryptodev
			break
		}
	}
	return e
}

// plane is what the loop is made with.
func (s settings) plane() loop.Config {
	c := loop.Config{
		CPUs: s.cpus, Buffers: s.buffers, MaxSAs: s.maxSAs + spareSessions + s.emulatedPorts()*s.slots, Frame: s.frame, Spin: s.spin, Forwards: s.forwards,
	}
	if s.engine == engineNFFGo { // whose pools have the packets, but for what the loop adds
		c.Graph, c.CPUs, c.Buffers = true, []int{-1}, addedBuffers
	}
	return c
}

// start starts workers or graph, and goroutines.
func (n *network) start(e *Engine, s settings) (err error) {
	fd, err := unix.Dup(n.plane.EventFD())
	if err != nil {
		return fmt.Errorf("watch the workers: %w", err)
	}
	n.notices = os.NewFile(uintptr(fd), "eventfd")
	if err := n.plane.Start(n.tun.fds); err != nil {
		return err
	}
	if s.engine == engineNFFGo {
		if n.graph, err = startGraph(n.plane, s); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.tasks.Go(func() { n.listen(e) })
	n.tasks.Go(func() { n.hops.run(ctx, e.reroute, e.answerAsked) })
	return nil
}

// listen hands over what workers notice, until notices is closed.
func (n *network) listen(e *Engine) {
	var b [8]byte
	for {
		if _, err := n.notices.Read(b[:]); err != nil {
			return
		}
		e.pump(n.plane)
		put(n.hops.asked)
	}
}

// adjust makes what may change in a running network as c and s say.
func (n *network) adjust(c offload.Config, s settings) error {
	if s.tunMTU != n.mtu {
		if err := n.tun.up(n.nl, s.tunMTU, nil); err != nil {
			return err
		}
		n.mtu = s.tunMTU
	}
	var addrs []netip.Addr
	for _, a := range c.Addresses {
		if a = a.Unmap(); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	n.plane.SetAddresses(addrs)
	n.plane.Drain()
	return nil
}

// stopTasks ends the goroutines.
func (n *network) stopTasks() {
	if n.cancel != nil {
		n.cancel()
	}
	if n.notices != nil {
		_ = n.notices.Close() // that is what ends listen
	}
	if n.hops != nil {
		n.hops.close()
	}
	n.tasks.Wait()
}

// abandon gives back what a failed start has opened.
func (n *network) abandon() error {
	n.stopTasks()
	if err := n.stopPlane(); err != nil {
		return err
	}
	return n.free()
}

// stopPlane ends what carries packets. With a graph that does not end, all that it
// may look at stays as it is.
func (n *network) stopPlane() error {
	if n.plane == nil {
		return nil
	}
	if n.graph != nil {
		if err := n.graph.Stop(); err != nil {
			return err
		}
	}
	n.plane.Stop()
	return nil
}

// free gives everything back, after stopPlane.
func (n *network) free() error {
	var errs []error
	if n.plane != nil {
		errs = append(errs, n.plane.Free())
	}
	for _, name := range n.made {
		errs = append(errs, loop.RemoveDevice(name))
	}
	for _, d := range append(n.hosts, n.tun) {
		if d != nil {
			errs = append(errs, d.close())
		}
	}
	if n.onward != nil {
		errs = append(errs, n.onward.close())
	}
	if n.nl != nil {
		n.nl.Close()
	}
	return errors.Join(errs...)
}
