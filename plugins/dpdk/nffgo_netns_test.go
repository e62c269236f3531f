//go:build dpdk && nffgo

package dpdk_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/dpdk/nffgo"
)

// everyClause has TestNFFGoKeepsTheContract check more than those that tell most.
var everyClause = flag.Bool("every-clause", false, "check all clauses of the contract with engine nffgo")

// graphSettings make nff-go run the port of a test.
func graphSettings() map[string]string {
	return map[string]string{"engine": "nffgo", "buffers": "4096"}
}

// plugin is the plugin as `make dpdk` builds it, and what its processes log. nff-go
// has one graph in the life of a process, and races of its own, so its tests are
// between processes.
type plugin struct {
	path string
	mu   sync.Mutex
	log  bytes.Buffer
}

// buildPlugin builds it, on a machine that is large enough for nff-go's threads, none
// of which ever rests. Elsewhere it ends the test.
func buildPlugin(t *testing.T) *plugin {
	t.Helper()
	if want := nffgo.Processors(1); runtime.NumCPU() < want {
		t.Skipf("nff-go's graph was built and not run: it wants %d processors, and there are %d here.", want, runtime.NumCPU())
	}
	p := &plugin{path: filepath.Join(t.TempDir(), "evergate-plugin-dpdk")}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "dpdk,nffgo", "-buildvcs=false", "-o", p.path, "github.com/evergate/evergate/cmd/evergate-plugin-dpdk")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("The plugin cannot be built: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("The plugins said: %s", p.log.String())
		}
	})
	return p
}

// Write takes the log of any of the processes.
func (p *plugin) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// start starts the plugin in a host.
func (p *plugin) start(ctx context.Context, host *netlab.Namespace) (*offloadtest.Harness, error) {
	return offloadtest.Executable(p, offloadtest.Harness{}, "nsenter", "--net="+host.Path(), p.path)(ctx)
}

// TestNFFGoKeepsTheContract checks clauses of the contract, with real packets, with
// processes of the plugin whose ports are run by nff-go: those in which packets pass
// the graph in every way, and turns end that somebody waits for. All clauses, each
// with some seconds of four busy threads, are checked by
//
//	plugins/dpdk/compat/run go test -tags dpdk,nffgo ./plugins/dpdk -run NFFGo -every-clause
func TestNFFGoKeepsTheContract(t *testing.T) { // B8
	p := buildPlugin(t)
	clauses, err := offloadtest.Select("configure.again", "concurrent", "traffic", "replay", "standby", "demote", "arm.inbound", "arm.outbound", "link.carries", "link.arrives")
	if *everyClause {
		clauses = offloadtest.Clauses()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range clauses {
		t.Run(c.ID, func(t *testing.T) {
			r := c.Check(t.Context(), func(ctx context.Context) (*offloadtest.Harness, error) { return p.inGraph(ctx, t) })
			if r.Outcome == offloadtest.Failed {
				t.Errorf("%s\n\t%s", r.Text, strings.Join(r.Notes, "\n\t"))
			}
		})
	}
	if bytes.Contains(p.log.Bytes(), []byte("did not close cleanly")) {
		t.Errorf("Each graph should give back all that it had, but: %s", p.log.String())
	}
}

// inGraph starts a process whose one port a graph runs.
func (p *plugin) inGraph(ctx context.Context, t *testing.T) (*offloadtest.Harness, error) {
	w := newWire(t, nil)
	process, err := p.start(ctx, w.gateway)
	if err != nil {
		return nil, err
	}
	w.Engine = process.Engine
	maps.Copy(w.settings, graphSettings())
	return w.harness(process.Close), nil
}

// TestNFFGoAndGoUnderstandEachOther sends pings through the longest headers that there
// are, and some that are longer than the path, within the tunnel and around it.
func TestNFFGoAndGoUnderstandEachOther(t *testing.T) {
	p := buildPlugin(t)
	for n, alg := range []ipsec.Algorithms{
		gcm,
		{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_512_256, ESN: true},
	} {
		t.Run(fmt.Sprintf("%v outer=%d", alg, n), func(t *testing.T) {
			a, b := newPairOf(t, func(host *netlab.Namespace) (offload.Engine, func() error) {
				process, err := p.start(t.Context(), host)
				if err != nil {
					t.Fatalf("The plugin cannot be started: %v.", err)
				}
				return process.Engine, process.Close
			}, graphSettings())
			connect(t, a, b, alg, n, true)
			a.ping(t, b, netlab.Ping{Size: 56})
			a.ping(t, b, netlab.Ping{Size: 1440})
			b.ping(t, a, netlab.Ping{Size: 4000})
		})
	}
}
