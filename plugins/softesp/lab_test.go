package softesp_test

import (
	"context"
	"net/netip"
	"os/exec"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a softesp in a host of its own, with an inner address on its
// loopback.
type gateway struct {
	t      *testing.T
	ns     *netlab.Namespace
	wan    *netlab.Interface
	engine *softesp.Engine
	config offload.Config
	// outer and inner addresses by family: [0] IPv4, [1] IPv6.
	outer, inner [2]netip.Addr
}

const group offload.Group = 1

var epoch = offload.NewEpoch(1, 1)

// newGateways builds two gateways that a link joins. Routes for the other's inner
// addresses point to the TUN device.
func newGateways(t *testing.T, settings map[string]string) (a, b *gateway) {
	t.Helper()
	lab := netlab.New(t)
	na, nb := lab.Namespace("a"), lab.Namespace("b")
	wa, wb := lab.Link(na.Port("wan", "192.0.2.1/24", "2001:db8::1/64"), nb.Port("wan", "192.0.2.2/24", "2001:db8::2/64"))
	a = newGateway(t, na, wa, 1, [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, settings)
	b = newGateway(t, nb, wb, 2, [2]netip.Addr{netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::2")}, settings)
	a.route(b)
	b.route(a)
	return a, b
}

func newGateway(t *testing.T, ns *netlab.Namespace, wan *netlab.Interface, n byte, outer [2]netip.Addr, settings map[string]string) *gateway {
	t.Helper()
	g := &gateway{t: t, ns: ns, wan: wan, outer: outer}
	g.inner = [2]netip.Addr{
		netip.AddrFrom4([4]byte{10, n, 0, 1}),
		netip.AddrFrom16([16]byte{0xfd, n, 15: 1}),
	}
	ns.Loopback(g.inner[0].String()+"/32", g.inner[1].String()+"/128")
	g.config = offload.Config{
		Member: ipsec.MemberID(n), Boot: 1, Addresses: g.outer[:], Settings: settings,
	}
	g.engine = g.newEngine()
	return g
}

// newEngine makes and configures an engine inside the host.
func (g *gateway) newEngine() *softesp.Engine {
	g.t.Helper()
	e, err := softesp.New(softesp.Options{Version: "test"})
	if err != nil {
		g.t.Fatalf("The engine cannot be made: %v.", err)
	}
	g.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			g.t.Errorf("The engine did not close cleanly: %v.", err)
		}
	})
	err = g.ns.Do(func() error {
		_, err := e.Configure(g.t.Context(), g.config)
		return err
	})
	if err != nil {
		g.t.Fatalf("The engine cannot be configured: %v.", err)
	}
	return e
}

// route sends what is for the inner addresses of other into the TUN device.
func (g *gateway) route(other *gateway) {
	g.t.Helper()
	for i := range other.inner {
		bits := strconv.Itoa(other.inner[i].BitLen())
		g.ip("route", "add", other.inner[i].String()+"/"+bits, "dev", "evg0", "src", g.inner[i].String())
	}
}

// ip runs ip(8) inside the host.
func (g *gateway) ip(args ...string) {
	g.t.Helper()
	if out, err := g.ns.Output(ipCommand(args...)); err != nil {
		g.t.Fatalf("ip %v failed: %v: %s", args, err, out)
	}
}

func ipCommand(args ...string) *exec.Cmd   { return exec.Command("ip", args...) }
func pingCommand(args ...string) *exec.Cmd { return exec.Command("ping", args...) }

func (g *gateway) install(role offload.Role, sas ...ipsec.SA) {
	g.t.Helper()
	placed, err := g.engine.Install(g.t.Context(), epoch, role, sas...)
	if err != nil {
		g.t.Fatalf("Install failed: %v.", err)
	}
	for _, p := range placed {
		if p.Err != nil {
			g.t.Fatalf("The SA %v was refused: %v.", p.ID, p.Err)
		}
	}
}

// connect installs the SAs of a tunnel at both ends, active, and returns them.
func (g *gateway) connect(other *gateway, spec tunnelSpec) (here, there [2]ipsec.SA) {
	g.t.Helper()
	here, there = spec.pair(g, other)
	g.install(offload.Active, here[:]...)
	other.install(offload.Active, there[:]...)
	if spec.outer6 {
		// The first packet on a fresh IPv6 link may wait for neighbor discovery
		// for longer than tests want to.
		g.ping(other.outer[1].String(), 1)
	}
	return here, there
}

// ping wants n pings answered, however late.
func (g *gateway) ping(to string, n int) {
	g.t.Helper()
	if err := g.ns.Echo(g.t.Context(), to, "", n); err != nil {
		g.t.Fatalf("Pings from %s to %s should be answered: %v.", g.ns.Name(), to, err)
	}
}

// pingOnce runs a series of pings, whatever comes of it.
func (g *gateway) pingOnce(p netlab.Ping) netlab.PingResult {
	g.t.Helper()
	r, err := g.ns.Ping(g.t.Context(), p)
	if err != nil {
		g.t.Fatalf("The ping from %s to %s could not be run: %v.", g.ns.Name(), p.To, err)
	}
	return r
}

// counters returns what an SA counts.
func (g *gateway) counters(id ipsec.SAID) offload.Counters {
	g.t.Helper()
	for c, err := range g.engine.Export(context.Background(), offload.AllGroups) {
		if err != nil {
			g.t.Fatalf("Export failed: %v.", err)
		}
		if c.ID == id {
			return c
		}
	}
	g.t.Fatalf("The SA %v is not installed.", id)
	return offload.Counters{}
}
