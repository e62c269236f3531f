package ike

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/internal/state"
	"github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// Restore makes a standby from a snapshot. It is silent, it sends nothing and
// has no timers (invariant I7), until the input Takeover. Settings come from the
// connection of the same name in p; that it or a child is not there is an error.
func Restore(env Env, p Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	env.policy = p
	t, err := restore(&env, snapshot, now)
	if err != nil {
		return nil, fmt.Errorf("ike: restore a tunnel: %w", err)
	}
	t.standby = true
	return t, nil
}

// restore makes a tunnel that goes on exactly where the snapshot was made.
func restore(env *Env, snapshot []byte, now time.Time) (*Tunnel, error) {
	m := &statepb.Tunnel{}
	if err := proto.Unmarshal(snapshot, m); err != nil {
		return nil, err
	}
	if m.Needs > stateVersion || m.Sa == nil {
		return nil, fmt.Errorf("the snapshot has version %d and needs %d, this is %d", m.Version, m.Needs, stateVersion)
	}
	conn := env.policy.Named(m.Connection)
	if conn == nil {
		return nil, fmt.Errorf("there is no connection %q", m.Connection)
	}
	r := &reader{Reader: state.Reader{Now: now}, env: env, conn: conn}
	t := newTunnel(env, conn, r.Endpoint(m.Local), r.Endpoint(m.Remote), ipsec.IKESPI(m.Id), m.Initiator)
	t.state, t.takeovers = State(state.Number[uint8](r, m.State)), m.Takeovers
	t.localID, t.remoteID = r.identity(m.LocalId), r.identity(m.RemoteId)
	t.nat = nat{m.Nat.GetSupported(), m.Nat.GetLocal(), m.Nat.GetRemote(), m.Nat.GetEncap()}
	t.fragments, t.packet = m.Fragments, r.Count(m.Packet)
	t.setup, t.sa = r.setup(m.Setup), r.ikeSA(m.Sa)
	for _, sa := range m.Others {
		t.others = append(t.others, r.ikeSA(sa))
	}
	for _, c := range m.Children {
		t.children = append(t.children, r.child(c))
	}
	for _, k := range m.Tasks {
		t.tasks = append(t.tasks, r.task(k))
	}
	t.generation = m.Generation
	t.lastIn, t.lastOut, t.espIn, t.espOut = r.Time(m.LastIn), r.Time(m.LastOut), r.Time(m.EspIn), r.Time(m.EspOut)
	t.takenAt, t.probeAt = r.Time(m.Taken), r.Time(m.Probe)
	t.support = syncSupport{ids: m.SyncIds, counters: m.SyncCounters}
	t.resyncAt, t.resynced = r.Time(m.Resync), r.Time(m.Resynced)
	if m.Expired {
		t.why = ErrExpired
	}
	t.unknown = m.ProtoReflect().GetUnknown()
	return t, r.check(t)
}

// check tells whether the parts of the state fit together.
func (r *reader) check(t *Tunnel) error {
	switch {
	case r.Err() != nil:
		return r.Err()
	case t.state > StateClosing:
		return fmt.Errorf("the snapshot has the unknown state %d", t.state)
	case (t.state == StateUp || t.state == StateClosing) != (t.setup == nil):
		return fmt.Errorf("the snapshot is %v, its set-up says otherwise", t.state)
	case t.state >= StateAuth && t.sa.sealer == nil:
		return fmt.Errorf("the snapshot is %v, but has no keys", t.state)
	case !t.local.IsValid() || !t.remote.IsValid():
		return errors.New("the snapshot lacks an address")
	}
	return nil
}

// reader turns messages into state; the first thing that makes no sense is its
// Err.
type reader struct {
	state.Reader
	env  *Env
	conn *Connection
}

func (r *reader) identity(m *statepb.Identity) Identity {
	return Identity{Type: state.Number[IDType](r, m.GetType()), Data: string(m.GetData())}
}

func (r *reader) setup(m *statepb.Setup) *setup {
	if m == nil {
		return nil
	}
	s := &setup{
		started: r.Time(m.Started), deadline: r.Time(m.Deadline),
		request: m.Request, response: m.Response, ni: m.Ni, nr: m.Nr,
		child: m.Child, group: state.Number[ipsec.GroupID](r, m.Group), ke: r.KE(m.Group, m.KePrivate),
		cookie: m.Cookie, tries: r.Count(m.Tries), offer: r.offer(m.Offer),
		initialContact: m.InitialContact, offered: r.proposals(m.Offered),
	}
	if m.Want != nil {
		w := r.Selectors(m.Want)
		s.want = &w
	}
	for _, g := range m.Tried {
		s.tried = append(s.tried, state.Number[ipsec.GroupID](r, g))
	}
	if m.Refused != nil {
		s.refused = errors.New(*m.Refused)
	}
	return s
}

func (r *reader) ikeSA(m *statepb.IKESA) *ikeSA {
	sa := &ikeSA{
		spiI: ipsec.IKESPI(m.SpiI), spiR: ipsec.IKESPI(m.SpiR), initiator: m.Initiator, role: state.Number[role](r, m.Role),
		suite: r.Suite(m.Suite),
		born:  r.Time(m.Born), softAt: r.Time(m.Soft), hardAt: r.Time(m.Hard), giveUpAt: r.Time(m.GiveUp),
		successor: ipsec.IKESPI(m.Successor),
		sendID:    m.SendId, recvID: m.RecvId, pending: r.request(m.Pending), answer: m.Answer,
		inParts: r.parts(m.InParts), reParts: r.parts(m.ReParts),
		resync: r.resync(m.Resync), claimed: m.Claimed, synced: r.syncAnswer(m.Synced),
		unknown: m.ProtoReflect().GetUnknown(),
	}
	if m.Keys == nil {
		return sa
	}
	sa.keys = suite.Keys{
		D: ipsec.NewKey(m.Keys.D), Ai: ipsec.NewKey(m.Keys.Ai), Ar: ipsec.NewKey(m.Keys.Ar),
		Ei: ipsec.NewKey(m.Keys.Ei), Er: ipsec.NewKey(m.Keys.Er), Pi: ipsec.NewKey(m.Keys.Pi), Pr: ipsec.NewKey(m.Keys.Pr),
	}
	iv := suite.IV{Member: state.Number[ipsec.MemberID](r, m.Iv.GetMember()), Epoch: m.Iv.GetEpoch(), Counter: m.Iv.GetCounter()}
	if err := sa.protect(r.env, iv); err != nil {
		r.Fail(err)
	}
	return sa
}

func (r *reader) resync(m *statepb.Resync) *resync {
	if m == nil {
		return nil
	}
	s := &resync{ids: wire.MessageIDs{Send: m.Send, Recv: m.Recv}, delta: m.Delta, nextAt: r.Time(m.Next), tries: r.Count(m.Tries), since: r.Time(m.Since)}
	if copy(s.ids.Nonce[:], m.Nonce) != len(m.Nonce) {
		r.Fail(fmt.Errorf("a synchronization has a nonce of %d octets", len(m.Nonce)))
	}
	return s
}

func (r *reader) syncAnswer(m *statepb.SyncAnswer) *syncAnswer {
	if m == nil {
		return nil
	}
	a := &syncAnswer{send: m.Send, packets: m.Packets, count: r.Count(m.Count), since: r.Time(m.Since)}
	if copy(a.request[:], m.Request) != len(m.Request) {
		r.Fail(fmt.Errorf("a synchronization is known by %d octets", len(m.Request)))
	}
	return a
}

func (r *reader) request(m *statepb.Request) *request {
	if m == nil {
		return nil
	}
	return &request{
		id: m.Id, exchange: state.Number[wire.ExchangeType](r, m.Exchange), task: r.task(m.Task), offer: r.offer(m.Offer), packets: m.Packets,
		sentAt: r.Time(m.Sent), nextAt: r.Time(m.Next), tries: r.Count(m.Tries),
		inherited: m.Inherited,
	}
}

func (r *reader) task(m *statepb.Task) task {
	k := task{
		kind: state.Number[taskKind](r, m.GetKind()), child: m.GetChild(), single: m.GetSingle(), spi: ipsec.SPI(m.GetSpi()),
		group: state.Number[ipsec.GroupID](r, m.GetGroup()), tries: r.Count(m.GetTries()),
	}
	if m != nil {
		k.notBefore = r.Time(m.NotBefore)
	}
	if m.GetWant() != nil {
		w := r.Selectors(m.Want)
		k.want = &w
	}
	return k
}

func (r *reader) offer(m *statepb.Offer) offer {
	o := offer{
		nonce: m.GetNonce(), ke: r.KE(m.GetKeGroup(), m.GetKePrivate()), spi: ipsec.SPI(m.GetSpi()), ikeSPI: ipsec.IKESPI(m.GetIkeSpi()),
		proposals: r.proposals(m.GetProposals()), selectors: r.Selectors(m.GetSelectors()), transport: m.GetTransport(),
	}
	if v := m.GetRival(); v != nil {
		o.rival = &rival{nonce: v.Nonce, child: ipsec.SPI(v.Child), ike: ipsec.IKESPI(v.Ike)}
	}
	for _, spi := range m.GetDead() {
		o.dead = append(o.dead, ipsec.SPI(spi))
	}
	return o
}

func (r *reader) parts(m *statepb.Parts) *parts {
	if m == nil {
		return nil
	}
	p := &parts{total: state.Number[uint16](r, m.Total), first: state.Number[wire.PayloadType](r, m.First)}
	if p.total > maxFragments {
		r.Fail(fmt.Errorf("a message has %d fragments, at most %d are kept", p.total, maxFragments))
		return p
	}
	p.bodies = make([][]byte, p.total)
	for _, part := range m.Parts {
		if part.Number < 1 || part.Number > uint32(p.total) || p.bodies[part.Number-1] != nil {
			r.Fail(fmt.Errorf("a message has the fragment %d of %d", part.Number, p.total))
			return p
		}
		body := part.Body
		if body == nil {
			body = []byte{}
		}
		p.bodies[part.Number-1] = body
		p.have++
		p.octets += len(body)
	}
	return p
}

func (r *reader) child(m *statepb.Child) *childSA {
	c := &childSA{
		conf: namedChild(r.conn, m.Name), in: ipsec.SPI(m.In), out: ipsec.SPI(m.Out),
		state: state.Number[childState](r, m.State), initiator: m.Initiator,
		algorithms: ipsec.Algorithms{
			Encryption: state.Number[ipsec.EncryptionID](r, m.Encryption), KeyBits: state.Number[uint16](r, m.KeyBits),
			Integrity: state.Number[ipsec.IntegrityID](r, m.Integrity), ESN: m.Esn,
		},
		group:      state.Number[ipsec.GroupID](r, m.Group),
		inKeys:     suite.DirectionKeys{Encryption: ipsec.NewKey(m.InEncryption), Integrity: ipsec.NewKey(m.InIntegrity)},
		outKeys:    suite.DirectionKeys{Encryption: ipsec.NewKey(m.OutEncryption), Integrity: ipsec.NewKey(m.OutIntegrity)},
		selectors:  r.Selectors(m.Selectors),
		life:       ipsec.Lifetime{Soft: state.LimitsOf(m.SoftLimits), Hard: state.LimitsOf(m.HardLimits)},
		generation: m.Generation, sending: m.Sending, worn: m.Worn, successor: ipsec.SPI(m.Successor),
		born: r.Time(m.Born), softAt: r.Time(m.Soft), hardAt: r.Time(m.Hard), removeAt: r.Time(m.Remove),
		unknown: m.ProtoReflect().GetUnknown(),
	}
	if c.conf == nil {
		r.Fail(fmt.Errorf("connection %s has no child %q", r.conn.Name, m.Name))
	}
	if m.Transport {
		c.mode = ipsec.Transport
	}
	c.inID = ipsec.SAID{SPI: c.in, Dst: r.Addr(m.Local), Proto: ipsec.ESP}
	c.outID = ipsec.SAID{SPI: c.out, Dst: r.Addr(m.Remote), Proto: ipsec.ESP, Port: state.Number[uint16](r, m.RemotePort)}
	return c
}

// namedChild returns the child of exactly that name, nil when there is none.
func namedChild(c *Connection, name string) *Child {
	if name == "" {
		return nil
	}
	return childNamed(c, name)
}

func (r *reader) proposals(list []*statepb.Proposal) []ipsec.Proposal {
	var out []ipsec.Proposal
	for _, m := range list {
		p := ipsec.Proposal{}
		for _, tr := range m.Transforms {
			p.Transforms = append(p.Transforms, ipsec.Transform{
				Type: state.Number[ipsec.TransformType](r, tr.Type), ID: state.Number[uint16](r, tr.Id), KeyBits: state.Number[uint16](r, tr.KeyBits),
			})
		}
		out = append(out, p)
	}
	return out
}
