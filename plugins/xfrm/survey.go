package xfrm

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/evergate/evergate/offload"
)

// DefaultSurveyEvery is how often the kernel is asked for what it learned of paths: it
// heeds their MTU at once and tells nobody.
const DefaultSurveyEvery = 10 * time.Second

// watchPaths surveys until Close.
func (e *Engine) watchPaths() {
	tick := time.NewTicker(e.surveyEvery)
	defer tick.Stop()
	for {
		select {
		case <-e.closed:
			return
		case <-tick.C:
			e.mu.Lock()
			if e.usable() == nil {
				e.survey()
			}
			e.mu.Unlock()
		}
	}
}

// survey asks for the path of each peer once, and reports those that changed.
func (e *Engine) survey() {
	known := make(map[netip.Addr]uint16)
	for _, a := range e.sas {
		if !a.outbound() || a.role != offload.Active {
			continue
		}
		mtu, asked := known[a.state.Dst]
		if !asked {
			var err error
			if mtu, err = e.kernel.pathMTU(a.state.Dst); err != nil {
				e.log.Debug("path mtu unknown", "error", err)
			}
			known[a.state.Dst] = mtu
		}
		if a.learn(mtu) {
			e.events.push(offload.MTUChanged{ID: a.id, MTU: mtu})
		}
	}
}

// learn notes the path MTU that the kernel has, 0 for none, and tells whether that
// is news: it is less than what was known, or another than the kernel had before.
func (a *association) learn(mtu uint16) bool {
	before := a.learned
	if mtu == 0 || mtu == before {
		return false
	}
	a.learned = mtu
	if before == 0 && a.pathMTU != 0 && a.pathMTU <= mtu {
		return false
	}
	a.pathMTU = mtu
	return true
}

// pathMTU is that of the route to a peer: what ICMP said of it, or else its first
// hop's; 0 where there is no route.
func (k *kernel) pathMTU(to netip.Addr) (uint16, error) {
	routes, err := k.links.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Mark: offload.OuterMark})
	if err != nil || len(routes) == 0 {
		return 0, fmt.Errorf("find the route to %v: %w", to, err)
	}
	if mtu := routes[0].MTU; mtu > 0 {
		return uint16(min(mtu, 1<<16-1)), nil
	}
	link, err := k.links.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return 0, fmt.Errorf("find the interface to %v: %w", to, err)
	}
	return uint16(min(link.Attrs().MTU, 1<<16-1)), nil // the loopback interface has more
}
