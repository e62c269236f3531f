package ike

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
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
	r := &reader{now: now, env: env, conn: conn}
	t := newTunnel(env, conn, r.endpoint(m.Local), r.endpoint(m.Remote), ipsec.IKESPI(m.Id), m.Initiator)
	t.state, t.takeovers = State(num[uint8](r, m.State)), m.Takeovers
	t.localID, t.remoteID = r.identity(m.LocalId), r.identity(m.RemoteId)
	t.nat = nat{m.Nat.GetSupported(), m.Nat.GetLocal(), m.Nat.GetRemote(), m.Nat.GetEncap()}
	t.fragments, t.packet = m.Fragments, r.count(m.Packet)
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
	t.lastIn, t.lastOut, t.espIn, t.espOut = r.time(m.LastIn), r.time(m.LastOut), r.time(m.EspIn), r.time(m.EspOut)
	t.takenAt, t.probeAt = r.time(m.Taken), r.time(m.Probe)
	t.support = syncSupport{ids: m.SyncIds, counters: m.SyncCounters}
	t.resyncAt, t.resynced = r.time(m.Resync), r.time(m.Resynced)
	if m.Expired {
		t.why = ErrExpired
	}
	t.unknown = m.ProtoReflect().GetUnknown()
	return t, r.check(t)
}

// check tells whether the parts of the state fit together.
func (r *reader) check(t *Tunnel) error {
	switch {
	case r.err != nil:
		return r.err
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
// err.
type reader struct {
	now  time.Time
	env  *Env
	conn *Connection
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// num narrows a number that is small in a sound snapshot.
func num[T ~uint8 | ~uint16](r *reader, v uint32) T {
	if uint32(T(v)) != v {
		r.fail(fmt.Errorf("the number %d is too large", v))
	}
	return T(v)
}

func (r *reader) count(v uint32) int {
	if v > math.MaxInt32 {
		r.fail(fmt.Errorf("the count %d is too large", v))
	}
	return int(v)
}

func (r *reader) time(d *int64) time.Time {
	if d == nil {
		return time.Time{}
	}
	return r.now.Add(time.Duration(*d))
}

func (r *reader) addr(b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok && len(b) > 0 {
		r.fail(fmt.Errorf("an address has %d octets", len(b)))
	}
	return a
}

func (r *reader) endpoint(m *statepb.Endpoint) netip.AddrPort {
	return netip.AddrPortFrom(r.addr(m.GetAddress()), num[uint16](r, m.GetPort()))
}

func (r *reader) identity(m *statepb.Identity) Identity {
	return Identity{Type: num[IDType](r, m.GetType()), Data: string(m.GetData())}
}

func (r *reader) ke(group uint32, private []byte) *suite.KE {
	if len(private) == 0 {
		return nil
	}
	ke, err := suite.RestoreKE(num[ipsec.GroupID](r, group), ipsec.CopyKey(private))
	if err != nil {
		r.fail(err)
	}
	return ke
}

func (r *reader) setup(m *statepb.Setup) *setup {
	if m == nil {
		return nil
	}
	s := &setup{
		started: r.time(m.Started), deadline: r.time(m.Deadline),
		request: m.Request, response: m.Response, ni: m.Ni, nr: m.Nr,
		child: m.Child, group: num[ipsec.GroupID](r, m.Group), ke: r.ke(m.Group, m.KePrivate),
		cookie: m.Cookie, tries: r.count(m.Tries), offer: r.offer(m.Offer),
		initialContact: m.InitialContact, offered: r.proposals(m.Offered),
	}
	if m.Want != nil {
		w := r.selectors(m.Want)
		s.want = &w
	}
	for _, g := range m.Tried {
		s.tried = append(s.tried, num[ipsec.GroupID](r, g))
	}
	if m.Refused != nil {
		s.refused = errors.New(*m.Refused)
	}
	return s
}

func (r *reader) ikeSA(m *statepb.IKESA) *ikeSA {
	sa := &ikeSA{
		spiI: ipsec.IKESPI(m.SpiI), spiR: ipsec.IKESPI(m.SpiR), initiator: m.Initiator, role: num[role](r, m.Role),
		suite: suite.Suite{
			Encryption: num[ipsec.EncryptionID](r, m.Suite.GetEncryption()), KeyBits: num[uint16](r, m.Suite.GetKeyBits()),
			Integrity: num[ipsec.IntegrityID](r, m.Suite.GetIntegrity()), PRF: num[ipsec.PRFID](r, m.Suite.GetPrf()),
			Group: num[ipsec.GroupID](r, m.Suite.GetGroup()),
		},
		born: r.time(m.Born), softAt: r.time(m.Soft), hardAt: r.time(m.Hard), giveUpAt: r.time(m.GiveUp),
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
	iv := suite.IV{Member: num[ipsec.MemberID](r, m.Iv.GetMember()), Epoch: m.Iv.GetEpoch(), Counter: m.Iv.GetCounter()}
	if err := sa.protect(r.env, iv); err != nil {
		r.fail(err)
	}
	return sa
}

func (r *reader) resync(m *statepb.Resync) *resync {
	if m == nil {
		return nil
	}
	s := &resync{ids: wire.MessageIDs{Send: m.Send, Recv: m.Recv}, delta: m.Delta, nextAt: r.time(m.Next), tries: r.count(m.Tries), since: r.time(m.Since)}
	if copy(s.ids.Nonce[:], m.Nonce) != len(m.Nonce) {
		r.fail(fmt.Errorf("a synchronization has a nonce of %d octets", len(m.Nonce)))
	}
	return s
}

func (r *reader) syncAnswer(m *statepb.SyncAnswer) *syncAnswer {
	if m == nil {
		return nil
	}
	a := &syncAnswer{send: m.Send, packets: m.Packets, count: r.count(m.Count), since: r.time(m.Since)}
	if copy(a.request[:], m.Request) != len(m.Request) {
		r.fail(fmt.Errorf("a synchronization is known by %d octets", len(m.Request)))
	}
	return a
}

func (r *reader) request(m *statepb.Request) *request {
	if m == nil {
		return nil
	}
	return &request{
		id: m.Id, exchange: num[wire.ExchangeType](r, m.Exchange), task: r.task(m.Task), offer: r.offer(m.Offer), packets: m.Packets,
		sentAt: r.time(m.Sent), nextAt: r.time(m.Next), tries: r.count(m.Tries),
		inherited: m.Inherited,
	}
}

func (r *reader) task(m *statepb.Task) task {
	k := task{
		kind: num[taskKind](r, m.GetKind()), child: m.GetChild(), single: m.GetSingle(), spi: ipsec.SPI(m.GetSpi()),
		group: num[ipsec.GroupID](r, m.GetGroup()), tries: r.count(m.GetTries()),
	}
	if m != nil {
		k.notBefore = r.time(m.NotBefore)
	}
	if m.GetWant() != nil {
		w := r.selectors(m.Want)
		k.want = &w
	}
	return k
}

func (r *reader) offer(m *statepb.Offer) offer {
	o := offer{
		nonce: m.GetNonce(), ke: r.ke(m.GetKeGroup(), m.GetKePrivate()), spi: ipsec.SPI(m.GetSpi()), ikeSPI: ipsec.IKESPI(m.GetIkeSpi()),
		proposals: r.proposals(m.GetProposals()), selectors: r.selectors(m.GetSelectors()), transport: m.GetTransport(),
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
	p := &parts{total: num[uint16](r, m.Total), first: num[wire.PayloadType](r, m.First)}
	if p.total > maxFragments {
		r.fail(fmt.Errorf("a message has %d fragments, at most %d are kept", p.total, maxFragments))
		return p
	}
	p.bodies = make([][]byte, p.total)
	for _, part := range m.Parts {
		if part.Number < 1 || part.Number > uint32(p.total) || p.bodies[part.Number-1] != nil {
			r.fail(fmt.Errorf("a message has the fragment %d of %d", part.Number, p.total))
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
		state: num[childState](r, m.State), initiator: m.Initiator,
		algorithms: ipsec.Algorithms{
			Encryption: num[ipsec.EncryptionID](r, m.Encryption), KeyBits: num[uint16](r, m.KeyBits),
			Integrity: num[ipsec.IntegrityID](r, m.Integrity), ESN: m.Esn,
		},
		group:      num[ipsec.GroupID](r, m.Group),
		inKeys:     suite.DirectionKeys{Encryption: ipsec.NewKey(m.InEncryption), Integrity: ipsec.NewKey(m.InIntegrity)},
		outKeys:    suite.DirectionKeys{Encryption: ipsec.NewKey(m.OutEncryption), Integrity: ipsec.NewKey(m.OutIntegrity)},
		selectors:  r.selectors(m.Selectors),
		life:       ipsec.Lifetime{Soft: limitsOf(m.SoftLimits), Hard: limitsOf(m.HardLimits)},
		generation: m.Generation, sending: m.Sending, worn: m.Worn, successor: ipsec.SPI(m.Successor),
		born: r.time(m.Born), softAt: r.time(m.Soft), hardAt: r.time(m.Hard), removeAt: r.time(m.Remove),
		unknown: m.ProtoReflect().GetUnknown(),
	}
	if c.conf == nil {
		r.fail(fmt.Errorf("connection %s has no child %q", r.conn.Name, m.Name))
	}
	if m.Transport {
		c.mode = ipsec.Transport
	}
	c.inID = ipsec.SAID{SPI: c.in, Dst: r.addr(m.Local), Proto: ipsec.ESP}
	c.outID = ipsec.SAID{SPI: c.out, Dst: r.addr(m.Remote), Proto: ipsec.ESP, Port: num[uint16](r, m.RemotePort)}
	return c
}

// namedChild returns the child of exactly that name, nil when there is none.
func namedChild(c *Connection, name string) *Child {
	if name == "" {
		return nil
	}
	return childNamed(c, name)
}

func limitsOf(m *statepb.Limits) ipsec.Limits {
	return ipsec.Limits{Time: time.Duration(m.GetTime()), Bytes: m.GetBytes(), Packets: m.GetPackets()}
}

func (r *reader) proposals(list []*statepb.Proposal) []ipsec.Proposal {
	var out []ipsec.Proposal
	for _, m := range list {
		p := ipsec.Proposal{}
		for _, tr := range m.Transforms {
			p.Transforms = append(p.Transforms, ipsec.Transform{
				Type: num[ipsec.TransformType](r, tr.Type), ID: num[uint16](r, tr.Id), KeyBits: num[uint16](r, tr.KeyBits),
			})
		}
		out = append(out, p)
	}
	return out
}

func (r *reader) selectors(m *statepb.Selectors) ipsec.Selectors {
	return ipsec.Selectors{Local: r.selectorList(m.GetLocal()), Remote: r.selectorList(m.GetRemote())}
}

func (r *reader) selectorList(list []*statepb.Selector) []ipsec.TrafficSelector {
	var out []ipsec.TrafficSelector
	for _, m := range list {
		s := ipsec.TrafficSelector{
			Proto: num[uint8](r, m.Proto), PortMin: num[uint16](r, m.PortMin), PortMax: num[uint16](r, m.PortMax),
			Min: r.addr(m.Min), Max: r.addr(m.Max),
		}
		if err := s.Validate(); err != nil {
			r.fail(err)
		}
		out = append(out, s)
	}
	return out
}
