package main

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergate/evergate/core/engine"
)

func TestRoutesOfSubordinatesAreWithheld(t *testing.T) { // route-wait
	synctest.Test(t, func(t *testing.T) {
		var added []string
		w := newWithheld(10*time.Second, func(routes ...engine.Route) {
			for _, r := range routes {
				added = append(added, r.Prefix.String())
			}
		})
		defer w.close()
		route := func(prefix string, standby bool) engine.Route {
			return engine.Route{Prefix: netip.MustParsePrefix(prefix), Tunnel: 7, Name: "vpn1_1", Standby: standby}
		}
		want := func(when string, prefixes ...string) {
			t.Helper()
			synctest.Wait()
			w.mu.Lock() // as add is called with it
			defer w.mu.Unlock()
			slices.Sort(added)
			if !slices.Equal(added, prefixes) {
				t.Errorf("%s the routes %v were added, want %v", when, added, prefixes)
			}
		}
		pass := func(d time.Duration) { <-time.After(d) }
		for _, p := range []string{"10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"} {
			if !w.keep(route(p, true)) {
				t.Errorf("a subordinate's route to %s is not withheld", p)
			}
		}
		if w.keep(route("10.1.0.0/16", false)) {
			t.Error("the primary's route is withheld")
		}
		w.drop(route("10.2.0.0/16", true))
		pass(9 * time.Second)
		want("before the time")
		pass(2 * time.Second)
		want("of what neither became ours nor went,", "10.3.0.0/16")

		w.keep(route("10.4.0.0/16", true))
		w.flush()
		want("before a takeover", "10.3.0.0/16", "10.4.0.0/16")
		pass(time.Minute)
		want("later on", "10.3.0.0/16", "10.4.0.0/16")
	})
}

func TestNothingIsWithheldByDefault(t *testing.T) {
	w := newWithheld(0, func(...engine.Route) { t.Error("a route was added") })
	if w.keep(engine.Route{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Standby: true}) {
		t.Error("without route-wait a route is withheld")
	}
}
