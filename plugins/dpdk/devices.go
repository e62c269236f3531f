//go:build dpdk

package dpdk

import (
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// cryptodev is a device that encrypts, as a place for SAs.
type cryptodev struct {
	loop.Cryptodev
	npu      offload.NPUID // 0 for a library
	emulated bool
	slots    int // SAs that the NPU takes, 0 for no limit
	used     int // SAs that count against slots
}

// cryptodevsOf orders devices by preference: hardware, then libraries as the setting
// lists them. Hardware, and what the setting says, are NPUs.
func cryptodevsOf(found []loop.Cryptodev, s settings) []cryptodev {
	var out []cryptodev
	var npus offload.NPUID
	add := func(d loop.Cryptodev, emulated bool) {
		c := cryptodev{Cryptodev: d, emulated: emulated}
		if d.Hardware || emulated {
			npus++
			c.npu, c.slots = npus, d.MaxSessions
		}
		if emulated {
			c.slots = s.slots
		}
		out = append(out, c)
	}
	library := func(d loop.Cryptodev) bool { return slices.Contains(s.cryptodevs, d.Name) }
	for _, d := range found {
		if !library(d) {
			add(d, false)
		}
	}
	for _, name := range s.cryptodevs {
		for _, d := range found {
			if d.Name == name {
				add(d, slices.Contains(s.emulated, name))
			}
		}
	}
	return out
}

func npusOf(devices []cryptodev, cards []card) []offload.NPU {
	var out []offload.NPU
	for _, d := range devices {
		if d.npu != 0 {
			out = append(out, offload.NPU{ID: d.npu, Name: d.Name, Emulated: d.emulated})
		}
	}
	for _, c := range cards {
		out = append(out, offload.NPU{ID: c.npu, Name: c.name, Emulated: c.emulated})
	}
	return out
}

// known lists the algorithms that the loop frames: all but 3DES.
func known() []ipsec.Algorithms {
	return slices.DeleteFunc(ipsec.Combinations(), func(a ipsec.Algorithms) bool { return a.Encryption == ipsec.Encr3DES })
}

// takes tells whether a device does all of a, in both directions.
func (d cryptodev) takes(a ipsec.Algorithms) bool {
	return d.Takes(a, ipsec.Inbound) && d.Takes(a, ipsec.Outbound)
}

// capabilities are the algorithms that some device takes. Before there are devices
// they are those that DPDK's libraries take where they run.
func (e *Engine) capabilities() []offload.Capability {
	var out []offload.Capability
	for _, a := range known() {
		c := offload.Capability{Algorithms: a, NPUInbound: e.inlines(a, ipsec.Inbound), NPUOutbound: e.inlines(a, ipsec.Outbound)}
		any := e.devices == nil
		for _, d := range e.devices {
			if !d.takes(a) {
				continue
			}
			any = true
			c.NPUInbound = c.NPUInbound || d.npu != 0
			c.NPUOutbound = c.NPUOutbound || d.npu != 0
		}
		if any {
			out = append(out, c)
		}
	}
	return out
}

// place is where an SA went.
type place struct {
	spot   spot          // where it was looked for
	device *cryptodev    // that gives it back to npu; nil for none
	npu    offload.NPUID // 0 for none
	whyNot offload.NoNPU
}

// describe makes a session for an SA in the card of the port to its peer, or at the
// best device that takes it. The error is that of the last device, or
// offload.ErrUnsupported when there is none.
func (e *Engine) describe(s *survey, sa ipsec.SA, prefix uint64) (*loop.Description, place, error) {
	spot := e.spotOf(s, sa)
	c, why := e.cardFor(spot, sa)
	if c != nil {
		made, at, err := e.inline(c, sa, prefix)
		if err == nil {
			at.spot = spot
			return made, at, nil
		}
		why = refusal(err)
	}
	made, at, err := e.describeAt(func(*cryptodev) bool { return true }, sa, prefix)
	at.spot = spot
	if at.npu == 0 {
		at.whyNot = worthier(why, at.whyNot)
	}
	return made, at, err
}

// describeAt makes a session for an SA at the best device that takes it and that may
// be asked.
func (e *Engine) describeAt(may func(*cryptodev) bool, sa ipsec.SA, prefix uint64) (*loop.Description, place, error) {
	why, err := e.whyNone(sa), offload.ErrUnsupported
	for i := range e.devices {
		d := &e.devices[i]
		if !may(d) || !d.takes(sa.Algorithms) {
			continue
		}
		full := d.npu != 0 && d.slots != 0 && d.used >= d.slots
		if full && d.Hardware {
			continue
		}
		made, failure := e.network.plane.Describe(d.Cryptodev, sa, prefix)
		if failure != nil {
			err = failure
			if d.npu != 0 {
				why = offload.DeviceRefused
			}
			continue
		}
		if d.npu == 0 || full {
			return made, place{whyNot: why}, nil
		}
		d.used++
		return made, place{device: d, npu: d.npu}, nil
	}
	return nil, place{}, err
}

// whyNone is why an SA is in no cryptodev that is an NPU when none refuses it. One
// that does whole packets (LOOKASIDE_PROTOCOL), and numbers them, lacks a mode.
func (e *Engine) whyNone(sa ipsec.SA) offload.NoNPU {
	why := offload.NoSuchNPU
	for _, d := range e.devices {
		switch {
		case d.npu == 0:
		case d.takes(sa.Algorithms):
			why = worthier(why, offload.NoRoom)
		case d.Offers(loop.LookasideProtocol, sa) == loop.Offered:
			why = worthier(why, offload.NoMode)
		default:
			why = worthier(why, offload.NoAlgorithm)
		}
	}
	return why
}

// worthier is that of two reasons which came closer to an NPU.
func worthier(a, b offload.NoNPU) offload.NoNPU {
	order := []offload.NoNPU{offload.NoSuchNPU, offload.NoAlgorithm, offload.NoMode, offload.NoRoom, offload.DeviceRefused}
	if slices.Index(order, a) > slices.Index(order, b) {
		return a
	}
	return b
}

// release gives a place back.
func (p place) release() {
	if p.device != nil {
		p.device.used--
	}
}
