package xfrm

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// policyKey tells policies apart.
type policyKey struct {
	dir      xfrmnl.Direction
	selector xfrmnl.Selector
	mark     xfrmnl.Mark // of links only
}

// policyTable knows the SAs of each policy, newest first. Outbound, the newest is
// the one to send by, as after a rekeying; inbound, whatever of them a packet came
// by is right.
type policyTable map[policyKey][]*association

// keys are those of all policies of an SA.
func (a *association) keys() []policyKey {
	if a.link != nil {
		return a.linkKeys()
	}
	var out []policyKey
	for _, s := range a.selectors {
		if a.outbound() {
			out = append(out, policyKey{dir: xfrmnl.Out, selector: s})
		} else {
			out = append(out, policyKey{dir: xfrmnl.In, selector: s}, policyKey{dir: xfrmnl.Forward, selector: s})
		}
	}
	return out
}

// join puts an SA into the policies of its selectors, in its place by age.
func (t policyTable) join(a *association) {
	for _, k := range a.keys() {
		if slices.Contains(t[k], a) {
			continue
		}
		at, _ := slices.BinarySearchFunc(t[k], a, func(x, y *association) int { return int(y.reqID&serialMask) - int(x.reqID&serialMask) })
		t[k] = slices.Insert(slices.Clone(t[k]), at, a)
	}
}

// leave takes it out again.
func (t policyTable) leave(a *association) {
	for _, k := range a.keys() {
		t[k] = slices.DeleteFunc(slices.Clone(t[k]), func(x *association) bool { return x == a })
		if len(t[k]) == 0 {
			delete(t, k)
		}
	}
}

// settle makes the kernel's policies what the table says, for the selectors of an
// SA.
func (e *Engine) settle(keys []policyKey) error {
	var failed []error
	for _, k := range keys {
		failed = append(failed, e.settleOne(k))
	}
	return errors.Join(failed...)
}

func (e *Engine) settleOne(k policyKey) error {
	p := xfrmnl.Policy{Selector: k.selector, Dir: k.dir, Mark: k.mark, IfID: e.settings.ifID, Priority: priorityOf(k.selector, k.dir)}
	sas := e.policies[k]
	if k.mark != (xfrmnl.Mark{}) {
		p.Priority = linkPriority
	}
	switch {
	case len(sas) == 0 && e.asks(k):
		return e.kernel.conn.SetPolicy(e.acquirePolicy(k.selector))
	case len(sas) == 0:
		if err := e.kernel.conn.DeletePolicy(p); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	case k.dir == xfrmnl.Out && !sas[0].outbound():
		p = e.strayPolicy(k, sas[0])
	case k.dir == xfrmnl.Out:
		p.Templates, p.Offload = []xfrmnl.Template{sas[0].template()}, sas[0].policyOffload()
	default:
		if len(sas) == 1 {
			p.Offload = sas[0].policyOffload()
		}
		for _, a := range sas[:min(len(sas), xfrmnl.MaxTemplates)] {
			t := a.template()
			t.Optional = len(sas) > 1
			p.Templates = append(p.Templates, t)
		}
	}
	return e.kernel.conn.SetPolicy(p)
}

func (a *association) template() xfrmnl.Template {
	return xfrmnl.Template{Dst: a.state.Dst, Src: a.state.Src, Mode: a.state.Mode, ReqID: a.reqID}
}

// everything are the selectors of all packets of a family.
func everything() []xfrmnl.Selector {
	var out []xfrmnl.Selector
	for _, a := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		p := netip.PrefixFrom(a, 0)
		out = append(out, xfrmnl.Selector{Dst: p, Src: p})
	}
	return out
}

// asks tells whether a policy without SAs stays, to ask for one.
func (e *Engine) asks(k policyKey) bool {
	return e.settings.link != "" && k.dir == xfrmnl.Out && k.mark == (xfrmnl.Mark{}) && slices.Contains(everything(), k.selector)
}

// acquirePriority is that of policies that ask, behind all others.
const acquirePriority = 1 << 30

// acquirePolicy makes the kernel ask for an SA when a packet enters the interface
// that no SA selects. Its template leads nowhere: to the dummy address of RFC 7600.
func (e *Engine) acquirePolicy(s xfrmnl.Selector) xfrmnl.Policy {
	dummy := netip.AddrFrom4([4]byte{192, 0, 0, 8})
	return xfrmnl.Policy{
		Selector: s, Dir: xfrmnl.Out, IfID: e.settings.ifID, Priority: acquirePriority,
		Templates: []xfrmnl.Template{{Dst: dummy, Src: dummy, Mode: xfrmnl.ModeTunnel, ReqID: acquireReqID}},
	}
}

// setAcquire installs the policies that ask.
func (e *Engine) setAcquire() error {
	for _, s := range everything() {
		k := policyKey{dir: xfrmnl.Out, selector: s}
		if !e.asks(k) || len(e.policies[k]) > 0 {
			continue
		}
		if err := e.kernel.conn.SetPolicy(e.acquirePolicy(s)); err != nil {
			return fmt.Errorf("ask for SAs of what is routed to %s: %w", e.settings.link, err)
		}
	}
	return nil
}

// setBypass lets IKE pass in the clear where policies without an interface might
// divert it: those for transport mode select all that two hosts say to each other.
func (e *Engine) setBypass() error {
	if e.settings.link != "" {
		return nil
	}
	for _, s := range everything() {
		s.Proto = unix.IPPROTO_UDP
		for _, port := range []uint16{500, nattPort} {
			own := s
			own.SrcPort = xfrmnl.Port{Value: port, Mask: 1<<16 - 1}
			theirs := s
			theirs.DstPort = own.SrcPort
			for _, p := range []xfrmnl.Policy{{Selector: own, Dir: xfrmnl.Out}, {Selector: theirs, Dir: xfrmnl.In}} {
				p.Priority = 1
				if err := e.kernel.conn.SetPolicy(p); err != nil {
					return fmt.Errorf("let IKE pass: %w", err)
				}
			}
		}
	}
	return nil
}
