package route_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A host has interfaces that stand in for those of dataplanes.
type host struct {
	*netlab.Namespace
	t *testing.T
}

func newHost(t *testing.T) host {
	t.Helper()
	h := host{netlab.New(t).Namespace("gateway"), t}
	for _, name := range []string{"evg0", "evg1"} {
		h.addInterface(name)
	}
	return h
}

// do runs f inside the namespace.
func (h host) do(f func() error) {
	h.t.Helper()
	if err := h.Do(f); err != nil {
		h.t.Fatalf("Inside the namespace: %v.", err)
	}
}

func (h host) addInterface(name string) {
	h.t.Helper()
	h.Lab().Link(h.Port(name), h.Port(name+"-far"))
}

// mark is that of outer packets which show no ports.
const mark = 0x1234

func (h host) open() (table *route.Table) {
	h.t.Helper()
	h.do(func() (err error) {
		table, err = route.Open(route.Config{Mark: mark, Log: slog.New(slog.DiscardHandler)})
		return err
	})
	h.t.Cleanup(func() { table.Close() })
	return table
}

// foreign adds a route that is not ours.
func (h host) foreign(prefix, iface string, metric int) {
	h.t.Helper()
	h.do(func() error {
		dst, err := netlink.ParseIPNet(prefix)
		if err != nil {
			return err
		}
		link, err := netlink.LinkByName(iface)
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: link.Attrs().Index, Priority: metric, Protocol: unix.RTPROT_STATIC})
	})
}

// routes lists the routes of a table that are ours or static, as "prefix
// interface metric".
func (h host) routes(table int) (out []string) {
	h.t.Helper()
	h.do(func() error {
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			found, err := netlink.RouteListFiltered(family, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range found {
				if r.Protocol != route.Protocol && r.Protocol != unix.RTPROT_STATIC {
					continue
				}
				link, err := netlink.LinkByIndex(r.LinkIndex)
				if err != nil {
					return err
				}
				out = append(out, fmt.Sprintf("%v %s %d", r.Dst, link.Attrs().Name, r.Priority))
			}
		}
		return nil
	})
	slices.Sort(out)
	return out
}

func (h host) wantRoutes(why string, want ...string) {
	h.t.Helper()
	if got := h.routes(unix.RT_TABLE_MAIN); !slices.Equal(got, want) {
		h.t.Fatalf("%s: the kernel has %q, want %q.", why, got, want)
	}
}

// rules counts our policy rules.
func (h host) rules() (n int) {
	h.t.Helper()
	h.do(func() error {
		rules, err := netlink.RuleList(netlink.FAMILY_ALL)
		for _, r := range rules {
			if r.Protocol == route.Protocol {
				n++
			}
		}
		return err
	})
	return n
}

func to(prefix, iface string) route.Route {
	return route.Route{Prefix: netip.MustParsePrefix(prefix), Interface: iface}
}

func must(t *testing.T, doing string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v.", doing, err)
	}
}

func TestRoutesComeAndGoWithTheirTunnels(t *testing.T) { // C12
	h := newHost(t)
	table := h.open()
	must(t, "add", table.Add("vpn1_0", to("10.1.0.0/16", "evg0")))
	must(t, "add again", table.Add("vpn1_0", to("10.1.0.0/16", "evg0")))
	must(t, "add a host", table.Add("vpn1_1", to("10.2.0.7/32", "evg0")))
	must(t, "add IPv6", table.Add("vpn1_1", to("2001:db8:1::/48", "evg0")))
	h.wantRoutes("after three claims", "10.1.0.0/16 evg0 0", "10.2.0.7/32 evg0 0", "2001:db8:1::/48 evg0 1024")

	must(t, "remove", table.Remove("vpn1_0", netip.MustParsePrefix("10.1.0.0/16")))
	must(t, "remove again", table.Remove("vpn1_0", netip.MustParsePrefix("10.1.0.0/16")))
	h.wantRoutes("after one release", "10.2.0.7/32 evg0 0", "2001:db8:1::/48 evg0 1024")
	must(t, "remove all", table.RemoveAll("vpn1_1"))
	h.wantRoutes("after all releases")
}

func TestNewestClaimWins(t *testing.T) {
	h := newHost(t)
	table := h.open()
	better := to("10.1.0.0/16", "evg0")
	better.Metric = 5
	must(t, "first", table.Add("first", to("10.1.0.0/16", "evg0")))
	must(t, "second", table.Add("second", to("10.1.0.0/16", "evg1")))
	h.wantRoutes("the second has claimed", "10.1.0.0/16 evg1 0")
	must(t, "third", table.Add("third", better))
	h.wantRoutes("the third has claimed", "10.1.0.0/16 evg0 5")

	var order []string
	for _, c := range table.Claims() {
		order = append(order, fmt.Sprint(c.Owner, c.InForce))
	}
	if want := []string{"thirdtrue", "secondfalse", "firstfalse"}; !slices.Equal(order, want) {
		t.Errorf("The claims are %q, want %q.", order, want)
	}

	must(t, "the second goes", table.RemoveAll("second"))
	h.wantRoutes("a waiting claim was released", "10.1.0.0/16 evg0 5")
	must(t, "the third goes", table.RemoveAll("third"))
	h.wantRoutes("the first is left", "10.1.0.0/16 evg0 0")
	must(t, "the first goes", table.RemoveAll("first"))
	h.wantRoutes("nobody is left")
}

// TestReplacingIsMakeBeforeBreak watches what the kernel reports: the old route
// goes after the new one came, or is overwritten.
func TestReplacingIsMakeBeforeBreak(t *testing.T) {
	h := newHost(t)
	table := h.open()
	must(t, "first", table.Add("first", to("10.1.0.0/16", "evg0")))
	updates, done := make(chan netlink.RouteUpdate, 64), make(chan struct{})
	h.do(func() error {
		return netlink.RouteSubscribeWithOptions(updates, done, netlink.RouteSubscribeOptions{})
	})
	worse := to("10.1.0.0/16", "evg1")
	worse.Metric = 9
	must(t, "another metric", table.Add("second", worse))
	must(t, "another interface", table.Add("third", route.Route{Prefix: worse.Prefix, Interface: "evg0", Metric: 9}))
	must(t, "the end of it", table.Add("end", to("10.255.0.0/16", "evg0")))
	present := 1
	for u := range updates {
		if u.Dst.String() == "10.255.0.0/16" {
			break
		}
		switch {
		case u.Type == unix.RTM_DELROUTE:
			present--
		case u.NlFlags&unix.NLM_F_REPLACE == 0:
			present++
		}
		if present < 1 {
			t.Fatal("For a moment there was no route.")
		}
	}
	close(done)
	for range updates { // until its goroutine is gone
	}
}

func TestConflictNamesPrefixAndOwner(t *testing.T) {
	h := newHost(t)
	table := h.open()
	h.foreign("10.1.0.0/16", "evg1", 0)
	h.foreign("10.2.0.0/16", "evg1", 5)
	h.foreign("10.3.0.0/16", "evg1", 50)
	before := h.routes(unix.RT_TABLE_MAIN)
	worse := to("10.2.0.0/16", "evg0")
	worse.Metric = 10
	for name, r := range map[string]route.Route{"the same metric": to("10.1.0.0/16", "evg0"), "a better metric": worse} {
		err := table.Add("vpn1_0", r)
		var conflict *route.ConflictError
		if !errors.As(err, &conflict) || conflict.Prefix != r.Prefix || conflict.Via != "evg1" || conflict.Protocol != "static" {
			t.Errorf("A static route of %s is in the way: got error %v.", name, err)
		}
	}
	if after := h.routes(unix.RT_TABLE_MAIN); !slices.Equal(after, before) {
		t.Errorf("After the conflicts the kernel has %q, want %q as before.", after, before)
	}
	if claims := table.Claims(); len(claims) != 0 {
		t.Errorf("Claims that failed are kept: %+v.", claims)
	}
	must(t, "a backup route of the operator", table.Add("vpn1_0", to("10.3.0.0/16", "evg0")))
	must(t, "and back", table.RemoveAll("vpn1_0"))
	h.wantRoutes("the operator's routes stay", before...)
}

func TestFailedClaimLeavesTheOlderOne(t *testing.T) {
	h := newHost(t)
	table := h.open()
	must(t, "first", table.Add("vpn1_0", to("10.1.0.0/16", "evg0")))
	if err := table.Add("vpn1_1", to("10.1.0.0/16", "absent")); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("An interface that is not there: got error %v, want one that names it.", err)
	}
	if err := table.Add("vpn1_1", to("10.1.2.3/16", "evg0")); err == nil || !strings.Contains(err.Error(), "canonical") {
		t.Errorf("A prefix with host bits: got error %v.", err)
	}
	h.wantRoutes("the older claim holds", "10.1.0.0/16 evg0 0")
}

// TestManyRoutesAtOnce has all kinds of claims in one call: they do as they would
// one after the other.
func TestManyRoutesAtOnce(t *testing.T) {
	h := newHost(t)
	h.foreign("10.2.0.0/16", "evg1", 0)
	h.foreign("10.3.0.0/16", "evg1", 1)
	table := h.open()
	must(t, "The table makes an interface known", table.Add("first", to("10.9.0.0/16", "evg0")))
	claims := []route.Claim{
		{Owner: "new", Route: to("10.1.0.0/16", "evg0")},
		{Owner: "taken", Route: to("10.2.0.0/16", "evg0")},
		{Owner: "worse", Route: route.Route{Prefix: netip.MustParsePrefix("10.3.0.0/16"), Interface: "evg0", Metric: 2}},
		{Owner: "new too", Route: to("fd00:1::/64", "evg0")},
		{Owner: "not one", Route: route.Route{Prefix: netip.MustParsePrefix("10.1.2.3/16"), Interface: "evg0"}},
		{Owner: "newer", Route: to("10.1.0.0/16", "evg1")},
		{Owner: "nowhere", Route: to("10.4.0.0/16", "evg7")},
		{Owner: "known", Route: to("10.9.0.0/16", "evg0")},
	}
	errs := table.AddAll(claims)
	if len(errs) != len(claims) {
		t.Fatalf("There are %d answers to %d claims.", len(errs), len(claims))
	}
	for i, fails := range []bool{false, true, true, false, true, false, true, false} {
		if (errs[i] != nil) != fails {
			t.Errorf("The claim of %q ends with: %v.", claims[i].Owner, errs[i])
		}
	}
	for _, i := range []int{1, 2} {
		if _, conflict := errors.AsType[*route.ConflictError](errs[i]); !conflict {
			t.Errorf("%q does not hear whose route stands in the way, but: %v.", claims[i].Owner, errs[i])
		}
	}
	h.wantRoutes("The newest claims are in force", "10.1.0.0/16 evg1 0", "10.2.0.0/16 evg1 0", "10.3.0.0/16 evg1 1",
		"10.9.0.0/16 evg0 0", "fd00:1::/64 evg0 1024")
}

// TestMoreRoutesThanOneMessageHolds adds them where half are there already.
func TestMoreRoutesThanOneMessageHolds(t *testing.T) {
	h := newHost(t)
	var claims []route.Claim
	var want []string
	for i := range 300 {
		p := fmt.Sprintf("10.%d.%d.0/24", i>>8, i&0xff)
		if i%2 == 0 {
			h.foreign(p, "evg1", 0)
			want = append(want, p+" evg1 0")
		} else {
			want = append(want, p+" evg0 0")
		}
		claims = append(claims, route.Claim{Owner: "many", Route: to(p, "evg0")})
	}
	errs := h.open().AddAll(claims)
	for i, err := range errs {
		if _, conflict := errors.AsType[*route.ConflictError](err); conflict != (i%2 == 0) {
			t.Fatalf("The claim of %v ends with: %v.", claims[i].Route.Prefix, err)
		}
	}
	slices.Sort(want)
	h.wantRoutes("Each other prefix is free", want...)
}

func TestStaleRoutesAreFoundServeOnAndAreSwept(t *testing.T) {
	h := newHost(t)
	crashed := h.open()
	h.foreign("10.9.0.0/16", "evg1", 0)
	capturing := to("0.0.0.0/0", "evg0")
	capturing.Peer = netip.MustParseAddr("192.0.2.1")
	for _, r := range []route.Route{to("10.1.0.0/16", "evg0"), to("10.2.0.0/16", "evg0"), to("2001:db8:1::/48", "evg0"), capturing} {
		must(t, "add", crashed.Add("old", r))
	}
	must(t, "crash", crashed.Close())

	table := h.open()
	must(t, "claim again", table.Add("vpn1_0", to("10.2.0.0/16", "evg0")))
	h.wantRoutes("before the sweep all serve on", "10.1.0.0/16 evg0 0", "10.2.0.0/16 evg0 0", "10.9.0.0/16 evg1 0", "2001:db8:1::/48 evg0 1024")
	must(t, "sweep", table.Sweep())
	h.wantRoutes("after the sweep", "10.2.0.0/16 evg0 0", "10.9.0.0/16 evg1 0")
	if left, rules := h.routes(route.TableID), h.rules(); len(left) != 0 || rules != 0 {
		t.Errorf("After the sweep our table has %q and there are %d policy rules, want none.", left, rules)
	}
}

func TestRefreshPutsRoutesBack(t *testing.T) {
	h := newHost(t)
	table := h.open()
	must(t, "add", table.Add("vpn1_0", to("10.1.0.0/16", "evg0")))
	must(t, "add", table.Add("vpn1_0", to("2001:db8::/48", "evg0")))
	h.do(func() error {
		link, err := netlink.LinkByName("evg0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	h.wantRoutes("the interface is gone")
	if err := table.Refresh(); err == nil || !strings.Contains(err.Error(), "evg0") {
		t.Errorf("Without the interface: got error %v, want one that names it.", err)
	}
	h.addInterface("evg0")
	must(t, "refresh", table.Refresh())
	h.wantRoutes("the interface is back", "10.1.0.0/16 evg0 0", "2001:db8::/48 evg0 1024")
}
