//go:build dpdk

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
)

// limit is how long tests wait for what must come.
const limit = 2 * time.Minute

func TestMain(m *testing.M) {
	os.Exit(programs.Run(m, "-tags", tags, "/cmd/evergated", "/cmd/evergate-plugin-dpdk"))
}

// startDPDK runs evergated on DPDK in a host whose port2 rewire has prepared, with
// more settings of the dataplane.
func startDPDK(ns *netlab.Namespace, config, more string) *gateway.Daemon {
	return gateway.Start(ns, gateway.Settings{
		Binary: programs.Path("evergated"),
		Config: config + fmt.Sprintf(`
plugin-dirs: [%s]
dataplane:
  plugin: dpdk
  settings:
    ports: net_af_packet0,iface=wire2
    host-interfaces: port2
    buffers: 4096
    max-sas: 256
%s`, programs.Dir(), more),
	})
}

// startSoft runs evergated on the dataplane in Go.
func startSoft(ns *netlab.Namespace, config string) *gateway.Daemon {
	return gateway.Start(ns, gateway.Settings{Binary: programs.Path("evergated"), Config: config})
}

// rewire makes port2 of a host, with its addresses and routes, the host's end of a
// DPDK port; its cable becomes wire2, on which the kernel is deaf. The other end
// computes its checksums, as a wire would carry them.
func rewire(t *testing.T, host, router *netlab.Namespace, routerEnd string, addresses, routes []string) {
	t.Helper()
	run(t, router, "ethtool", "-K", routerEnd, "tx", "off")
	for _, args := range [][]string{
		{"ip", "link", "set", "port2", "down"},
		{"ip", "link", "set", "port2", "name", "wire2"},
		{"ip", "address", "flush", "dev", "wire2"},
		{"ip", "link", "set", "wire2", "arp", "off", "up"},
		{"nft", `add table netdev deaf; add chain netdev deaf in { type filter hook ingress device "wire2" priority 0; policy drop; }`},
		{"ip", "tuntap", "add", "port2", "mode", "tap"},
		{"ip", "link", "set", "port2", "up"},
	} {
		run(t, host, args[0], args[1:]...)
	}
	for _, a := range addresses {
		run(t, host, "ip", "address", "add", a, "dev", "port2")
	}
	for i := 0; i+1 < len(routes); i += 2 {
		host.Route(routes[i], routes[i+1])
	}
}

func run(t *testing.T, host *netlab.Namespace, name string, args ...string) {
	t.Helper()
	if out, err := host.Output(exec.CommandContext(t.Context(), name, args...)); err != nil {
		t.Fatalf("%s %v failed in %s: %v: %s", name, args, host.Name(), err, out)
	}
}
