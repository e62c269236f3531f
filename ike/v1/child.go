package v1

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/wire"
)

// childState is how far a pair of ESP SAs is.
type childState uint8

const (
	childPending  childState = iota // we receive on it; the peer has not confirmed it
	childUp                         // in use
	childReplaced                   // it has a successor, and still decrypts
	childGone                       // deleted; it decrypts what was overtaken
)

// childSA is a pair of ESP SAs.
type childSA struct {
	conf      *ike.Child
	in, out   ipsec.SPI // we chose in, the peer chose out
	inID      ipsec.SAID
	outID     ipsec.SAID
	state     childState
	initiator bool // of the quick mode that made it

	algorithms ipsec.Algorithms
	group      ipsec.GroupID // of its perfect forward secrecy
	mode       ipsec.Mode
	inKeys     suite.DirectionKeys
	outKeys    suite.DirectionKeys
	selectors  ipsec.Selectors // one on each side
	life       ipsec.Lifetime  // as agreed on, with jitter; Age is unused
	generation uint64
	sending    bool // the outbound SA is in the dataplane
	// worn: the last owner may have made the same pair from the same answer, and
	// sent on it as much as it liked. It only bridges the time to a successor.
	worn      bool
	successor ipsec.SPI // our inbound SPI of the pair that takes over

	// began and made are the tunnel's generation when its quick mode began, and
	// when it was installed.
	began, made uint64

	born     time.Time
	softAt   time.Time
	hardAt   time.Time
	removeAt time.Time // of childReplaced and childGone
	sendAt   time.Time // of childUp that has a predecessor send until then

	unknown []byte // fields of a newer version's snapshot
}

// describe is the full description of one SA of c.
func (t *Tunnel) describe(now time.Time, c *childSA, d ipsec.Direction) ipsec.SA {
	sa := ipsec.SA{
		ID: c.inID, Direction: d, Mode: c.mode,
		Tunnel: t.id, Pair: c.out,
		Group: t.env.Member, Sender: t.env.Member,
		Generation: c.generation,
		Algorithms: c.algorithms,
		Encryption: c.inKeys.Encryption, Integrity: c.inKeys.Integrity,
		Local: t.local.Addr(), Remote: t.remote.Addr(), Encap: t.encapPorts(),
		Selectors: c.selectors, Lifetime: c.life,
		ReplayWindow: c.conf.ReplayWindow, Header: c.conf.Header,
	}
	sa.Lifetime.Age = now.Sub(c.born)
	if d == ipsec.Outbound {
		sa.ID, sa.Pair = c.outID, c.in
		sa.Encryption, sa.Integrity = c.outKeys.Encryption, c.outKeys.Integrity
		sa.ReplayWindow = 0
		if c.worn {
			last := c.algorithms.MaxSequence()
			sa.Sequence = ipsec.Sequence{Next: last, Ceiling: last - 1}
		}
	}
	return sa
}

// SAs are the descriptions of all SAs that belong into the dataplane now,
// inbound before outbound in each pair.
func (t *Tunnel) SAs(now time.Time) []ipsec.SA {
	var out []ipsec.SA
	for _, c := range t.children {
		out = append(out, t.describe(now, c, ipsec.Inbound))
		if c.sending {
			out = append(out, t.describe(now, c, ipsec.Outbound))
		}
	}
	return out
}

// Pair describes both SAs of a pair by the name of either, the outbound one also
// when it is not in use yet: a standby must know it from the start. False when
// there is no such pair.
func (t *Tunnel) Pair(now time.Time, id ipsec.SAID) (in, out ipsec.SA, ok bool) {
	c := t.childByID(id)
	if c == nil {
		return ipsec.SA{}, ipsec.SA{}, false
	}
	return t.describe(now, c, ipsec.Inbound), t.describe(now, c, ipsec.Outbound), true
}

// installInbound puts the inbound SA of a new pair into the dataplane.
func (t *Tunnel) installInbound(c *childSA) {
	t.generation++
	c.generation, c.made = t.generation, t.generation
	t.children = append(t.children, c)
	t.out.Install = append(t.out.Install, t.describe(t.now, c, ipsec.Inbound))
	t.publish()
}

// startSending completes a pair that the peer is known to have, and sends on it.
func (t *Tunnel) startSending(c *childSA) {
	if t.completePair(c); c.state == childUp {
		t.takeTraffic(c)
	}
}

// startSendingSoon completes a pair that the peer has once it has heard of it. Until
// then its predecessors send; where there are none, nothing is gained by a wait.
func (t *Tunnel) startSendingSoon(c *childSA) {
	t.completePair(c)
	switch {
	case c.state != childUp:
	case slices.ContainsFunc(t.children, func(o *childSA) bool { return t.sendsFor(o, c) }):
		c.sendAt = t.now.Add(confirmTime)
	default:
		t.takeTraffic(c)
	}
}

// sendsFor tells whether a replaced pair still carries the traffic of c.
func (t *Tunnel) sendsFor(o, c *childSA) bool {
	return o != c && o.sending && o.state != childUp && o.conf == c.conf && sameSelectors(o.selectors, c.selectors)
}

// takeTraffic puts the outbound SA of a pair into the dataplane, in the place of those
// that carry the same traffic.
func (t *Tunnel) takeTraffic(c *childSA) {
	c.sendAt = time.Time{}
	if c.sending {
		return
	}
	c.sending = true
	t.out.Install = append(t.out.Install, t.describe(t.now, c, ipsec.Outbound))
	for _, o := range t.children {
		if t.sendsFor(o, c) {
			t.stopSending(o)
		}
	}
	t.publish()
}

// passOn has the successor of a pair that ends send at once: the peer has it, or the
// traffic has nothing else.
func (t *Tunnel) passOn(c *childSA) {
	if s := t.childByIn(c.successor); s != nil && !s.sendAt.IsZero() {
		t.takeTraffic(s)
	}
}

// completePair makes a pair the one for its traffic, in the place of others.
func (t *Tunnel) completePair(c *childSA) {
	if c.state != childPending {
		return
	}
	c.state = childUp
	t.env.Stats.ChildrenCreated++
	t.log.Info("child sa installed", "child", c.conf.Name, "in", c.in.String(), "out", c.out.String(),
		"algorithms", c.algorithms.String(), "selectors", selectorNames(c.selectors))
	t.supersede(c)
	t.publish()
}

// supersede retires the pairs whose traffic c carries now. IKEv1 does not say what
// a quick mode replaces; equal selectors do.
//
// Where both ends rekey at once there are two new pairs, and what came last may be
// one for one end and the other for the other. That can only be where the
// initiator of a quick mode has its pair, and then completes one that the peer had
// begun before. Such pairs are rivals: both ends keep the one with the higher SPI,
// or each would delete what the other one keeps.
func (t *Tunnel) supersede(c *childSA) {
	for _, o := range slices.Clone(t.children) {
		if o == c || o.state != childUp || o.conf != c.conf || !sameSelectors(o.selectors, c.selectors) {
			continue
		}
		if o.initiator && !c.initiator && o.made > c.began {
			t.env.Stats.Collisions++
			if max(o.in, o.out) > max(c.in, c.out) {
				t.replace(c, o, t.patience())
				return
			}
			t.replace(o, c, t.patience())
			continue
		}
		if c.initiator {
			t.replace(o, c, lingerTime)
		} else {
			t.replace(o, c, t.patience())
		}
	}
}

// patience is how long an end that did not make the successor of a pair, or has made
// one of two rivals, waits for the peer's Delete. It is not the same for both ends:
// should messages have come in such an order that each takes another pair for the
// last one, then the first to delete its old one makes the other end go back to it.
func (t *Tunnel) patience() time.Duration {
	if t.initiator {
		return replacedTime
	}
	return 2 * replacedTime
}

// replace lets next send in the place of old, which is deleted after a while: what
// the peer sent on it before it knew of next still comes.
func (t *Tunnel) replace(old, next *childSA, wait time.Duration) {
	t.env.Stats.ChildRekeys++
	old.state, old.successor = childReplaced, next.in
	old.softAt, old.sendAt, old.removeAt = time.Time{}, time.Time{}, t.now.Add(wait)
	t.log.Info("child sa replaced", "child", old.conf.Name, "in", old.in.String(), "successor", next.in.String())
	t.publish()
}

func (t *Tunnel) stopSending(c *childSA) {
	if c.sending {
		c.sending = false
		t.out.Remove = append(t.out.Remove, c.outID)
	}
}

// deleteChild ends a pair from our side, and tells the peer.
func (t *Tunnel) deleteChild(c *childSA) {
	if t.sa.alive() {
		t.inform(t.sa, &wire.Delete{Protocol: wire.ProtocolESP, SPIs: [][]byte{wire.SPIBytes(c.in)}})
	}
	t.remove(c)
}

// peerDeleted ends a pair that the peer has deleted. One with a successor goes on
// decrypting for a while.
func (t *Tunnel) peerDeleted(c *childSA) {
	if t.childByIn(c.successor) == nil {
		t.remove(c)
		return
	}
	t.env.Stats.ChildrenDeleted++
	t.stopSending(c)
	t.passOn(c)
	t.handOn(c)
	c.state = childGone
	c.removeAt = t.now.Add(lingerTime)
	t.publish()
}

// remove takes a pair out of the dataplane at once.
func (t *Tunnel) remove(c *childSA) {
	i := slices.Index(t.children, c)
	if i < 0 {
		return
	}
	t.children = append(t.children[:i:i], t.children[i+1:]...)
	t.out.Remove = append(t.out.Remove, c.inID)
	t.stopSending(c)
	t.passOn(c)
	if c.state == childUp || c.state == childReplaced {
		t.env.Stats.ChildrenDeleted++
		t.log.Info("child sa deleted", "child", c.conf.Name, "in", c.in.String(), "out", c.out.String())
	}
	t.reinstate(c)
	t.publish()
}

// reinstate finds others for what c, which is gone, has replaced. They are its own
// successor's then, where it has one. Else the newest of them sends again.
func (t *Tunnel) reinstate(c *childSA) {
	if t.handOn(c) {
		return
	}
	var last *childSA
	for _, o := range t.replacedBy(c) {
		if last == nil || o.made > last.made {
			last = o
		}
	}
	if last == nil || t.state != ike.StateUp {
		return
	}
	for _, o := range t.replacedBy(c) {
		o.successor = last.in
	}
	last.state, last.successor, last.removeAt = childUp, 0, time.Time{}
	last.softAt = after(last.born, last.life.Soft.Time)
	if last.sending {
		return
	}
	last.sending = true
	if i := slices.Index(t.out.Remove, last.outID); i >= 0 {
		t.out.Remove = slices.Delete(t.out.Remove, i, i+1) // it is there still
		return
	}
	t.generation++
	last.generation = t.generation
	t.out.Install = append(t.out.Install, t.describe(t.now, last, ipsec.Outbound))
}

// handOn gives what c has replaced to its successor, and tells whether there is one.
func (t *Tunnel) handOn(c *childSA) bool {
	next := t.childByIn(c.successor)
	if next == nil {
		return false
	}
	for _, o := range t.replacedBy(c) {
		o.successor = next.in
	}
	return true
}

// replacedBy are the pairs that c has replaced.
func (t *Tunnel) replacedBy(c *childSA) (out []*childSA) {
	for _, o := range t.children {
		if o.state == childReplaced && o.successor == c.in {
			out = append(out, o)
		}
	}
	return out
}

func (t *Tunnel) removeAll() {
	for _, c := range t.children {
		t.out.Remove = append(t.out.Remove, c.inID)
		t.stopSending(c)
		if c.state == childUp || c.state == childReplaced {
			t.env.Stats.ChildrenDeleted++
		}
	}
	t.children = nil
}

// childByIn finds a live pair by our inbound SPI, nil when there is none.
func (t *Tunnel) childByIn(spi ipsec.SPI) *childSA {
	return t.childWith(func(c *childSA) bool { return c.in == spi })
}

// childByOut finds a live pair by the peer's inbound SPI.
func (t *Tunnel) childByOut(spi ipsec.SPI) *childSA {
	return t.childWith(func(c *childSA) bool { return c.out == spi })
}

// childByID finds a live pair by either of its SAs.
func (t *Tunnel) childByID(id ipsec.SAID) *childSA {
	return t.childWith(func(c *childSA) bool { return c.inID == id || c.outID == id })
}

func (t *Tunnel) childWith(match func(*childSA) bool) *childSA {
	for _, c := range t.children {
		if c.state != childGone && match(c) {
			return c
		}
	}
	return nil
}

// childSPI draws an inbound SPI that is free.
func (t *Tunnel) childSPI() (ipsec.SPI, error) {
	for range maxSPIDraws {
		spi := ipsec.NewSPI(t.env.Member, uint32(random64(t.env)))
		taken := slices.ContainsFunc(t.children, func(c *childSA) bool { return c.in == spi })
		if !taken && (t.env.AcceptChildSPI == nil || t.env.AcceptChildSPI(spi)) {
			return spi, nil
		}
	}
	return 0, fmt.Errorf("ike/v1: no free SPI in %d draws", maxSPIDraws)
}

// onExpired handles a limit of bytes or packets.
func (t *Tunnel) onExpired(in ike.Expired) {
	c := t.childByID(in.ID)
	switch {
	case c == nil || t.state != ike.StateUp:
	case in.Hard:
		t.expireChild(c)
	case c.state == childUp:
		t.enqueue(task{kind: taskRekeyChild, spi: c.in})
	}
}

// expireChild deletes a pair that reached its hard lifetime.
func (t *Tunnel) expireChild(c *childSA) {
	t.log.Warn("child sa reached its hard lifetime", "child", c.conf.Name, "in", c.in.String(), "age", t.now.Sub(c.born))
	t.deleteChild(c)
}

// closeByID deletes the pair that an operator or the engine names.
func (t *Tunnel) closeByID(id ipsec.SAID) {
	if c := t.childByID(id); c != nil && t.state == ike.StateUp {
		t.deleteChild(c)
	}
}

// rekeyByID asks for a rekey of the pair that an operator or the engine names.
func (t *Tunnel) rekeyByID(id ipsec.SAID) {
	if c := t.childByID(id); c != nil && c.state == childUp {
		t.enqueue(task{kind: taskRekeyChild, spi: c.in})
	}
}

func (t *Tunnel) onRefused(in ike.Refused) {
	t.env.Stats.Refused++
	t.env.Stats.Failures[ike.FailDataplane]++
	t.log.Warn("dataplane refused an sa", "sa", in.ID.String(), "error", in.Err)
	// Of the Ready before, Install was the first that was not carried out, and
	// what follows it still has to be.
	last := t.last
	t.out.Remove = append(last.Remove, t.out.Remove...)
	t.out.Publish = t.out.Publish || last.Publish
	if t.out.Move == nil {
		t.out.Move = last.Move
	}
	c, r := t.childByID(in.ID), t.refusal
	t.refusal = nil
	if c == nil {
		t.out.Send = append(last.Send, t.out.Send...)
		return
	}
	if r == nil || r.child != c {
		t.out.Send = append(last.Send, t.out.Send...)
		t.deleteChild(c)
		return
	}
	// Instead of the message that announces the pair: the responder of a quick
	// mode refuses it, and whoever would confirm it deletes it.
	t.dropExchanges(func(x *exchange) bool { return x == r.x })
	if r.x.initiator || r.x.step > 2 {
		t.deleteChild(c)
		return
	}
	t.remove(c)
	t.refuseQuick(r.x, wire.NoProposalChosen, c.out)
}

// refusal is what a step would take back if the dataplane refused an SA of it.
type refusal struct {
	x     *exchange
	child *childSA
}

// pairsOf are the pairs of selectors that a child stands for: a quick mode has one
// on each side. An address that mode config has assigned to us takes the place of
// our side.
func (t *Tunnel) pairsOf(conf *ike.Child) []ipsec.Selectors {
	local, remote := conf.Selectors.Local, conf.Selectors.Remote
	if t.internal.IsValid() && t.conn.V1.Config.Role == ike.ModeConfigClient {
		local = []ipsec.TrafficSelector{hostSelector(t.internal)}
	}
	if conf.Mode == ipsec.Transport {
		local, remote = narrow(local, t.local.Addr()), narrow(remote, t.remote.Addr())
	}
	var out []ipsec.Selectors
	for _, l := range local {
		for _, r := range remote {
			if l.Is6() == r.Is6() {
				out = append(out, ipsec.Selectors{Local: []ipsec.TrafficSelector{l}, Remote: []ipsec.TrafficSelector{r}})
			}
		}
	}
	return out
}

// narrow is what selectors have of one address.
func narrow(list []ipsec.TrafficSelector, a netip.Addr) []ipsec.TrafficSelector {
	var out []ipsec.TrafficSelector
	for _, s := range list {
		if n, ok := s.Intersect(hostSelector(a)); ok {
			out = append(out, n)
		}
	}
	return out
}

func hostSelector(a netip.Addr) ipsec.TrafficSelector {
	a = a.Unmap()
	return ipsec.SelectorOf(netip.PrefixFrom(a, a.BitLen()))
}

func sameSelectors(a, b ipsec.Selectors) bool {
	return slices.Equal(a.Local, b.Local) && slices.Equal(a.Remote, b.Remote)
}

func selectorNames(s ipsec.Selectors) string {
	return fmt.Sprintf("local %s remote %s", selectorList(s.Local), selectorList(s.Remote))
}

func selectorList(list []ipsec.TrafficSelector) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = s.String()
	}
	return strings.Join(out, ",")
}

func childSelectors(confs []*ike.Child) string {
	out := make([]string, len(confs))
	for i, c := range confs {
		out[i] = c.Name + ": " + selectorNames(c.Selectors)
	}
	return strings.Join(out, ", or ")
}
