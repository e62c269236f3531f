package softesp

import (
	"encoding/binary"
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/device"
)

// checkSource reports a peer whose authentic packets come from elsewhere, once
// per place.
//
// "it is necessary that the host on the other side of the NAT [...] respond to
// the new address" RFC 7296 section 2.23. Only a packet newer than all before it
// counts, so that a delayed or reordered one moves nobody back.
func (r *receiver) checkSource(a *association) {
	p := a.path.Load()
	source := r.from.train.Source()
	if p.kind != device.UDP || p.remote == source {
		return
	}
	if told := a.lastMove.Load(); told == nil || *told != source {
		r.e.moved(a, source)
	}
}

// moved is apart from checkSource because its argument escapes to the heap.
func (e *Engine) moved(a *association, to netip.AddrPort) {
	a.lastMove.Store(&to)
	e.events.add(offload.PeerMoved{ID: a.ID, Remote: to})
}

// readErrors takes what a socket's error queue holds, and passes on what is about
// path MTUs. It is for the kernel's word on packets that left: nothing else is.
func (r *receiver) readErrors(set *socketSet, s *device.Socket) {
	r.batch.Lock()
	defer r.batch.Unlock()
	if r.sockets.Load() != set {
		return
	}
	for range mtuReports {
		e, ok := r.errors.Next(s)
		if !ok {
			return
		}
		if e.MTU == 0 {
			continue
		}
		report := pathReport{PathError: e}
		if len(e.Quote) >= 4 {
			report.spi, report.hasSPI = ipsec.SPI(binary.BigEndian.Uint32(e.Quote)), true
		}
		report.Quote = nil
		select {
		case r.n.reports <- report:
		default: // the path will say it again
		}
	}
}
