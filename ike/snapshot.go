package ike

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/internal/state"
	"github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/suite"
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
		LocalId: identity(t.localID), RemoteId: identity(t.remoteID),
		Nat:       &statepb.NAT{Supported: t.nat.supported, Local: t.nat.local, Remote: t.nat.remote, Encap: t.nat.encap},
		Fragments: t.fragments, Packet: uint32(t.packet), Setup: w.setup(t.setup), Sa: w.ikeSA(t.sa),
		Generation: t.generation,
		LastIn:     w.Time(t.lastIn), LastOut: w.Time(t.lastOut), EspIn: w.Time(t.espIn), EspOut: w.Time(t.espOut),
		Taken: w.Time(t.takenAt), Probe: w.Time(t.probeAt),
		SyncIds: t.support.ids, SyncCounters: t.support.counters, Resync: w.Time(t.resyncAt), Resynced: w.Time(t.resynced),
		Expired: t.why == ErrExpired, //nolint:errorlint // it is set to that value only
	}
	for _, sa := range t.others {
		m.Others = append(m.Others, w.ikeSA(sa))
	}
	for _, c := range t.children {
		m.Children = append(m.Children, w.child(c))
	}
	for _, k := range t.tasks {
		m.Tasks = append(m.Tasks, w.task(k))
	}
	m.ProtoReflect().SetUnknown(t.unknown)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		// Only a string that is no UTF-8 can do that, and names come from the
		// configuration, which has none.
		t.log().Error("snapshot could not be encoded", "error", err)
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
		Started: w.Time(s.started), Deadline: w.Time(s.deadline),
		Request: s.request, Response: s.response, Ni: s.ni, Nr: s.nr,
		Child: s.child, Group: uint32(s.group), Cookie: s.cookie, Tries: uint32(s.tries),
		Offer: offerState(s.offer), InitialContact: s.initialContact, Offered: proposals(s.offered),
	}
	if s.want != nil {
		m.Want = state.Selectors(*s.want)
	}
	for _, g := range s.tried {
		m.Tried = append(m.Tried, uint32(g))
	}
	if s.ke != nil {
		m.KePrivate = s.ke.Private().Reveal()
	}
	if s.refused != nil {
		m.Refused = proto.String(s.refused.Error())
	}
	return m
}

func (w writer) ikeSA(sa *ikeSA) *statepb.IKESA {
	m := &statepb.IKESA{
		SpiI: uint64(sa.spiI), SpiR: uint64(sa.spiR), Initiator: sa.initiator, Role: uint32(sa.role),
		Suite: state.Suite(sa.suite),
		Born:  w.Time(sa.born), Soft: w.Time(sa.softAt), Hard: w.Time(sa.hardAt), GiveUp: w.Time(sa.giveUpAt),
		Successor: uint64(sa.successor), SendId: sa.sendID, RecvId: sa.recvID, Pending: w.request(sa.pending), Answer: sa.answer,
		InParts: partsState(sa.inParts), ReParts: partsState(sa.reParts),
		Resync: w.resync(sa.resync), Claimed: sa.claimed, Synced: w.syncAnswer(sa.synced),
	}
	if sa.sealer != nil {
		iv := sa.sealer.IV()
		m.Iv = &statepb.IV{Member: uint32(iv.Member), Epoch: iv.Epoch, Counter: iv.Counter}
		m.Keys = keysState(sa.keys)
	}
	m.ProtoReflect().SetUnknown(sa.unknown)
	return m
}

func (w writer) resync(r *resync) *statepb.Resync {
	if r == nil {
		return nil
	}
	return &statepb.Resync{
		Nonce: r.ids.Nonce[:], Send: r.ids.Send, Recv: r.ids.Recv, Delta: r.delta, Next: w.Time(r.nextAt), Tries: uint32(r.tries), Since: w.Time(r.since),
	}
}

func (w writer) syncAnswer(a *syncAnswer) *statepb.SyncAnswer {
	if a == nil {
		return nil
	}
	return &statepb.SyncAnswer{
		Send: a.send, Request: a.request[:], Packets: a.packets, Count: uint32(a.count), Since: w.Time(a.since),
	}
}

func keysState(k suite.Keys) *statepb.Keys {
	return &statepb.Keys{
		D: k.D.Reveal(), Ai: k.Ai.Reveal(), Ar: k.Ar.Reveal(), Ei: k.Ei.Reveal(), Er: k.Er.Reveal(), Pi: k.Pi.Reveal(), Pr: k.Pr.Reveal(),
	}
}

func (w writer) request(r *request) *statepb.Request {
	if r == nil {
		return nil
	}
	return &statepb.Request{
		Id: r.id, Exchange: uint32(r.exchange), Task: w.task(r.task), Offer: offerState(r.offer), Packets: r.packets,
		Sent: w.Time(r.sentAt), Next: w.Time(r.nextAt), Tries: uint32(r.tries), Inherited: r.inherited,
	}
}

func (w writer) task(k task) *statepb.Task {
	m := &statepb.Task{
		Kind: uint32(k.kind), Child: k.child, Single: k.single, Spi: uint32(k.spi),
		Group: uint32(k.group), Tries: uint32(k.tries), NotBefore: w.Time(k.notBefore),
	}
	if k.want != nil {
		m.Want = state.Selectors(*k.want)
	}
	return m
}

func offerState(o offer) *statepb.Offer {
	m := &statepb.Offer{
		Nonce: o.nonce, Spi: uint32(o.spi), IkeSpi: uint64(o.ikeSPI),
		Proposals: proposals(o.proposals), Selectors: state.Selectors(o.selectors), Transport: o.transport,
	}
	if o.ke != nil {
		m.KeGroup, m.KePrivate = uint32(o.ke.Group()), o.ke.Private().Reveal()
	}
	if o.rival != nil {
		m.Rival = &statepb.Rival{Nonce: o.rival.nonce, Child: uint32(o.rival.child), Ike: uint64(o.rival.ike)}
	}
	for _, spi := range o.dead {
		m.Dead = append(m.Dead, uint32(spi))
	}
	return m
}

func partsState(p *parts) *statepb.Parts {
	if p == nil {
		return nil
	}
	m := &statepb.Parts{Total: uint32(p.total), First: uint32(p.first)}
	for i, b := range p.bodies {
		if b != nil {
			m.Parts = append(m.Parts, &statepb.Part{Number: uint32(i + 1), Body: b})
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
		Born: w.Time(c.born), Soft: w.Time(c.softAt), Hard: w.Time(c.hardAt), Remove: w.Time(c.removeAt),
	}
	m.ProtoReflect().SetUnknown(c.unknown)
	return m
}

func identity(id Identity) *statepb.Identity {
	return &statepb.Identity{Type: uint32(id.Type), Data: []byte(id.Data)}
}

func proposals(ps []ipsec.Proposal) []*statepb.Proposal {
	var out []*statepb.Proposal
	for _, p := range ps {
		m := &statepb.Proposal{}
		for _, tr := range p.Transforms {
			m.Transforms = append(m.Transforms, &statepb.Transform{Type: uint32(tr.Type), Id: uint32(tr.ID), KeyBits: uint32(tr.KeyBits)})
		}
		out = append(out, m)
	}
	return out
}
