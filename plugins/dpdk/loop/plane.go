//go:build dpdk

package loop

// #include "loop.h"
import "C"

import (
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/evergate/evergate/offload"
)

// Config of a Plane.
type Config struct {
	// CPUs has one for each worker, below 0 for any.
	CPUs []int
	// Buffers is how many packets can be under way.
	Buffers int
	// MaxSAs is how many sessions there can be, those included that replace others.
	MaxSAs int
	// Frame is the longest frame of a port, in octets.
	Frame int
	// Forwards: inner packets leave by the ports that SetOnward says.
	Forwards bool
	// Spin: workers never rest.
	Spin bool
	// Graph: others set up, start and poll the ports. There is one worker without a
	// thread; Fill and Carry do its work.
	Graph bool
}

// A Plane is a set of workers with their ports and SAs. Calls that change it, its
// SAs or its tunnels must not overlap.
type Plane struct {
	c       *C.struct_evg_plane
	workers int
}

// NewPlane makes a plane without ports.
func NewPlane(c Config) (*Plane, error) {
	cpus := make([]C.int, len(c.CPUs))
	for i, n := range c.CPUs {
		cpus[i] = C.int(n)
	}
	config := C.struct_evg_plane_config{
		workers: C.uint16_t(len(cpus)), mbufs: C.uint32_t(c.Buffers), max_sas: C.uint32_t(c.MaxSAs), frame: C.uint16_t(c.Frame), spin: C.bool(c.Spin), forwards: C.bool(c.Forwards), graph: C.bool(c.Graph),
	}
	var n C.int
	p := C.evg_plane_new(&config, &cpus[0], &n)
	if p == nil {
		return nil, fmt.Errorf("loop: take memory for %d packets and %d sas from eal: %w", c.Buffers, c.MaxSAs, errnoOf(n))
	}
	return &Plane{c: p, workers: len(cpus)}, nil
}

// AddPort takes over a port by the name of its device. host has the host's end of it
// for each worker: descriptors of a TAP device, which stay the caller's. It returns
// the port's index and hardware address. Where the port has fewer queues than there are
// workers, those who have one share with the others.
func (p *Plane) AddPort(device string, host []int) (index int, mac [6]byte, err error) {
	name, fds := C.CString(device), descriptors(host)
	defer free(name)
	n := C.evg_plane_add_port(p.c, name, &fds[0], (*C.uint8_t)(&mac[0]))
	if err := errnoOf(n); err != nil {
		return 0, mac, fmt.Errorf("loop: take over port %s with %d queues: %w", device, len(host), err)
	}
	return int(n), mac, nil
}

// Start starts the workers. tun has a descriptor of the TUN device for each.
func (p *Plane) Start(tun []int) error {
	fds := descriptors(tun)
	if err := errnoOf(C.evg_plane_start(p.c, &fds[0])); err != nil {
		return fmt.Errorf("loop: start %d workers: %w", len(tun), err)
	}
	return nil
}

func descriptors(fds []int) []C.int {
	out := make([]C.int, len(fds))
	for i, fd := range fds {
		out[i] = C.int(fd)
	}
	return out
}

// SetAddresses says which packets are for us.
func (p *Plane) SetAddresses(addrs []netip.Addr) {
	list := make([]C.struct_evg_addr, len(addrs)+1) // one more, so that there is a first
	for i, a := range addrs {
		list[i] = addrOf(a)
	}
	C.evg_plane_set_addresses(p.c, &list[0], C.uint32_t(len(addrs)))
}

// Drain waits until all packets see what was changed before, and those that did not
// have left.
func (p *Plane) Drain() { C.evg_plane_drain(p.c) }

// Stop ends the workers and gives the ports back.
func (p *Plane) Stop() { C.evg_plane_stop(p.c) }

// Free frees a plane whose SAs and tunnels were freed, after Stop. An error tells of
// packets and sessions that nobody gave back.
func (p *Plane) Free() error {
	if lost := C.evg_plane_free(p.c); lost > 0 {
		return fmt.Errorf("loop: %d packets and sessions were lost", lost)
	}
	return nil
}

// Arm lets the standby SAs of a group start by themselves, or ends that.
func (p *Plane) Arm(g offload.Group, epoch offload.Epoch) {
	C.evg_plane_arm(p.c, C.uint32_t(g), true, C.uint64_t(epoch))
}

// Disarm ends what Arm began.
func (p *Plane) Disarm(g offload.Group) { C.evg_plane_arm(p.c, C.uint32_t(g), false, 0) }

// Stats lists what belongs to no SA, and what came to each worker.
func (p *Plane) Stats() []offload.Stat {
	names := [...]string{
		C.EVG_STAT_UNKNOWN_SPI:     "unknown-spi",     // no inbound SA has this SPI and address
		C.EVG_STAT_SHORT:           "short",           // too short for ESP
		C.EVG_STAT_KEEPALIVE:       "keepalives",      // NAT keepalives, which end here
		C.EVG_STAT_NO_SA:           "no-sa",           // selected by no SA
		C.EVG_STAT_MULTICAST:       "multicast",       // multicast and link-local, which no tunnel carries
		C.EVG_STAT_MALFORMED:       "malformed",       // no IP packet
		C.EVG_STAT_NO_BUFFER:       "no-buffer",       // no memory for a packet was left
		C.EVG_STAT_TUN_FULL:        "tun-full",        // the host did not take an inner packet
		C.EVG_STAT_HOST_FULL:       "host-full",       // the host did not take a frame
		C.EVG_STAT_PORT_FULL:       "port-full",       // a port did not take a frame
		C.EVG_STAT_WORKER_FULL:     "worker-full",     // a worker did not take a frame that another polled
		C.EVG_STAT_NO_NEIGHBOUR:    "no-neighbour",    // the next hop of an SA is not known
		C.EVG_STAT_FORGED_ICMP:     "forged-icmp",     // a path MTU report that quotes no packet of ours
		C.EVG_STAT_TOO_BIG_SENT:    "too-big-sent",    // ICMP messages to senders
		C.EVG_STAT_TOO_BIG_LIMITED: "too-big-limited", // those that the rate limit held back
		C.EVG_STAT_TO_HOST:         "to-host",         // frames that are not ours
		C.EVG_STAT_FROM_HOST:       "from-host",       // frames of the host
		C.EVG_STAT_TO_TUN:          "to-tun",          // inner packets that the host got
		C.EVG_STAT_PASSED_ON:       "passed-on",       // inner packets that left by a port
		C.EVG_STAT_CARD_OUT:        "card-out",        // packets that a port encrypts
		C.EVG_STAT_CARD_IN:         "card-in",         // packets that a port decrypted, or tried to
		C.EVG_STAT_CIPHER_LOST:     "cipher-lost",     // packets that a cryptodev did not give back
	}
	var values [C.EVG_STATS]C.uint64_t
	C.evg_plane_stats(p.c, &values[0])
	out := make([]offload.Stat, len(values))
	for i, v := range values {
		out[i] = offload.Stat{Name: names[i], Value: uint64(v)}
	}
	for i := range p.workers { // what came to each, to see whether they share
		out = append(out, offload.Stat{Name: fmt.Sprintf("worker%d", i), Value: uint64(C.evg_plane_taken(p.c, C.uint16_t(i)))})
	}
	return out
}

// addrOf is an address for C.
func addrOf(a netip.Addr) C.struct_evg_addr {
	var out C.struct_evg_addr
	octets(out.b[:], a)
	if a.Is6() {
		out.v6 = 1
	}
	return out
}

func octets(to []C.uint8_t, a netip.Addr) {
	for i, b := range a.AsSlice() {
		to[i] = C.uint8_t(b)
	}
}

// toAddr is an address from C.
func toAddr(a C.struct_evg_addr) netip.Addr {
	b := *(*[16]byte)(unsafe.Pointer(&a.b))
	if a.v6 != 0 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}
