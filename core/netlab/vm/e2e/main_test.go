package e2e_test

import (
	"os"
	"os/exec"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/vm"
)

func TestMain(m *testing.M) {
	if !vm.Inside() {
		os.Exit(vm.RunTests(vm.Machine{NetDevSim: true}))
	}
	goleak.VerifyTestMain(m)
}

// ip runs iproute2 in a namespace, for what it shows.
func ip(t *testing.T, ns *netlab.Namespace, args ...string) string {
	t.Helper()
	out, err := ns.Output(exec.Command("ip", args...))
	if err != nil {
		t.Fatalf("ip %q: %v", args, err)
	}
	return string(out)
}

const (
	clientAddr, gatewayAddr   = "192.0.2.2", "192.0.2.1"
	clientInner, gatewayInner = "10.88.0.2", "10.88.0.1"
)

// connect links a client and a gateway, whose inner addresses are on their
// loopbacks.
func connect(t *testing.T) (client, gateway *netlab.Namespace, wan *netlab.Interface) {
	t.Helper()
	lab := netlab.New(t)
	client, gateway = lab.Namespace("client"), lab.Namespace("gateway")
	wan, _ = lab.Link(client.Port("wan", clientAddr+"/24"), gateway.Port("wan", gatewayAddr+"/24"))
	client.Loopback(clientInner + "/32")
	gateway.Loopback(gatewayInner + "/32")
	return client, gateway, wan
}

// ping wants three answers from the gateway's inner address.
func ping(t *testing.T, client *netlab.Namespace) {
	t.Helper()
	if err := client.Echo(t.Context(), gatewayInner, clientInner, 3); err != nil {
		t.Fatalf("Ping through the tunnel: %v", err)
	}
}
