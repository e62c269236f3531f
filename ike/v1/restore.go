package v1

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/internal/state"
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
	r := &reader{Reader: state.Reader{Now: now}, policy: p, conn: conn}
	t := newTunnel(env, p, conn, r.Endpoint(m.Local), r.Endpoint(m.Remote), ipsec.IKESPI(m.Id), m.Initiator)
	t.now = now
	t.state, t.takeovers = ike.State(state.Number[uint8](r, m.State)), m.Takeovers
	t.localID, t.remoteID, t.user, t.internal = r.identity(m.LocalId), r.identity(m.RemoteId), string(m.User), r.Addr(m.Internal)
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
		t.probe = &probe{sequence: m.Probe.Sequence, tries: r.Count(m.Probe.Tries), nextAt: r.Time(m.Probe.Next)}
	}
	t.probes, t.rekeyTries, t.fragment = m.Probes, r.Count(m.RekeyTries), state.Number[uint16](r, m.Fragment)
	t.generation, t.parts = m.Generation, r.parts(m.Parts)
	t.lastIn, t.lastOut, t.espIn, t.espOut = r.Time(m.LastIn), r.Time(m.LastOut), r.Time(m.EspIn), r.Time(m.EspOut)
	t.takenAt, t.probeAt = r.Time(m.Taken), r.Time(m.ProbeAt)
	t.unknown = m.ProtoReflect().GetUnknown()
	return t, r.check(t)
}

// check tells whether the parts of the state fit together.
func (r *reader) check(t *Tunnel) error {
	switch {
	case r.Err() != nil:
		return r.Err()
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
// Err.
type reader struct {
	state.Reader
	policy ike.Policy
	conn   *ike.Connection
}

func (r *reader) identity(m *ikepb.Identity) ike.Identity {
	return ike.Identity{Type: state.Number[ike.IDType](r, m.GetType()), Data: string(m.GetData())}
}

func (r *reader) setup(m *statepb.Setup) *setup {
	if m == nil {
		return nil
	}
	s := &setup{
		started: r.Time(m.Started), deadline: r.Time(m.Deadline), child: m.Child,
		initialContact: m.InitialContact, contact: m.Contact, reported: m.Reported,
	}
	if m.Want != nil {
		w := r.Selectors(m.Want)
		s.want = &w
	}
	if m.Refused != nil {
		s.refused = errors.New(*m.Refused)
	}
	return s
}

func (r *reader) sa(m *statepb.SA) *isakmpSA {
	sa := &isakmpSA{
		cookieI: ipsec.IKESPI(m.CookieI), cookieR: ipsec.IKESPI(m.CookieR), initiator: m.Initiator, stage: state.Number[stage](r, m.Stage),
		suite:     r.Suite(m.Suite),
		lastBlock: m.LastBlock, phase1: r.phase1(m.Phase1), asked: m.Asked, askedIn: m.AskedIn, proven: m.Proven, heard: r.Time(m.Heard), life: time.Duration(m.Life),
		began: r.Time(m.Began), born: r.Time(m.Born), softAt: r.Time(m.Soft), hardAt: r.Time(m.Hard), giveUpAt: r.Time(m.GiveUp),
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
		r.Fail(err)
	}
}

func (r *reader) phase1(m *statepb.Phase1) *phase1 {
	if m == nil {
		return nil
	}
	p := &phase1{
		method: state.Number[uint16](r, m.Method), sa: m.Sa, ni: m.Ni, nr: m.Nr, ke: r.KE(m.KeGroup, m.KePrivate),
		publicI: m.PublicI, publicR: m.PublicR, shared: ipsec.NewKey(m.Shared), idI: m.IdI, idR: m.IdR,
	}
	for _, name := range m.Connections {
		c := r.policy.Named(name)
		if c == nil || c.V1 == nil {
			r.Fail(fmt.Errorf("there is no connection %q of version 1", name))
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
	r.Fail(fmt.Errorf("an exchange is of the unknown ISAKMP SA %016x", m.Sa))
	return t.sa
}

func (r *reader) exchange(m *statepb.Exchange, sa *isakmpSA) *exchange {
	x := &exchange{
		kind: state.Number[wire.ExchangeType](r, m.Kind), sa: sa, id: m.Id, initiator: m.Initiator, flags: state.Number[wire.Flags](r, m.Flags),
		step: state.Number[uint8](r, m.Step), iv: m.Iv, sent: m.Sent,
		waiting: m.Waiting, nextAt: r.Time(m.Next), tries: r.Count(m.Tries), forgetAt: r.Time(m.Forget), task: r.task(m.Task), inherited: m.Inherited,
		unknown: m.ProtoReflect().GetUnknown(),
	}
	copy(x.heard[:], m.Heard)
	if q := m.Quick; q != nil {
		x.quick = &quick{
			conf: childNamed(r.conn, q.Child), began: q.Began, spi: ipsec.SPI(q.Spi), ni: q.Ni, nr: q.Nr,
			group: state.Number[ipsec.GroupID](r, q.Group), ke: r.KE(q.Group, q.KePrivate), selectors: r.Selectors(q.Selectors),
		}
		if x.quick.conf == nil || len(x.quick.selectors.Local) != 1 || len(x.quick.selectors.Remote) != 1 {
			r.Fail(fmt.Errorf("a quick mode for %q lacks its child or its selectors", q.Child))
		}
	}
	if tr := m.Transaction; tr != nil {
		x.transaction = &transaction{purpose: state.Number[purpose](r, tr.Purpose), user: string(tr.User)}
	}
	if x.kind == wire.QuickMode && x.quick == nil || x.kind == wire.Transaction && x.initiator && x.transaction == nil {
		r.Fail(fmt.Errorf("the exchange %08x lacks what it is about", x.id))
	}
	return x
}

func (r *reader) task(m *statepb.Task) task {
	k := task{
		kind: state.Number[taskKind](r, m.GetKind()), child: m.GetChild(), selectors: r.Selectors(m.GetSelectors()),
		spi: ipsec.SPI(m.GetSpi()), tries: r.Count(m.GetTries()),
	}
	if m != nil {
		k.notBefore = r.Time(m.NotBefore)
	}
	return k
}

func (r *reader) parts(m *statepb.Parts) *parts {
	if m == nil {
		return nil
	}
	p := &parts{id: state.Number[uint16](r, m.Id), last: state.Number[uint8](r, m.Last)}
	for _, part := range m.Parts {
		if part.Number < 1 || part.Number > maxFragments || p.bodies[part.Number-1] != nil {
			r.Fail(fmt.Errorf("a message has the fragment %d", part.Number))
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
		began: m.Began, made: m.Made, born: r.Time(m.Born), softAt: r.Time(m.Soft), hardAt: r.Time(m.Hard), removeAt: r.Time(m.Remove), sendAt: r.Time(m.Send),
		unknown: m.ProtoReflect().GetUnknown(),
	}
	if c.conf == nil || len(c.selectors.Local) != 1 || len(c.selectors.Remote) != 1 {
		r.Fail(fmt.Errorf("a pair of %q lacks its child or its selectors", m.Name))
	}
	if m.Transport {
		c.mode = ipsec.Transport
	}
	c.inID = ipsec.SAID{SPI: c.in, Dst: r.Addr(m.Local), Proto: ipsec.ESP}
	c.outID = ipsec.SAID{SPI: c.out, Dst: r.Addr(m.Remote), Proto: ipsec.ESP, Port: state.Number[uint16](r, m.RemotePort)}
	return c
}
