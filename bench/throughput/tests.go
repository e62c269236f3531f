package throughput

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// kind of a test: a stream of datagrams, or so many TCP connections.
type kind struct {
	name string
	tcp  int
	udp  stream
	// large: the packets need a cable of largeMTU.
	large bool
	// many: the number of SAs matters.
	many bool
}

// mostOctets is the largest packet that the MTU of every contestant lets pass.
const mostOctets = 1400

// kinds are all tests. Sizes are those of IP packets.
func kinds() []kind {
	all := []kind{
		{name: "tcp-1", tcp: 1},
		{name: "tcp-4", tcp: 4, many: true},
	}
	for _, size := range []int{64, 512, mostOctets, 4096, 8192} {
		all = append(all, kind{name: fmt.Sprintf("udp-%d", size), udp: stream{sizes: []int{size}}, large: size > mostOctets})
	}
	// The simple IMIX: 7 small packets, 4 middle ones, 1 large one.
	imix := []int{64, 576, 64, 64, 576, 64, mostOctets, 64, 576, 64, 576, 64}
	return append(all,
		kind{name: "udp-imix", udp: stream{sizes: imix}},
		kind{name: "udp-600M", udp: stream{sizes: []int{mostOctets}, rate: 600e6}},
		// To all clients in turns, 16 packets to each.
		kind{name: "udp-spread", udp: stream{sizes: []int{mostOctets}, burst: 16, flows: -1}, many: true},
	)
}

// Tests are the names of all tests: TCP over one and four connections, a flood of
// datagrams of one size, up to 8192 octets, and of a mix, 600 Mbit/s of them, and a flood to the
// clients of all SAs in turns.
func Tests() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// chosen are the kinds of o.Tests, which check has found.
func (o Options) chosen() (out []kind) {
	all := kinds()
	for _, name := range o.Tests {
		out = append(out, all[slices.IndexFunc(all, func(k kind) bool { return k.name == name })])
	}
	return out
}

// run makes one test. It is false when p does not take part.
func (p *pair) run(ctx context.Context, k kind, length time.Duration) (f Figures, ok bool, err error) {
	if p.few && !k.many {
		return f, false, nil
	}
	if k.large {
		if p = p.large; p == nil {
			return f, false, nil
		}
	}
	if k.tcp > 0 {
		f, err = p.tcp(ctx, k.tcp, length)
		return f, true, err
	}
	k.udp.burst = max(k.udp.burst, 1)
	if k.udp.flows < 0 {
		k.udp.flows = p.sas
	}
	k.udp.flows = max(k.udp.flows, 1)
	f, err = p.udp(ctx, k.udp, length)
	return f, true, err
}
