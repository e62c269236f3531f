//go:build dpdk && nffgo

package nffgo

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/intel-go/nff-go/common"
	"github.com/intel-go/nff-go/flow"
	"github.com/intel-go/nff-go/packet"
)

const (
	// ringBursts is how many bursts of nff-go, of 32 packets each, a ring holds.
	ringBursts = 16
	// turn is the time between two looks of nff-go's scheduler, in milliseconds. It
	// bounds how long Stop takes.
	turn = 200
	// patience is how long the start and the stop of a graph may take.
	patience = 10 * time.Second
)

// Config of a Graph.
type Config struct {
	// Ports are the names of the devices, which EAL knows already.
	Ports []string
	// CPUs has one for each thread, Processors(len(Ports)) of them.
	CPUs []int
	// Buffers is the size of each of the graph's pools, at least LeastBuffers.
	Buffers int
	// Fill puts a packet of the host into an empty mbuf, or leaves it empty after some
	// 10 ms. It is called on a thread of its own.
	Fill func(mbuf unsafe.Pointer)
	// Carry gets what arrived at the ports and what Fill has made, at most 32 mbufs,
	// which belong to it. The slice is used again. It is called on a thread of its own.
	Carry func(mbufs []unsafe.Pointer)
	// End is called last on Carry's thread, before the memory of the graph ends.
	End func()
}

// A Graph is a flow graph that runs.
type Graph struct {
	scheduled chan error // of the scheduler, when it has ended
}

// Start builds the graph and waits until packets pass it. EAL must run. What has
// failed once cannot be tried again in the process. A graph that comes with an error
// may run in part, and is to be stopped as any other.
func Start(c Config) (*Graph, error) {
	b := &burst{carry: c.Carry, end: c.End, running: make(chan struct{})}
	if err := build(c, b); err != nil {
		return nil, fmt.Errorf("nffgo: build the graph: %w", err)
	}
	g := &Graph{scheduled: make(chan error, 1)}
	go func() { g.scheduled <- flow.SystemStartScheduler() }()
	select {
	case <-b.running:
		return g, nil
	case err := <-g.scheduled:
		g.scheduled <- err // for Stop
		return g, fmt.Errorf("nffgo: start the graph on processors %v: %w", c.CPUs, err)
	case <-time.After(patience):
		return g, fmt.Errorf("nffgo: start the graph on processors %v: nothing came out of it within %v", c.CPUs, patience)
	}
}

// build builds the graph. nff-go hands out processors in the order in which parts are
// added, its scheduler first.
func build(c Config, b *burst) error {
	if err := flow.SystemInit(settings(c)); err != nil {
		return err
	}
	var flows []*flow.Flow
	for _, name := range c.Ports {
		id, err := flow.GetPortByName(name)
		if err != nil {
			return fmt.Errorf("find port %s: %w", name, err)
		}
		received, err := flow.SetReceiver(id)
		if err != nil {
			return fmt.Errorf("receive at port %s: %w", name, err)
		}
		flows = append(flows, received)
	}
	host := flow.SetGenerator(func(p *packet.Packet, _ flow.UserContext) { c.Fill(mbufOf(p)) }, nil)
	all, err := flow.SetMerger(append(flows, host)...)
	if err != nil {
		return fmt.Errorf("merge %d flows: %w", len(flows)+1, err)
	}
	if err := flow.SetVectorHandler(all, b.handle, b); err != nil {
		return fmt.Errorf("add the burst function: %w", err)
	}
	if err := flow.SetStopper(all); err != nil { // of what the burst function leaves: nothing
		return fmt.Errorf("end the graph: %w", err)
	}
	return flow.SystemInitPortsAndMemory()
}

// settings are what nff-go is started with: parts stay on their threads, and there is
// one queue for each way of a port.
func settings(c Config) *flow.Config {
	var cpus []string
	for _, n := range c.CPUs {
		cpus = append(cpus, strconv.Itoa(n))
	}
	return &flow.Config{
		CPUList:               strings.Join(cpus, ","),
		DisableScheduler:      true,
		MaxInIndex:            1,
		TXQueuesNumberPerPort: 1,
		SendCPUCoresPerPort:   1,
		MbufNumber:            uint(c.Buffers),
		RingSize:              ringBursts,
		ScaleTime:             turn,
		NoPacketHeadChange:    true, // nothing of ours reads nff-go's note of where a frame begins
		NoSetSIGINTHandler:    true,
		LogType:               common.No,
	}
}

// Stop stops the graph and its ports, and ends its memory.
func (g *Graph) Stop() error {
	stopped := make(chan error, 1)
	go func() { stopped <- flow.SystemStop() }()
	for _, end := range []chan error{stopped, g.scheduled} {
		select {
		case err := <-end:
			if err != nil {
				return fmt.Errorf("nffgo: stop the graph: %w", err)
			}
		case <-time.After(patience):
			return fmt.Errorf("nffgo: stop the graph: it goes on after %v", patience)
		}
	}
	return nil
}

// burst is the burst function with what it needs.
type burst struct {
	carry   func([]unsafe.Pointer)
	end     func()
	once    sync.Once
	running chan struct{} // closed when the first packets have come
	mbufs   []unsafe.Pointer
}

// handle takes all packets out of a vector: mask says which of it are there, for us
// and for the parts behind us.
func (b *burst) handle(packets []*packet.Packet, mask *[32]bool, _ flow.UserContext) {
	b.mbufs = b.mbufs[:0]
	for i, there := range mask {
		if there {
			b.mbufs = append(b.mbufs, mbufOf(packets[i]))
			mask[i] = false
		}
	}
	b.carry(b.mbufs)
	b.once.Do(func() { close(b.running) })
}

// Copy implements flow.UserContext: there is one instance.
func (b *burst) Copy() any { return b }

// Delete implements flow.UserContext. nff-go calls it when the thread ends.
func (b *burst) Delete() { b.end() }

// mbufOf is DPDK's view of a packet.
func mbufOf(p *packet.Packet) unsafe.Pointer {
	return unsafe.Pointer(p.CMbuf) //nolint:gosec // it points into memory of DPDK's
}
