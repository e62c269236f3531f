package softesp

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/device"
)

const (
	// surveyInterval is how often the first hop of every SA is looked up again: an
	// interface may get another MTU, a route another interface.
	surveyInterval = time.Minute
	// surveyQueue is how many SAs wait to be looked up for the first time; others
	// wait for the next survey.
	surveyQueue = 4096
)

// ask has the first hop of an SA that begins to send looked up. It does not
// wait, so the packet path may call it.
func (e *Engine) ask(a *association) {
	if a.out == nil || !a.active() {
		return
	}
	select {
	case e.unsurveyed <- a:
	default:
	}
}

// survey learns the MTU of the first hop of active outbound SAs until stop is
// closed: it is what is known of a path from the start.
func (e *Engine) survey(routes *device.Routes, stop <-chan struct{}) {
	tick := time.NewTicker(surveyInterval)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case a := <-e.unsurveyed:
			e.lookUp(routes, a)
		case <-e.resurvey:
			e.lookUp(routes, e.senders()...)
		case <-tick.C:
			e.lookUp(routes, e.senders()...)
		}
	}
}

// senders are the active outbound SAs.
func (e *Engine) senders() []*association {
	e.names.RLock()
	defer e.names.RUnlock()
	var out []*association
	for _, a := range e.sas {
		if a.out != nil && a.active() {
			out = append(out, a)
		}
	}
	return out
}

// lookUp asks the kernel once for each pair of addresses. Where there is no
// route, or the local address is not here, nothing is known.
func (e *Engine) lookUp(routes *device.Routes, sas ...*association) {
	found := make(map[[2]netip.Addr]int)
	for _, a := range sas {
		p := a.path.Load()
		ends := [2]netip.Addr{p.local, p.remote.Addr()}
		mtu, known := found[ends]
		if !known {
			var err error
			if mtu, err = routes.MTU(ends[0], ends[1]); err != nil {
				e.log.Debug("first hop unknown", slog.Any("error", err))
			}
			mtu = min(mtu, 1<<16-1) // the loopback interface has more
			found[ends] = mtu
		}
		// Who moved meanwhile has asked again.
		if a.path.Load() == p && a.mtu.setHop(mtu) {
			e.events.add(offload.MTUChanged{ID: a.ID, MTU: uint16(a.mtu.known())})
		}
	}
}
