//go:build dpdk && nffgo

package e2e_test

import (
	"runtime"
	"testing"

	"github.com/evergate/evergate/plugins/dpdk/nffgo"
)

// tags are those of the plugin under test.
const tags = "dpdk,nffgo"

// TestTunnelPassesBetweenNFFGoAndGo is TestTunnelPassesBetweenDPDKAndGo with a graph of
// nff-go at the first member, on a machine that is large enough for its threads.
func TestTunnelPassesBetweenNFFGoAndGo(t *testing.T) { // F5, F23, B1
	if want := nffgo.Processors(1); runtime.NumCPU() < want {
		t.Skipf("nff-go's graph was built and not run: it wants %d processors, and there are %d here.", want, runtime.NumCPU())
	}
	passesOn(newGroup(t, "    engine: nffgo\n"))
}
