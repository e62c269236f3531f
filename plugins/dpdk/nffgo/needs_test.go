//go:build dpdk

package nffgo_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/evergate/evergate/plugins/dpdk/nffgo"
)

// TestTooFewProcessorsAreNamed: four are enough for one port, and not for two.
func TestTooFewProcessorsAreNamed(t *testing.T) {
	three := []int{0, 1, 2}
	_, err := nffgo.Choose(three, 1)
	if err == nil || !strings.Contains(err.Error(), "wants 4 processors for 1 ports") || !strings.Contains(err.Error(), "may use 3") {
		t.Errorf("Three processors should be too few for a port, and the error should say so, got %v.", err)
	}
	if n := nffgo.Processors(2); n != 5 {
		t.Errorf("Two ports should want 5 processors, got %d.", n)
	}
}

// TestProcessorsThatCannotBeUsedAreNamed: each thread has a processor that the process
// may use, and that nff-go takes.
func TestProcessorsThatCannotBeUsedAreNamed(t *testing.T) {
	all := runtime.NumCPU()
	for _, c := range []struct {
		cpus, usable []int
		says         string
	}{
		{[]int{0, 0}, []int{0, 1}, "named twice"},
		{[]int{2, 3, 2}, []int{0, 1}, "named twice"},
		{[]int{3}, []int{0, 1}, "none of those"},
		{[]int{all}, []int{all}, "takes processors below"},
	} {
		if err := nffgo.Check(c.cpus, c.usable); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("Of %v among %v the error should say %q, got %v.", c.cpus, c.usable, c.says, err)
		}
	}
	if err := nffgo.Check([]int{0}, []int{0}); err != nil {
		t.Errorf("Processor 0 is fine where the process may use it, got %v.", err)
	}
}

// TestPoolsOutlastRings: whatever rings and ports hold, a pool has packets left.
func TestPoolsOutlastRings(t *testing.T) {
	var sizes []int
	for ports := range 4 {
		sizes = append(sizes, nffgo.LeastBuffers(ports))
	}
	if !slices.IsSorted(sizes) || sizes[1] <= 2048+2*512 {
		t.Errorf("Pools should be larger than all rings together and grow with ports, got %v.", sizes)
	}
}
