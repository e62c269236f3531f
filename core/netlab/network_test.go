package netlab_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
)

func TestLinkCarriesBothFamilies(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	a, b := lab.Namespace("a"), lab.Namespace("b")
	lab.Link(a.Port("wan", "192.0.2.1/24", "2001:db8::1/64"), b.Port("wan", "192.0.2.2/24", "2001:db8::2/64"))
	wantPing(t, a, "192.0.2.2")
	wantPing(t, b, "2001:db8::1")
}

func TestSwitchJoinsAllItsPorts(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	a, b, c := lab.Namespace("a"), lab.Namespace("b"), lab.Namespace("c")
	lan := lab.Switch("lan", a.Port("lan", "192.0.2.1/24"), b.Port("lan", "192.0.2.2/24"), c.Port("lan", "192.0.2.3/24"))
	wantPing(t, a, "192.0.2.2")
	wantPing(t, c, "192.0.2.2")
	lan[1].Down()
	wantSilence(t, a, "192.0.2.2", "its plug is pulled")
	wantPing(t, a, "192.0.2.3")
	lan[1].Up()
	lan[0].RemoveAddr("192.0.2.1/24")
	lan[2].AddAddr("192.0.2.1/24")
	wantPing(t, b, "192.0.2.1")
}

// line is client - router - server, with a loopback address on the server.
type line struct {
	lab                    *netlab.Lab
	client, router, server *netlab.Namespace
	// The interfaces of client, router towards the client, towards the server, server.
	near, inside, outside, far *netlab.Interface
}

func newLine(t *testing.T) line {
	t.Helper()
	lab := netlab.New(t)
	l := line{lab: lab, client: lab.Namespace("client"), router: lab.Namespace("router"), server: lab.Namespace("server")}
	l.near, l.inside = lab.Link(l.client.Port("wan", "10.0.0.2/24", "fd00::2/64"), l.router.Port("in", "10.0.0.1/24", "fd00::1/64"))
	l.outside, l.far = lab.Link(l.router.Port("out", "192.0.2.1/24", "2001:db8::1/64"), l.server.Port("wan", "192.0.2.2/24", "2001:db8::2/64"))
	l.server.Loopback("203.0.113.1/32", "2001:db8:1::1/128")
	l.router.Forward()
	l.client.Route("0.0.0.0/0", "10.0.0.1")
	l.client.Route("::/0", "fd00::1")
	l.server.Route("0.0.0.0/0", "192.0.2.1")
	l.server.Route("::/0", "2001:db8::1")
	l.router.Route("203.0.113.1/32", "192.0.2.2")
	l.router.Route("2001:db8:1::1/128", "2001:db8::2")
	return l
}

func TestRoutesThroughARouter(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	wantPing(t, l.client, "203.0.113.1")
	wantPing(t, l.client, "2001:db8:1::1")
	if !l.router.HasRoute("203.0.113.1/32") {
		t.Fatal("the router does not list the route that it just used")
	}
	l.router.Unroute("203.0.113.1/32")
	l.router.Unroute("203.0.113.1/32") // again: no error
	if l.router.HasRoute("203.0.113.1/32") {
		t.Fatal("the router still lists the route that was removed")
	}
	wantSilence(t, l.client, "203.0.113.1", "the router has no route to it")
}

func TestMultipathRouteUsesWhatIsThere(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	router, a, b := lab.Namespace("router"), lab.Namespace("a"), lab.Namespace("b")
	lab.Switch("lan", router.Port("lan", "192.0.2.1/24"), a.Port("lan", "192.0.2.2/24"), b.Port("lan", "192.0.2.3/24"))
	a.Loopback("203.0.113.1/32")
	b.Loopback("203.0.113.1/32")
	router.Route("203.0.113.1/32", "192.0.2.2", "192.0.2.3")
	wantPing(t, router, "203.0.113.1")
	router.Route("203.0.113.1/32", "192.0.2.3") // replaces both
	capture := a.Interface("lan").Capture("icmp")
	wantPing(t, router, "203.0.113.1")
	if n := capture.Count(""); n != 0 {
		t.Fatalf("%d packets went to the member that the route no longer names", n)
	}
}

func TestPathMTUIsFound(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.outside.SetMTU(1400)
	l.far.SetMTU(1400)
	for _, to := range []string{"203.0.113.1", "2001:db8:1::1"} {
		mtu, err := l.client.PathMTU(t.Context(), to, 1500)
		if err != nil || mtu != 1400 {
			t.Fatalf("the path MTU to %s is %d (error %v), want 1400", to, mtu, err)
		}
	}
	l.outside.SetMTU(1300)
	// ping(8) shows what the router tells of its MTU.
	r, err := l.client.Ping(t.Context(), netlab.Ping{To: "203.0.113.1", Size: 1350, DontFragment: true})
	if err != nil || r.MTU != 1300 || r.Received != 0 {
		t.Fatalf("a packet above the new MTU: %d replies, told MTU %d (error %v), want none and 1300\n%s", r.Received, r.MTU, err, r.Output)
	}
}

func TestSysctlStaysInsideItsNamespace(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	a, b := lab.Namespace("a"), lab.Namespace("b")
	a.Forward()
	for ns, want := range map[*netlab.Namespace]string{a: "1", b: "0"} {
		var got []byte
		err := ns.Do(func() (err error) {
			got, err = os.ReadFile("/proc/sys/net/ipv4/ip_forward")
			return err
		})
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("ip_forward of %s is %q (error %v), want %s", ns.Name(), got, err, want)
		}
	}
}

func TestDoReturnsFromAFunctionThatEndsItsGoroutine(t *testing.T) {
	t.Parallel()
	said := failure(t, func(tb netlab.TB) {
		if err := netlab.New(tb).Namespace("a").Do(func() error { tb.Fatalf("inside"); return nil }); err != nil {
			tb.Fatalf("outside: %v", err)
		}
	})
	if !strings.Contains(said, "inside") || !strings.Contains(said, "ended its goroutine") {
		t.Fatalf("the failure says %q, want both sides of it", said)
	}
}

func TestMistakesOfATestAreSentences(t *testing.T) {
	t.Parallel()
	for want, body := range map[string]func(*netlab.Lab){
		`"nonsense" is no prefix`:      func(l *netlab.Lab) { l.Namespace("a").Route("nonsense", "192.0.2.1") },
		`"here" is no address`:         func(l *netlab.Lab) { l.Namespace("a").Route("10.0.0.0/8", "here") },
		`names no gateway`:             func(l *netlab.Lab) { l.Namespace("a").Route("10.0.0.0/8") },
		`find interface a/wan`:         func(l *netlab.Lab) { l.Namespace("a").Interface("wan") },
		`set net/ipv4/nothing to 1`:    func(l *netlab.Lab) { l.Namespace("a").Sysctl("net/ipv4/nothing", "1") },
		`parse 300.0.0.0/8 for a/lo`:   func(l *netlab.Lab) { l.Namespace("a").Loopback("300.0.0.0/8") },
		`drop "no such match" at a/lo`: func(l *netlab.Lab) { l.Namespace("a").Interface("lo").Drop("no such match", netlab.All()) },
		`run make deps`:                func(l *netlab.Lab) { l.Tool("no-such-tool") },
	} {
		if said := failure(t, func(tb netlab.TB) { body(netlab.New(tb)) }); !strings.Contains(said, want) {
			t.Errorf("the failure says %q, want %q in it", said, want)
		}
	}
}

func TestEchoWaitsForEveryReply(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	a, b := lab.Namespace("a"), lab.Namespace("b")
	lab.Link(a.Port("b", "192.0.2.1/24", "2001:db8::1/64"), b.Port("a", "192.0.2.2/24", "2001:db8::2/64"))
	for from, to := range map[string]string{"192.0.2.1": "192.0.2.2", "2001:db8::1": "2001:db8::2"} {
		if err := a.Echo(t.Context(), to, from, 5); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Echo(ctx, "192.0.2.3", "192.0.2.1", 1); err == nil {
		t.Error("an address that nobody has answered")
	}
}
