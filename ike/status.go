package ike

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// Status is a tunnel as an operator sees it.
type Status struct {
	ID         ipsec.TunnelID
	Connection string
	State      State
	Initiator  bool // of the tunnel's first IKE SA
	Standby    bool

	Local, Remote     netip.AddrPort
	LocalID, RemoteID Identity
	// SPIi and SPIr are those of the current IKE SA.
	SPIi, SPIr ipsec.IKESPI
	Suite      suite.Suite

	// NATLocal and NATRemote tell who is behind a NAT, Encap whether ESP travels
	// in UDP.
	NATLocal, NATRemote, Encap bool
	Fragmentation              bool
	// Internal is what mode config has assigned to the peer, or to us; IKEv1 only.
	Internal netip.Addr

	// Age is of the current IKE SA. Until Soft it is not rekeyed, at Hard it
	// ends; both are from now, zero for never.
	Age, Soft, Hard time.Duration
	// NextRequest and NextExpected are message IDs (RFC 7296 section 2.2).
	NextRequest, NextExpected uint32
	// Doing is the exchange under way, empty for none; Retransmissions are those
	// of its request. Queued exchanges wait for it.
	Doing           string
	Retransmissions int
	Queued          int
	// Generations is how many IKE SAs the tunnel has at the moment.
	Generations int

	DPD      DPDStatus
	Children []ChildStatus
}

// DPDStatus is how dead peer detection stands.
type DPDStatus struct {
	Mode DPDMode
	// Unanswered counts the probes that have no answer yet, Sequence is the
	// message ID of the last request.
	Unanswered int
	Sequence   uint32
	// Heard is the time since the peer was last heard.
	Heard time.Duration
}

// ChildStatus is one pair of Child SAs as an operator sees it.
type ChildStatus struct {
	Name       string
	In, Out    ipsec.SAID
	State      string // "up", "rekeying", "replaced", "deleting" or "lingering"
	Sending    bool   // the outbound SA is in use
	Mode       ipsec.Mode
	Algorithms ipsec.Algorithms
	Group      ipsec.GroupID // of perfect forward secrecy
	Selectors  ipsec.Selectors
	Generation uint64

	Age, Soft, Hard time.Duration // as in Status
	Lifetime        ipsec.Lifetime
}

// Status describes the tunnel as of now.
func (t *Tunnel) Status(now time.Time) Status {
	sa := t.sa
	s := Status{
		ID: t.id, Connection: t.conn.Name, State: t.state, Initiator: t.initiator, Standby: t.standby,
		Local: t.local, Remote: t.remote, LocalID: t.localID, RemoteID: t.remoteID,
		SPIi: sa.spiI, SPIr: sa.spiR, Suite: sa.suite,
		NATLocal: t.nat.local, NATRemote: t.nat.remote, Encap: t.nat.encap, Fragmentation: t.fragments,
		Soft: until(now, sa.softAt), Hard: until(now, sa.hardAt),
		NextRequest: sa.sendID, NextExpected: sa.recvID,
		Queued: len(t.tasks), Generations: 1 + len(t.others),
		DPD: DPDStatus{Mode: t.conn.DPD.Mode},
	}
	if !sa.born.IsZero() {
		s.Age = now.Sub(sa.born)
	}
	if heard := later(t.lastIn, t.espIn); !heard.IsZero() {
		s.DPD.Heard = now.Sub(heard)
	}
	if sa.sendID > 0 {
		s.DPD.Sequence = sa.sendID - 1
	}
	if r := sa.pending; r != nil {
		s.Doing, s.Retransmissions = r.task.kind.String(), r.tries
		if r.task.kind == taskProbe {
			s.DPD.Unanswered = r.tries + 1
		}
	}
	if r := sa.resync; r != nil {
		s.Doing, s.Retransmissions = "message id sync", r.tries-1
	}
	for _, c := range t.children {
		s.Children = append(s.Children, t.childStatus(now, c))
	}
	return s
}

func (t *Tunnel) childStatus(now time.Time, c *childSA) ChildStatus {
	return ChildStatus{
		Name: c.conf.Name, In: c.inID, Out: c.outID, State: t.childState(c), Sending: c.sending,
		Mode: c.mode, Algorithms: c.algorithms, Group: c.group, Selectors: c.selectors, Generation: c.generation,
		Age: now.Sub(c.born), Soft: until(now, c.softAt), Hard: until(now, c.hardAt), Lifetime: c.life,
	}
}

func (t *Tunnel) childState(c *childSA) string {
	switch c.state {
	case childReplaced:
		return "replaced"
	case childDeleting:
		return "deleting"
	case childGone:
		return "lingering"
	case childUp:
	}
	if r := t.sa.pending; r != nil && r.task.kind == taskRekeyChild && r.task.spi == c.in {
		return "rekeying"
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

// String is what an operator calls the exchange.
func (k taskKind) String() string {
	switch k {
	case taskInit:
		return "ike_sa_init"
	case taskAuth:
		return "ike_auth"
	case taskCreate:
		return "create child"
	case taskRekeyChild:
		return "rekey child"
	case taskRekeyIKE:
		return "rekey ike"
	case taskDeleteChild:
		return "delete child"
	case taskDeleteIKE:
		return "delete ike"
	case taskProbe:
		return "probe"
	default:
		return "none"
	}
}
