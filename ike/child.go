package ike

import (
	"fmt"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// childState is how far a pair of Child SAs is.
type childState uint8

const (
	childUp       childState = iota
	childReplaced            // rekeyed by the peer, which will delete it
	childDeleting            // our Delete is under way, or waits for its turn
	childGone                // deleted; its inbound SA still decrypts what was overtaken
)

// childSA is a pair of Child SAs.
type childSA struct {
	conf      *Child
	in, out   ipsec.SPI // we chose in, the peer chose out
	inID      ipsec.SAID
	outID     ipsec.SAID
	state     childState
	initiator bool // of the exchange that made it

	algorithms ipsec.Algorithms
	group      ipsec.GroupID // of its perfect forward secrecy
	mode       ipsec.Mode
	inKeys     suite.DirectionKeys
	outKeys    suite.DirectionKeys
	selectors  ipsec.Selectors
	life       ipsec.Lifetime // with jitter; Age is unused
	generation uint64

	// sending: the outbound SA is in the dataplane. Of a pair that replaces
	// another by the peer's rekey, it follows when the old one is deleted: the
	// Delete is the proof that the peer has the new inbound SA (RFC 7296 section
	// 2.8).
	sending bool
	// worn: the last owner may have made the same pair from the same answer, and
	// sent on it as much as it liked. It only bridges the time to a successor.
	worn bool
	// successor is the inbound SPI of the pair that takes over.
	successor ipsec.SPI

	born     time.Time
	softAt   time.Time
	hardAt   time.Time
	removeAt time.Time // of childGone

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

// installPair puts both SAs of a pair into the dataplane.
func (t *Tunnel) installPair(c *childSA) {
	t.installInbound(c)
	t.startSending(c)
}

func (t *Tunnel) installInbound(c *childSA) {
	t.generation++
	c.generation = t.generation
	t.children = append(t.children, c)
	t.out.Install = slices.Grow(t.out.Install, 2) // the other direction follows
	t.out.Install = append(t.out.Install, t.describe(t.now, c, ipsec.Inbound))
	t.env.Stats.ChildrenCreated++
	t.info("child sa installed", "child", c.conf.Name, "in", text(c.in.String), "out", text(c.out.String),
		"algorithms", text(c.algorithms.String), "selectors", text(func() string { return selectorNames(c.selectors) }))
	t.publish()
}

func (t *Tunnel) startSending(c *childSA) {
	if c.sending || c.state == childGone {
		return
	}
	c.sending = true
	t.out.Install = append(t.out.Install, t.describe(t.now, c, ipsec.Outbound))
	t.publish()
}

// retire ends a pair. One with a successor goes on decrypting for a while.
func (t *Tunnel) retire(c *childSA) {
	if c.state == childGone {
		return
	}
	next := t.childByIn(c.successor)
	if next == nil {
		t.remove(c)
		return
	}
	t.env.Stats.ChildrenDeleted++
	t.log().Info("child sa replaced", "child", c.conf.Name, "in", c.in.String(), "successor", next.in.String())
	t.startSending(next)
	c.state = childGone
	c.removeAt = t.now.Add(lingerTime)
	if c.sending {
		c.sending = false
		t.out.Remove = append(t.out.Remove, c.outID)
	}
	t.publish()
}

// remove takes a pair out of the dataplane at once.
func (t *Tunnel) remove(c *childSA) {
	for i, o := range t.children {
		if o != c {
			continue
		}
		t.children = append(t.children[:i:i], t.children[i+1:]...)
		t.out.Remove = append(t.out.Remove, c.inID)
		if c.sending {
			t.out.Remove = append(t.out.Remove, c.outID)
		}
		if c.state != childGone {
			t.env.Stats.ChildrenDeleted++
			t.log().Info("child sa deleted", "child", c.conf.Name, "in", c.in.String(), "out", c.out.String())
		}
		t.reinstate(c)
		t.publish()
		return
	}
}

// reinstate lets the pair live on that c was to replace and did not.
func (t *Tunnel) reinstate(c *childSA) {
	for _, o := range t.children {
		if o.successor == c.in && o.state != childGone {
			o.successor = 0
			if o.state == childReplaced {
				o.state = childUp
			}
		}
	}
}

func (t *Tunnel) removeAll() {
	for len(t.children) > 0 {
		t.remove(t.children[0])
	}
}

// childByIn finds a live pair by our inbound SPI, nil when there is none.
func (t *Tunnel) childByIn(spi ipsec.SPI) *childSA {
	for _, c := range t.children {
		if c.in == spi && c.state != childGone {
			return c
		}
	}
	return nil
}

// childByOut finds a live pair by the peer's inbound SPI.
func (t *Tunnel) childByOut(spi ipsec.SPI) *childSA {
	for _, c := range t.children {
		if c.out == spi && c.state != childGone {
			return c
		}
	}
	return nil
}

// childByID finds a live pair by either of its SAs.
func (t *Tunnel) childByID(id ipsec.SAID) *childSA {
	for _, c := range t.children {
		if (c.inID == id || c.outID == id) && c.state != childGone {
			return c
		}
	}
	return nil
}

// live counts the pairs that are not gone.
func (t *Tunnel) live() int {
	n := 0
	for _, c := range t.children {
		if c.state != childGone {
			n++
		}
	}
	return n
}

// childSPI draws an inbound SPI that is free.
func (t *Tunnel) childSPI() (ipsec.SPI, error) {
	for range maxSPIDraws {
		spi := ipsec.NewSPI(t.env.Member, uint32(t.env.random64()))
		if t.spiTaken(spi) || t.env.AcceptChildSPI != nil && !t.env.AcceptChildSPI(spi) {
			continue
		}
		return spi, nil
	}
	return 0, fmt.Errorf("ike: no free SPI in %d draws", maxSPIDraws)
}

func (t *Tunnel) spiTaken(spi ipsec.SPI) bool {
	for _, c := range t.children {
		if c.in == spi {
			return true
		}
	}
	return false
}

// onExpired handles a limit of bytes or packets.
func (t *Tunnel) onExpired(in Expired) {
	c := t.childByID(in.ID)
	switch {
	case c == nil || t.state != StateUp:
	case in.Hard:
		t.expireChild(c)
	case c.state == childUp:
		t.enqueue(task{kind: taskRekeyChild, spi: c.in})
	}
}

// expireChild deletes a pair that reached its hard lifetime. When the peer has
// replaced it without deleting it, the successor takes over now.
func (t *Tunnel) expireChild(c *childSA) {
	t.log().Warn("child sa reached its hard lifetime", "child", c.conf.Name, "in", c.in.String(), "age", t.now.Sub(c.born))
	if next := t.childByIn(c.successor); next != nil {
		t.startSending(next)
	}
	t.closeChild(c)
}

// closeByID deletes the pair that an operator or the engine names.
func (t *Tunnel) closeByID(id ipsec.SAID) {
	if c := t.childByID(id); c != nil && t.state == StateUp {
		t.closeChild(c)
	}
}

func (t *Tunnel) closeChild(c *childSA) {
	if c.state == childDeleting {
		return
	}
	c.state = childDeleting
	t.cancel(func(k task) bool { return k.kind == taskRekeyChild && k.spi == c.in })
	t.enqueue(task{kind: taskDeleteChild, spi: c.in})
	t.publish()
}

// rekeyByID asks for a rekey of the pair that an operator or the engine names.
func (t *Tunnel) rekeyByID(id ipsec.SAID) {
	if c := t.childByID(id); c != nil && c.state == childUp {
		t.enqueue(task{kind: taskRekeyChild, spi: c.in})
	}
}

// createNamed asks for a child on a tunnel that is up.
func (t *Tunnel) createNamed(in Initiate) {
	conf := childNamed(t.conn, in.Child)
	if conf == nil {
		t.log().Warn("no child to initiate", "child", in.Child)
		return
	}
	if in.For == nil && t.hasChild(conf) {
		return
	}
	t.enqueue(task{kind: taskCreate, child: conf.Name, want: in.For})
}

func (t *Tunnel) hasChild(conf *Child) bool {
	for _, c := range t.children {
		if c.conf.Name == conf.Name && c.state == childUp {
			return true
		}
	}
	return false
}

// childRefused logs that the peer refused a child; the IKE SA goes on.
func (t *Tunnel) childRefused(name string, n *wire.Notify) {
	t.env.Stats.Failures[failureOf(n.Type)]++
	t.log().Warn("peer refused the child sa", "child", name, "notify", n.Type.String(), "check", adviceFor(n.Type))
}

// adviceFor tells an operator what to look at.
func adviceFor(n wire.NotifyType) string {
	switch n {
	case wire.NoProposalChosen:
		return "phase 2 proposal and pfs group against the peer's"
	case wire.TSUnacceptable, wire.SinglePairRequired:
		return "src-subnet and dst-subnet against the peer's"
	case wire.FailedCPRequired, wire.InternalAddressFailure:
		return "the peer's address assignment: we ask for no internal address"
	case wire.NoAdditionalSAs:
		return "how many children the peer allows"
	default:
		return "the peer's log"
	}
}
