package xfrm

import (
	"net/netip"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// acquire asks for an SA for a packet: "the packet's own" selectors, the TSi and
// TSr that RFC 7296 section 2.9 puts first. The kernel asks once until it gives up
// waiting, after a second (see prepare).
func (e *Engine) acquire(p xfrmnl.Selector) {
	ev := offload.Acquire{Local: ownSelector(p.Src, p.Proto, p.SrcPort), Remote: ownSelector(p.Dst, p.Proto, p.DstPort)}
	if icmp(p.Proto) && p.SrcPort.Mask != 0 {
		both := p.SrcPort.Value<<8 | p.DstPort.Value&0xff
		ev.Local.PortMin, ev.Local.PortMax = both, both
		ev.Remote.PortMin, ev.Remote.PortMax = both, both
	}
	e.events.push(ev)
}

func ownSelector(at netip.Prefix, proto uint8, port xfrmnl.Port) ipsec.TrafficSelector {
	t := ipsec.SelectorOf(at)
	t.Proto = proto
	if port.Mask != 0 {
		t.PortMin, t.PortMax = port.Value, port.Value
	}
	return t
}
