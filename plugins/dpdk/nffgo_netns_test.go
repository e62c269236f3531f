//go:build dpdk && nffgo

package dpdk_test

import (
	"context"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/dpdk/nffgo"
)

// buildPlugin builds the plugin as `make dpdk` does. nff-go has one graph in the life
// of a process, and races of its own, so its tests are between processes.
func buildPlugin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "evergate-plugin-dpdk")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "dpdk,nffgo", "-buildvcs=false", "-o", path, "github.com/evergate/evergate/cmd/evergate-plugin-dpdk")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("The plugin cannot be built: %v\n%s", err, out)
	}
	return path
}

// needProcessors ends a test on a machine that is too small for nff-go's threads,
// none of which ever rests.
func needProcessors(t *testing.T) {
	t.Helper()
	if want := nffgo.Processors(1); runtime.NumCPU() < want {
		t.Skipf("The graph was built and not run: nff-go wants %d processors, this machine has %d.", want, runtime.NumCPU())
	}
}

// TestNFFGoKeepsTheContract runs the conformance suite, with real packets, against
// processes of the plugin whose ports are run by nff-go.
func TestNFFGoKeepsTheContract(t *testing.T) { // B8
	needProcessors(t)
	plugin := buildPlugin(t)
	offloadtest.RunDirect(t, func(ctx context.Context) (*offloadtest.Harness, error) {
		w := newWire(t, nil)
		open := offloadtest.Executable(t.Output(), offloadtest.Harness{}, "nsenter", "--net="+w.gateway.Path(), plugin)
		process, err := open(ctx)
		if err != nil {
			return nil, err
		}
		w.Engine = process.Engine
		maps.Copy(w.settings, map[string]string{"engine": "nffgo", "buffers": "4096"})
		return w.harness(process.Close), nil
	})
}
