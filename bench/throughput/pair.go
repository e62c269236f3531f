package throughput

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
)

// The addresses of every pair.
const (
	gatewayOuter = "198.51.100.1"
	clientOuter  = "198.51.100.2"
	senderAddr   = "10.64.0.1"
	clientsNet   = "10.128.0.0/15"
	maxClients   = 1<<17 - 2
)

// clientAddr is the inner address behind SA pair i.
func clientAddr(i int) netip.Addr {
	i++ // none has the address of the network
	return netip.AddrFrom4([4]byte{10, 128 + byte(i>>16), byte(i >> 8), byte(i)})
}

// pair is a contestant: two ends of a tunnel.
type pair struct {
	name, version   string
	gateway, client end
	// sas is how many of clientAddr lead through the tunnel.
	sas int
	// few: it makes those tests only in which sas matters.
	few bool
	// large is the same with largeMTU, nil where nobody asks for it or it cannot be.
	large *pair
}

// largeMTU is that of the cable, and of the device before the tunnel, when large
// packets are sent: what Ethernet calls jumbo frames.
const largeMTU = 9000

// all are p and its large brother.
func (p *pair) all() []*pair {
	if p.large == nil {
		return []*pair{p}
	}
	return []*pair{p, p.large}
}

// end of a tunnel: a host with a process that is the dataplane.
type end struct {
	ns  *netlab.Namespace
	pid int
}

// newPair makes the two hosts. The mtu is that of the cable, 0 for Ethernet's.
func newPair(tb netlab.TB, name string, mtu int) *pair {
	lab := netlab.New(tb)
	p := &pair{name: name, sas: 1, gateway: end{ns: lab.Namespace("gateway")}, client: end{ns: lab.Namespace("client")}}
	one, other := lab.Link(p.gateway.ns.Port("wan", gatewayOuter+"/24"), p.client.ns.Port("wan", clientOuter+"/24"))
	if mtu > 0 {
		one.SetMTU(mtu)
		other.SetMTU(mtu)
	}
	p.gateway.ns.Loopback(senderAddr + "/32")
	p.client.ns.Loopback(clientsNet, clientAddr(0).String()+"/32") // charon looks for the very address
	return p
}

// startLimit bounds the wait for a tunnel.
const startLimit = 30 * time.Second

// wait returns when the tunnel carries packets.
func (p *pair) wait(ctx context.Context) error {
	err := netlab.Poll(ctx, startLimit, func() error {
		return p.gateway.ns.Echo(ctx, clientAddr(0).String(), senderAddr, 1)
	})
	if err != nil {
		return fmt.Errorf("throughput: %s carries no packets: %w", p.name, err)
	}
	return nil
}

// cpu is the processor time that the processes at both ends have taken.
func (p *pair) cpu() (gateway, client time.Duration, err error) {
	if gateway, err = cpuOf(p.gateway.pid); err == nil {
		client, err = cpuOf(p.client.pid)
	}
	return gateway, client, err
}

// cpuOf reads the clock of a process, which is finer than what /proc shows:
// clock_getcpuclockid(3).
func cpuOf(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &t); err != nil {
		return 0, fmt.Errorf("throughput: read the processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}
