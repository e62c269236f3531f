//go:build dpdk && nffgo

package nffgo

import (
	"slices"
	"testing"
	"unsafe"

	"github.com/intel-go/nff-go/packet"
)

// packetOf is nff-go's view of a packet that only its address is known of.
func packetOf(mbuf unsafe.Pointer) *packet.Packet {
	p := new(packet.Packet)
	*(*unsafe.Pointer)(unsafe.Pointer(&p.CMbuf)) = mbuf
	return p
}

// TestBurstFunctionTakesAllPackets: what is in a vector goes to the loop in order, and
// nothing is left for the stopper behind it, which would free it again.
func TestBurstFunctionTakesAllPackets(t *testing.T) {
	var memory [32]byte
	var got []unsafe.Pointer
	b := &burst{carry: func(m []unsafe.Pointer) { got = slices.Clone(m) }, running: make(chan struct{})}
	for _, n := range []int{32, 3} {
		packets := make([]*packet.Packet, 32)
		var mask [32]bool
		var want []unsafe.Pointer
		for i := range n {
			want = append(want, unsafe.Pointer(&memory[i]))
			packets[i], mask[i] = packetOf(want[i]), true
		}
		b.handle(packets, &mask, b)
		if !slices.Equal(got, want) {
			t.Errorf("The loop should get the %d packets in order, got %v, want %v.", n, got, want)
		}
		if mask != [32]bool{} {
			t.Errorf("Nothing of %d packets should be left in the graph, got %v.", n, mask)
		}
	}
	select {
	case <-b.running:
	default:
		t.Error("A graph that packets have passed should count as running.")
	}
}
