//go:build dpdk

package nffgo

import (
	"fmt"
	"runtime"
	"slices"
)

const (
	// scheduler, generator and burst function: the threads besides those of ports.
	fixedThreads = 3
	// sendRing is how many packets a port may hold that it is to send, as nff-go sets
	// ports up.
	sendRing = 2048
	// ringPackets is how many packets a ring of the graph holds.
	ringPackets = 512
	// burstPackets is how many packets a thread has in its hands.
	burstPackets = 32
)

// Processors is how many processors a graph of so many ports wants.
func Processors(ports int) int { return fixedThreads + ports }

// LeastBuffers is the least size of pools for so many ports. nff-go ends the process
// when its pool of packets of the host is empty, so it must not be: what rings, ports
// and threads can hold of it all together leaves something.
func LeastBuffers(ports int) int {
	return ports*sendRing + 2*ringPackets + 4*burstPackets
}

// Choose takes processors for a graph of so many ports from those that the process
// may use. The error says what is missing.
func Choose(usable []int, ports int) ([]int, error) {
	want := Processors(ports)
	if len(usable) < want {
		return nil, fmt.Errorf("nff-go wants %d processors for %d ports (scheduler, a receiver for each port, host, burst function), this process may use %d", want, ports, len(usable))
	}
	return usable[:want], Check(usable[:want], usable)
}

// Check tells what is wrong with processors that somebody chose.
func Check(cpus, usable []int) error {
	for i, n := range cpus {
		if slices.Contains(cpus[:i], n) {
			return fmt.Errorf("processor %d is named twice, and nff-go's threads never rest", n)
		}
	}
	for _, n := range cpus {
		switch {
		case !slices.Contains(usable, n):
			return fmt.Errorf("processor %d is none of those that this process may use", n)
		case n >= runtime.NumCPU():
			return fmt.Errorf("nff-go takes processors below %d only, as many as this process may use, and not %d", runtime.NumCPU(), n)
		}
	}
	return nil
}
