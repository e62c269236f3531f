package v1

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/internal/state"
	ikepb "github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/v1/internal/statepb"
)

// The versions of the snapshot format: what we write, and the oldest that can go
// on with it.
const (
	stateVersion = 1
	stateNeeds   = 1
)

// Snapshot is the full state of the tunnel, keys included: the caller protects
// it. Its times count from now. Restore reads it, on this member or another. A
// tunnel that Route has made and that has seen no Step has nothing to snapshot
// yet.
func (t *Tunnel) Snapshot(now time.Time) []byte {
	w := writer{state.Writer{Now: now}}
	m := &statepb.Tunnel{
		Version: stateVersion, Needs: stateNeeds,
		Id: uint64(t.id), Connection: t.conn.Name, Initiator: t.initiator, State: uint32(t.state), Takeovers: t.takeovers,
		Local: state.Endpoint(t.local), Remote: state.Endpoint(t.remote),
		LocalId: identityState(t.localID), RemoteId: identityState(t.remoteID), User: []byte(t.user), Internal: t.internal.AsSlice(),
		Nat:   &ikepb.NAT{Local: t.nat.local, Remote: t.nat.remote, Encap: t.nat.encap},
		Peer:  &statepb.Features{Dpd: t.peer.dpd, Natt: t.peer.natt, Fragmentation: t.peer.fragmentation, Xauth: t.peer.xauth},
		Setup: w.setup(t.setup), Sa: w.sa(t.sa),
		Probes: t.probes, RekeyTries: uint32(t.rekeyTries), Fragment: uint32(t.fragment), Generation: t.generation,
		LastIn: w.Time(t.lastIn), LastOut: w.Time(t.lastOut), EspIn: w.Time(t.espIn), EspOut: w.Time(t.espOut),
		Parts: partsState(t.parts), Taken: w.Time(t.takenAt), ProbeAt: w.Time(t.probeAt),
	}
	for _, sa := range t.others {
		m.Others = append(m.Others, w.sa(sa))
	}
	for _, x := range t.exchanges {
		m.Exchanges = append(m.Exchanges, w.exchange(x))
	}
	for _, c := range t.children {
		m.Children = append(m.Children, w.child(c))
	}
	for _, k := range t.tasks {
		m.Tasks = append(m.Tasks, w.task(k))
	}
	if p := t.probe; p != nil {
		m.Probe = &statepb.Probe{Sequence: p.sequence, Tries: uint32(p.tries), Next: w.Time(p.nextAt)}
	}
	m.ProtoReflect().SetUnknown(t.unknown)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		// Only a string that is no UTF-8 can do that, and names come from the
		// configuration, which has none.
		t.log.Error("snapshot could not be encoded", "error", err)
	}
	return b
}

// writer turns state into messages; times count from its Now.
type writer struct{ state.Writer }

func (w writer) setup(s *setup) *statepb.Setup {
	if s == nil {
		return nil
	}
	m := &statepb.Setup{
		Started: w.Time(s.started), Deadline: w.Time(s.deadline), Child: s.child,
		InitialContact: s.initialContact, Contact: s.contact, Reported: s.reported,
	}
	if s.want != nil {
		m.Want = state.Selectors(*s.want)
	}
	if s.refused != nil {
		m.Refused = proto.String(s.refused.Error())
	}
	return m
}

func (w writer) sa(sa *isakmpSA) *statepb.SA {
	m := &statepb.SA{
		CookieI: uint64(sa.cookieI), CookieR: uint64(sa.cookieR), Initiator: sa.initiator, Stage: uint32(sa.stage),
		Suite:     state.Suite(sa.suite),
		LastBlock: sa.lastBlock, Phase1: phase1State(sa.phase1), Asked: sa.asked, AskedIn: sa.askedIn, Proven: sa.proven, Heard: w.Time(sa.heard), Life: int64(sa.life),
		Began: w.Time(sa.began), Born: w.Time(sa.born), Soft: w.Time(sa.softAt), Hard: w.Time(sa.hardAt), GiveUp: w.Time(sa.giveUpAt),
		Used: sa.used,
	}
	if sa.main != nil {
		m.Main = w.exchange(sa.main)
	}
	if sa.keys != nil {
		m.D, m.A, m.E = sa.keys.D.Reveal(), sa.keys.A.Reveal(), sa.keys.E.Reveal()
	}
	m.ProtoReflect().SetUnknown(sa.unknown)
	return m
}

func phase1State(p *phase1) *statepb.Phase1 {
	if p == nil {
		return nil
	}
	m := &statepb.Phase1{
		Method: uint32(p.method), Sa: p.sa, Ni: p.ni, Nr: p.nr,
		PublicI: p.publicI, PublicR: p.publicR, Shared: p.shared.Reveal(), IdI: p.idI, IdR: p.idR,
	}
	for _, c := range p.conns {
		m.Connections = append(m.Connections, c.Name)
	}
	if p.ke != nil {
		m.KeGroup, m.KePrivate = uint32(p.ke.Group()), p.ke.Private().Reveal()
	}
	return m
}

func (w writer) exchange(x *exchange) *statepb.Exchange {
	m := &statepb.Exchange{
		Kind: uint32(x.kind), Sa: uint64(x.sa.local()), Id: x.id, Initiator: x.initiator, Flags: uint32(x.flags),
		Step: uint32(x.step), Iv: x.iv, Heard: x.heard[:], Sent: x.sent,
		Waiting: x.waiting, Next: w.Time(x.nextAt), Tries: uint32(x.tries), Forget: w.Time(x.forgetAt), Task: w.task(x.task),
		Inherited: x.inherited,
	}
	if q := x.quick; q != nil {
		m.Quick = &statepb.Quick{
			Child: q.conf.Name, Began: q.began, Spi: uint32(q.spi), Ni: q.ni, Nr: q.nr,
			Group: uint32(q.group), Selectors: state.Selectors(q.selectors),
		}
		if q.ke != nil {
			m.Quick.KePrivate = q.ke.Private().Reveal()
		}
	}
	if tr := x.transaction; tr != nil {
		m.Transaction = &statepb.Transaction{Purpose: uint32(tr.purpose), User: []byte(tr.user)}
	}
	m.ProtoReflect().SetUnknown(x.unknown)
	return m
}

func (w writer) task(k task) *statepb.Task {
	return &statepb.Task{
		Kind: uint32(k.kind), Child: k.child, Selectors: state.Selectors(k.selectors), Spi: uint32(k.spi),
		Tries: uint32(k.tries), NotBefore: w.Time(k.notBefore),
	}
}

func partsState(p *parts) *statepb.Parts {
	if p == nil {
		return nil
	}
	m := &statepb.Parts{Id: uint32(p.id), Last: uint32(p.last)}
	for i, b := range p.bodies {
		if b != nil {
			m.Parts = append(m.Parts, &ikepb.Part{Number: uint32(i + 1), Body: b})
		}
	}
	return m
}

func (w writer) child(c *childSA) *statepb.Child {
	m := &statepb.Child{
		Name: c.conf.Name, In: uint32(c.in), Out: uint32(c.out), Local: c.inID.Dst.AsSlice(), Remote: c.outID.Dst.AsSlice(), RemotePort: uint32(c.outID.Port),
		State: uint32(c.state), Initiator: c.initiator,
		Encryption: uint32(c.algorithms.Encryption), KeyBits: uint32(c.algorithms.KeyBits),
		Integrity: uint32(c.algorithms.Integrity), Esn: c.algorithms.ESN,
		Group: uint32(c.group), Transport: c.mode == ipsec.Transport,
		InEncryption: c.inKeys.Encryption.Reveal(), InIntegrity: c.inKeys.Integrity.Reveal(),
		OutEncryption: c.outKeys.Encryption.Reveal(), OutIntegrity: c.outKeys.Integrity.Reveal(),
		Selectors: state.Selectors(c.selectors), SoftLimits: state.Limits(c.life.Soft), HardLimits: state.Limits(c.life.Hard),
		Generation: c.generation, Sending: c.sending, Worn: c.worn, Successor: uint32(c.successor),
		Began: c.began, Made: c.made, Born: w.Time(c.born), Soft: w.Time(c.softAt), Hard: w.Time(c.hardAt), Remove: w.Time(c.removeAt), Send: w.Time(c.sendAt),
	}
	m.ProtoReflect().SetUnknown(c.unknown)
	return m
}

func identityState(id ike.Identity) *ikepb.Identity {
	return &ikepb.Identity{Type: uint32(id.Type), Data: []byte(id.Data)}
}
