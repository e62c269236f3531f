package v1

import (
	"time"

	"github.com/evergate/evergate/ike"
)

// Status describes the tunnel as of now, in the words of IKEv2's: SPIi and SPIr
// are the cookies, and there are no message IDs to tell.
func (t *Tunnel) Status(now time.Time) ike.Status {
	sa := t.sa
	s := ike.Status{
		ID: t.id, Connection: t.conn.Name, State: t.state, Initiator: t.initiator, Standby: t.standby,
		Local: t.local, Remote: t.remote, LocalID: t.localID, RemoteID: t.remoteID,
		SPIi: sa.cookieI, SPIr: sa.cookieR, Suite: sa.suite,
		NATLocal: t.nat.local, NATRemote: t.nat.remote, Encap: t.nat.encap,
		Internal:      t.internal,
		Fragmentation: t.peer.fragmentation && !t.conn.NoFragmentation,
		Soft:          until(now, sa.softAt), Hard: until(now, sa.hardAt),
		Queued: len(t.tasks), Generations: 1 + len(t.others),
		DPD: ike.DPDStatus{Mode: t.conn.DPD.Mode, Sequence: t.probes},
	}
	if t.user != "" {
		s.RemoteID = t.principal()
	}
	if !sa.born.IsZero() {
		s.Age = now.Sub(sa.born)
	}
	if heard := later(t.lastIn, t.espIn); !heard.IsZero() {
		s.DPD.Heard = now.Sub(heard)
	}
	if t.probe != nil {
		s.DPD.Unanswered = t.probe.tries + 1
	}
	for _, x := range t.exchanges {
		if x.forgetAt.IsZero() {
			s.Doing, s.Retransmissions = x.kind.String(), x.tries
		}
	}
	if sa.phase1 != nil && sa.main != nil {
		s.Doing, s.Retransmissions = sa.main.kind.String(), sa.main.tries
	}
	for _, c := range t.children {
		s.Children = append(s.Children, ike.ChildStatus{
			Name: c.conf.Name, In: c.inID, Out: c.outID, State: t.childState(c), Sending: c.sending,
			Mode: c.mode, Algorithms: c.algorithms, Group: c.group, Selectors: c.selectors, Generation: c.generation,
			Age: now.Sub(c.born), Soft: until(now, c.softAt), Hard: until(now, c.hardAt), Lifetime: c.life,
		})
	}
	return s
}

func (t *Tunnel) childState(c *childSA) string {
	switch c.state {
	case childPending:
		return "pending"
	case childReplaced:
		return "replaced"
	case childGone:
		return "lingering"
	case childUp:
	}
	for _, x := range t.exchanges {
		if x.forgetAt.IsZero() && x.task.kind == taskRekeyChild && x.task.spi == c.in {
			return "rekeying"
		}
	}
	return "up"
}

// until is the time from now to at, at least zero; zero for never.
func until(now, at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(0, at.Sub(now))
}
