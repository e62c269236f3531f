package v1

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	ikepb "github.com/evergate/evergate/ike/internal/statepb"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/internal/statepb"
	"github.com/evergate/evergate/ike/v1/keymat"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Restore makes a standby from a snapshot. It is silent, it sends nothing and
// has no timers (invariant I7), until the input Takeover. Settings come from the
// connection of the same name in p; that it or a child is not there is an error.
func Restore(env ike.Env, p ike.Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	t, err := restore(&env, p, snapshot, now)
	if err != nil {
		return nil, fmt.Errorf("ike/v1: restore a tunnel: %w", err)
	}
	t.standby = true
	return t, nil
}

// restore makes a tunnel that goes on exactly where the snapshot was made.
func restore(env *ike.Env, p ike.Policy, snapshot []byte, now time.Time) (*Tunnel, error) {
	m := &statepb.Tunnel{}
	if err := proto.Unmarshal(snapshot, m); err != nil {
		return nil, err
	}
	if m.Needs > stateVersion || m.Sa == nil {
		return nil, fmt.Errorf("the snapshot has version %d and needs %d, this is %d", m.Version, m.Needs, stateVersion)
	}
	conn := p.Named(m.Connection)
	if conn == nil || conn.V1 == nil {
		return nil, fmt.Errorf("there is no connection %q of version 1", m.Connection)
	}
	r := &reader{now: now, policy: p, conn: conn}
	t := newTunnel(env, p, conn, r.endpoint(m.Local), r.endpoint(m.Remote), ipsec.IKESPI(m.Id), m.Initiator)
	t.now = now
	t.state, t.takeovers = ike.State(num[uint8](r, m.State)), m.Takeovers
	t.localID, t.remoteID, t.user, t.internal = r.identity(m.LocalId), r.identity(m.RemoteId), string(m.User), r.addr(m.Internal)
	t.nat = nat{m.Nat.GetLocal(), m.Nat.GetRemote(), m.Nat.GetEncap()}
	t.peer = features{dpd: m.Peer.GetDpd(), natt: m.Peer.GetNatt(), fragmentation: m.Peer.GetFragmentation(), xauth: m.Peer.GetXauth()}
	t.setup, t.sa = r.setup(m.Setup), r.sa(m.Sa)
	for _, sa := range m.Others {
		t.others = append(t.others, r.sa(sa))
	}
	for _, x := range m.Exchanges {
		t.exchanges = append(t.exchanges, r.exchange(x, r.owner(t, x)))
	}
	for _, c := range m.Children {
		t.children = append(t.children, r.child(c))
	}
	for _, k := range m.Tasks {
		t.tasks = append(t.tasks, r.task(k))
	}
	if m.Probe != nil {
		t.probe = &probe{sequence: m.Probe.Sequence, tries: r.count(m.Probe.Tries), nextAt: r.time(m.Probe.Next)}
	}
	t.probes, t.rekeyTries, t.fragment = m.Probes, r.count(m.RekeyTries), num[uint16](r, m.Fragment)
	t.generation, t.parts = m.Generation, r.parts(m.Parts)
	t.lastIn, t.lastOut, t.espIn, t.espOut = r.time(m.LastIn), r.time(m.LastOut), r.time(m.EspIn), r.time(m.EspOut)
	t.takenAt, t.probeAt = r.time(m.Taken), r.time(m.ProbeAt)
	t.unknown = m.ProtoReflect().GetUnknown()
	return t, r.check(t)
}

// check tells whether the parts of the state fit together.
func (r *reader) check(t *Tunnel) error {
	switch {
	case r.err != nil:
		return r.err
	case t.state > ike.StateUp:
		return fmt.Errorf("the snapshot has the unknown state %d", t.state)
	case (t.state == ike.StateUp) != (t.setup == nil):
		return fmt.Errorf("the snapshot is %v, its set-up says otherwise", t.state)
	case !t.local.IsValid() || !t.remote.IsValid():
		return errors.New("the snapshot lacks an address")
	}
	for _, sa := range t.all() {
		if sa.stage > stageDead || sa.stage > stagePhase1 && (sa.keys == nil || len(sa.lastBlock) != sa.keys.BlockLen()) {
			return fmt.Errorf("an ISAKMP SA in stage %d has no keys", sa.stage)
		}
		if sa.stage == stagePhase1 && (sa.phase1 == nil || sa.main == nil) {
			return errors.New("an ISAKMP SA lacks its phase 1")
		}
	}
	return nil
}

// reader turns messages into state; the first thing that makes no sense is its
// err.
type reader struct {
	now    time.Time
	policy ike.Policy
	conn   *ike.Connection
	err    error
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

func (r *reader) endpoint(m *ikepb.Endpoint) netip.AddrPort {
	return netip.AddrPortFrom(r.addr(m.GetAddress()), num[uint16](r, m.GetPort()))
}

func (r *reader) identity(m *ikepb.Identity) ike.Identity {
	return ike.Identity{Type: num[ike.IDType](r, m.GetType()), Data: string(m.GetData())}
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
		started: r.time(m.Started), deadline: r.time(m.Deadline), child: m.Child,
		initialContact: m.InitialContact, contact: m.Contact, reported: m.Reported,
	}
	if m.Want != nil {
		w := r.selectors(m.Want)
		s.want = &w
	}
	if m.Refused != nil {
		s.refused = errors.New(*m.Refused)
	}
	return s
}

func (r *reader) sa(m *statepb.SA) *isakmpSA {
	sa := &isakmpSA{
		cookieI: ipsec.IKESPI(m.CookieI), cookieR: ipsec.IKESPI(m.CookieR), initiator: m.Initiator, stage: num[stage](r, m.Stage),
		suite: suite.Suite{
			Encryption: num[ipsec.EncryptionID](r, m.Suite.GetEncryption()), KeyBits: num[uint16](r, m.Suite.GetKeyBits()),
			Integrity: num[ipsec.IntegrityID](r, m.Suite.GetIntegrity()), PRF: num[ipsec.PRFID](r, m.Suite.GetPrf()),
			Group: num[ipsec.GroupID](r, m.Suite.GetGroup()),
		},
		lastBlock: m.LastBlock, phase1: r.phase1(m.Phase1), asked: m.Asked, proven: m.Proven, life: time.Duration(m.Life),
		began: r.time(m.Began), born: r.time(m.Born), softAt: r.time(m.Soft), hardAt: r.time(m.Hard), giveUpAt: r.time(m.GiveUp),
		used: m.Used, unknown: m.ProtoReflect().GetUnknown(),
	}
	if m.Main != nil {
		sa.main = r.exchange(m.Main, sa)
	}
	if len(m.D) > 0 {
		r.keys(sa, m)
	}
	return sa
}

// keys restores the keys. While phase 1 is not over SKEYID is needed too, and is
// derived again.
func (r *reader) keys(sa *isakmpSA, m *statepb.SA) {
	var err error
	if sa.phase1 != nil && len(sa.phase1.conns) > 0 {
		sa.keys, err = sa.derive(sa.phase1.conns[0])
	} else {
		sa.keys, err = keymat.Restore(sa.suite, ipsec.NewKey(m.D), ipsec.NewKey(m.A), ipsec.NewKey(m.E))
	}
	if err != nil {
		r.fail(err)
	}
}

func (r *reader) phase1(m *statepb.Phase1) *phase1 {
	if m == nil {
		return nil
	}
	p := &phase1{
		method: num[uint16](r, m.Method), sa: m.Sa, ni: m.Ni, nr: m.Nr, ke: r.ke(m.KeGroup, m.KePrivate),
		publicI: m.PublicI, publicR: m.PublicR, shared: ipsec.NewKey(m.Shared), idI: m.IdI, idR: m.IdR,
	}
	for _, name := range m.Connections {
		c := r.policy.Named(name)
		if c == nil || c.V1 == nil {
			r.fail(fmt.Errorf("there is no connection %q of version 1", name))
			continue
		}
		p.conns = append(p.conns, c)
	}
	return p
}

// owner finds the ISAKMP SA of an exchange.
func (r *reader) owner(t *Tunnel, m *statepb.Exchange) *isakmpSA {
	for _, sa := range t.all() {
		if uint64(sa.local()) == m.Sa {
			return sa
		}
	}
	r.fail(fmt.Errorf("an exchange is of the unknown ISAKMP SA %016x", m.Sa))
	return t.sa
}

func (r *reader) exchange(m *statepb.Exchange, sa *isakmpSA) *exchange {
	x := &exchange{
		kind: num[wire.ExchangeType](r, m.Kind), sa: sa, id: m.Id, initiator: m.Initiator, flags: num[wire.Flags](r, m.Flags),
		step: num[uint8](r, m.Step), iv: m.Iv, sent: m.Sent,
		waiting: m.Waiting, nextAt: r.time(m.Next), tries: r.count(m.Tries), forgetAt: r.time(m.Forget), task: r.task(m.Task), inherited: m.Inherited,
		unknown: m.ProtoReflect().GetUnknown(),
	}
	copy(x.heard[:], m.Heard)
	if q := m.Quick; q != nil {
		x.quick = &quick{
			conf: childNamed(r.conn, q.Child), began: q.Began, spi: ipsec.SPI(q.Spi), ni: q.Ni, nr: q.Nr,
			group: num[ipsec.GroupID](r, q.Group), ke: r.ke(q.Group, q.KePrivate), selectors: r.selectors(q.Selectors),
		}
		if x.quick.conf == nil || len(x.quick.selectors.Local) != 1 || len(x.quick.selectors.Remote) != 1 {
			r.fail(fmt.Errorf("a quick mode for %q lacks its child or its selectors", q.Child))
		}
	}
	if tr := m.Transaction; tr != nil {
		x.transaction = &transaction{purpose: num[purpose](r, tr.Purpose), user: string(tr.User)}
	}
	if x.kind == wire.QuickMode && x.quick == nil || x.kind == wire.Transaction && x.initiator && x.transaction == nil {
		r.fail(fmt.Errorf("the exchange %08x lacks what it is about", x.id))
	}
	return x
}

func (r *reader) task(m *statepb.Task) task {
	k := task{
		kind: num[taskKind](r, m.GetKind()), child: m.GetChild(), selectors: r.selectors(m.GetSelectors()),
		spi: ipsec.SPI(m.GetSpi()), tries: r.count(m.GetTries()),
	}
	if m != nil {
		k.notBefore = r.time(m.NotBefore)
	}
	return k
}

func (r *reader) parts(m *statepb.Parts) *parts {
	if m == nil {
		return nil
	}
	p := &parts{id: num[uint16](r, m.Id), last: num[uint8](r, m.Last)}
	for _, part := range m.Parts {
		if part.Number < 1 || part.Number > maxFragments || p.bodies[part.Number-1] != nil {
			r.fail(fmt.Errorf("a message has the fragment %d", part.Number))
			return p
		}
		p.bodies[part.Number-1] = append(make([]byte, 0, len(part.Body)+1), part.Body...)
		p.have++
		p.octets += len(part.Body)
	}
	return p
}

func (r *reader) child(m *statepb.Child) *childSA {
	c := &childSA{
		conf: childNamed(r.conn, m.Name), in: ipsec.SPI(m.In), out: ipsec.SPI(m.Out),
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
		began: m.Began, made: m.Made, born: r.time(m.Born), softAt: r.time(m.Soft), hardAt: r.time(m.Hard), removeAt: r.time(m.Remove), sendAt: r.time(m.Send),
		unknown: m.ProtoReflect().GetUnknown(),
	}
	if c.conf == nil || len(c.selectors.Local) != 1 || len(c.selectors.Remote) != 1 {
		r.fail(fmt.Errorf("a pair of %q lacks its child or its selectors", m.Name))
	}
	if m.Transport {
		c.mode = ipsec.Transport
	}
	c.inID = ipsec.SAID{SPI: c.in, Dst: r.addr(m.Local), Proto: ipsec.ESP}
	c.outID = ipsec.SAID{SPI: c.out, Dst: r.addr(m.Remote), Proto: ipsec.ESP, Port: num[uint16](r, m.RemotePort)}
	return c
}

func limitsOf(m *ikepb.Limits) ipsec.Limits {
	return ipsec.Limits{Time: time.Duration(m.GetTime()), Bytes: m.GetBytes(), Packets: m.GetPackets()}
}

func (r *reader) selectors(m *ikepb.Selectors) ipsec.Selectors {
	return ipsec.Selectors{Local: r.selectorList(m.GetLocal()), Remote: r.selectorList(m.GetRemote())}
}

func (r *reader) selectorList(list []*ikepb.Selector) []ipsec.TrafficSelector {
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
