package throughput

import (
	"context"
	"fmt"
	"time"
)

// kind of a test: a stream of datagrams, or so many TCP connections.
type kind struct {
	name string
	tcp  int
	udp  stream
}

// kinds are all tests. Sizes are those of IP packets, small enough for the MTU of
// every contestant.
func kinds() []kind {
	all := []kind{
		{name: "tcp-1", tcp: 1},
		{name: "tcp-4", tcp: 4},
	}
	for _, size := range []int{64, 512, 1400} {
		all = append(all, kind{name: fmt.Sprintf("udp-%d", size), udp: stream{sizes: []int{size}}})
	}
	// The simple IMIX: 7 small packets, 4 middle ones, 1 large one.
	imix := []int{64, 576, 64, 64, 576, 64, 1400, 64, 576, 64, 576, 64}
	return append(all,
		kind{name: "udp-imix", udp: stream{sizes: imix}},
		kind{name: "udp-600M", udp: stream{sizes: []int{1400}, rate: 600e6}},
		// To all clients in turns, 16 packets to each.
		kind{name: "udp-spread", udp: stream{sizes: []int{1400}, burst: 16, flows: -1}},
	)
}

// Tests are the names of all tests: TCP over one and four connections, a flood of
// datagrams of one size and of a mix, 600 Mbit/s of them, and a flood to the
// clients of all SAs in turns.
func Tests() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// run makes one test.
func (p *pair) run(ctx context.Context, test string, length time.Duration) (Figures, error) {
	for _, k := range kinds() {
		if k.name != test {
			continue
		}
		if k.tcp > 0 {
			return p.tcp(ctx, k.tcp, length)
		}
		k.udp.burst = max(k.udp.burst, 1)
		if k.udp.flows < 0 {
			k.udp.flows = p.sas
		}
		k.udp.flows = max(k.udp.flows, 1)
		return p.udp(ctx, k.udp, length)
	}
	return Figures{}, fmt.Errorf("throughput: there is no test %q", test)
}
