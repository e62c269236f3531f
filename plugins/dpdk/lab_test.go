//go:build dpdk

package dpdk_test

import (
	"fmt"
	"net"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/plugins/dpdk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what must come.
const patience = 20 * time.Second

// process has what a process starts once.
var process = new(dpdk.EAL)

// planes numbers the virtual devices of the process.
var planes atomic.Int64

// cable joins a dataplane's port, an interface that the kernel of its host is deaf
// on, to a peer's interface wan with an address. It returns the settings of the port,
// whose host's end is called wan too.
func cable(t *testing.T, lab *netlab.Lab, gateway, peer *netlab.Namespace, peerAddr ...string) (settings map[string]string, peerMAC net.HardwareAddr) {
	t.Helper()
	_, wan := lab.Link(gateway.Port("wire"), peer.Port("wan", peerAddr...))
	deafen(t, gateway, "wire")
	wholeChecksums(t, peer, "wan")
	return map[string]string{
		"ports":           fmt.Sprintf("net_af_packet%d,iface=wire", planes.Add(1)),
		"host-interfaces": "wan",
		"buffers":         "2048",
		"max-sas":         "1024",
	}, wan.MAC()
}

// deafen makes the kernel of a host drop what arrives at an interface, behind the
// packet sockets that look on.
func deafen(t *testing.T, host *netlab.Namespace, name string) {
	t.Helper()
	run(t, host, "nft", fmt.Sprintf("add table netdev deaf; add chain netdev deaf %[1]s { type filter hook ingress device \"%[1]s\" priority 0; policy drop; }", name))
	run(t, host, "ip", "link", "set", name, "arp", "off")
}

// wholeChecksums makes a host compute checksums itself, as a wire would carry them.
func wholeChecksums(t *testing.T, host *netlab.Namespace, name string) {
	t.Helper()
	run(t, host, "ethtool", "-K", name, "tx", "off")
}

func run(t *testing.T, host *netlab.Namespace, name string, args ...string) {
	t.Helper()
	if out, err := host.Output(exec.CommandContext(t.Context(), name, args...)); err != nil {
		t.Fatalf("%s %v failed in %s: %v: %s", name, args, host.Name(), err, out)
	}
}
