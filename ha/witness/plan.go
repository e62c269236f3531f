package witness

import (
	"cmp"
	"net/netip"
	"slices"
)

// phase is how far the member stands back.
type phase uint8

const (
	silent    phase = iota // announces nothing
	fit                    // announces all
	departing              // announces all, as the last resort
)

// preference is how much a router should like a route. The zero preference is
// no route at all.
type preference uint8

const (
	withdrawn preference = iota
	lastResort
	second
	first
)

// prefer returns what to announce a prefix with.
func prefer(r role, ph phase, announceStandby bool) preference {
	switch {
	case ph == silent, r == none, r == standby && !announceStandby:
		return withdrawn
	case ph == departing:
		return lastResort
	case r == standby:
		return second
	}
	return first
}

// route is one thing to tell the neighbors.
type route struct {
	prefix     netip.Prefix
	preference preference
}

// plan is what takes the neighbors from what they know to what they should
// know: announcements first, so that what moves between prefixes has the new
// way before it loses the old one.
type plan struct{ announce, withdraw []route }

// add notes that p should be announced like that, known being what was
// announced last. What is known already is not told again.
func (pl *plan) add(p netip.Prefix, want, known preference) {
	switch {
	case want == known:
	case want == withdrawn:
		pl.withdraw = append(pl.withdraw, route{p, want})
	default:
		pl.announce = append(pl.announce, route{p, want})
	}
}

// order sorts the plan, so that the most attractive routes go first: full
// addresses, which the gateways are, before networks.
func (pl *plan) order() {
	byWeight := func(a, b route) int {
		return cmp.Or(
			cmp.Compare(b.preference, a.preference),
			cmp.Compare(a.prefix.Addr().BitLen()-a.prefix.Bits(), b.prefix.Addr().BitLen()-b.prefix.Bits()),
			a.prefix.Addr().Compare(b.prefix.Addr()),
		)
	}
	slices.SortFunc(pl.announce, byWeight)
	slices.SortFunc(pl.withdraw, byWeight)
}
