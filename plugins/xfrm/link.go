package xfrm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/gate"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// everyBit is the mask of a mark that must be the same as a whole.
const everyBit = 1<<32 - 1

// linkKeys are those of the policies of a link, which select by marks that the gate
// sets. Outbound: what the gate sends to the link of this member. Inbound: what came
// over this SA may be forwarded, and meets a policy of its own where no SA selects it.
func (a *association) linkKeys() []policyKey {
	var out []policyKey
	for _, s := range a.selectors {
		if a.outbound() {
			out = append(out, policyKey{xfrmnl.Out, s, xfrmnl.Mark{Value: gate.RelayMark(a.link.Member), Mask: gate.RelayMask}})
			continue
		}
		came := xfrmnl.Mark{Value: a.reqID, Mask: everyBit}
		out = append(out, policyKey{xfrmnl.Forward, s, came}, policyKey{xfrmnl.Out, s, came})
	}
	return out
}

// The priorities of policies of links: before those of all tunnels, and after them
// but before those that ask for an SA.
const (
	linkPriority  = 1
	strayPriority = acquirePriority - 1
)

// strayPolicy is for what came over a and no SA selects. It leads to a link out, where
// the gate counts and drops it; the kernel counts it where there is none.
func (e *Engine) strayPolicy(k policyKey, a *association) xfrmnl.Policy {
	p := xfrmnl.Policy{Selector: k.selector, Dir: k.dir, Mark: k.mark, IfID: e.settings.ifID, Priority: strayPriority}
	if out := e.linkTo(a.link.Member); out != nil {
		p.Templates = []xfrmnl.Template{out.template()}
	} else {
		p.Block = true
	}
	return p
}

// linkTo returns the newest outbound SA of a link to a member, nil for none.
func (e *Engine) linkTo(m ipsec.MemberID) *association {
	var newest *association
	for _, a := range e.links {
		if a.outbound() && a.link.Member == m && (newest == nil || newest.reqID < a.reqID) {
			newest = a
		}
	}
	return newest
}

// relink makes the gate and the policies follow a change of the links to a member.
func (e *Engine) relink(m ipsec.MemberID) error {
	e.linked = true
	var failed []error
	for _, a := range e.links {
		if !a.outbound() && a.link.Member == m {
			failed = append(failed, e.settle(a.keys()))
		}
	}
	if !e.groups[m].armed {
		c := e.changes()
		e.holdBack(c, offload.Group(m))
		failed = append(failed, c.commit())
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("lead packets over the link to member %d: %w", m, err)
	}
	return nil
}

// holdBack holds back what is for standby SAs of a group: it goes to the owner, if
// there is a link, or nowhere.
func (e *Engine) holdBack(c *changes, g offload.Group) {
	if e.linkTo(ipsec.MemberID(g)) != nil {
		c.tx.Relay(uint8(g))
	} else {
		c.tx.Disarm(uint8(g))
	}
}

// lookAside takes in what the gate has counted aside of a.
func (e *Engine) lookAside(a *association) (err error) {
	if e.linked && a.link == nil && a.outbound() {
		a.aside, err = e.kernel.gate.Aside(a.reqID)
	}
	return err
}

// asides are those of all SAs.
func (e *Engine) asides() (map[uint32]gate.Aside, error) {
	if !e.linked {
		return nil, nil
	}
	return e.kernel.gate.Asides()
}

// addStrays adds to the counters of one SA what came over it, if it is of a link, and
// went no further.
func (e *Engine) addStrays(c *offload.Counters, a *association) error {
	if a.link == nil || a.outbound() {
		return nil
	}
	late, stray, err := e.kernel.gate.Strays()
	c.Drops.Standby += late[a.reqID]
	c.Drops.Selector += stray[a.reqID]
	return err
}

// prepareLinks makes ready for links between members, as far as the kernel can.
func (e *Engine) prepareLinks(device int) error {
	err := e.kernel.gate.BuildRelay(uint32(device))
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		e.log.Warn("no links between members: packets for their tunnels are dropped here while they live", "reason", err)
		return nil
	}
	if err != nil {
		return err
	}
	// A member may give us packets of its own, from an address that we have as well.
	if err := sysctl("net/ipv4/conf/"+e.settings.link+"/accept_local", "1"); err != nil {
		e.log.Warn("packets of other members from addresses that are ours as well are dropped", "error", err)
	}
	return nil
}
