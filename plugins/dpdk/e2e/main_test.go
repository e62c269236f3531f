//go:build dpdk

package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// limit is how long tests wait for what must come.
const limit = 2 * time.Minute

// binEnv tells the tests where TestMain has put the programs.
const binEnv = "EVERGATE_TEST_BIN"

func TestMain(m *testing.M) { os.Exit(start(m)) }

func start(m *testing.M) int {
	dir, err := os.MkdirTemp("", "evergate-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv(binEnv, dir)
	}
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

func build(dir string) error {
	cmd := exec.Command("go", "build", "-tags", "dpdk", "-buildvcs=false", "-o", dir,
		"github.com/evergate/evergate/cmd/evergated", "github.com/evergate/evergate/cmd/evergate-plugin-dpdk")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs under test: %w\n%s", err, out)
	}
	return nil
}

// startDPDK runs evergated on DPDK in a host whose port2 rewire has prepared, with
// more settings of the dataplane.
func startDPDK(ns *netlab.Namespace, config, more string) *gateway.Daemon {
	dir := os.Getenv(binEnv)
	return gateway.Start(ns, gateway.Settings{
		Binary: filepath.Join(dir, "evergated"),
		Config: config + fmt.Sprintf(`
plugin-dirs: [%s]
dataplane:
  plugin: dpdk
  settings:
    ports: net_af_packet0,iface=wire2
    host-interfaces: port2
    buffers: 2048
    max-sas: 256
%s`, dir, more),
	})
}

// startSoft runs evergated on the dataplane in Go.
func startSoft(ns *netlab.Namespace, config string) *gateway.Daemon {
	return gateway.Start(ns, gateway.Settings{Binary: filepath.Join(os.Getenv(binEnv), "evergated"), Config: config})
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
