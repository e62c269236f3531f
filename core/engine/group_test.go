package engine

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// group is members of one cluster and a client that dials in, in one goroutine
// and virtual time. The client's messages go to the member that the router chose.
type group struct {
	*pair
	members []*member
	router  int  // index of the member that gets the client's messages
	gone    bool // the client is
	// unit: the members are one gateway. serves is what they serve, dialupServer when
	// it is nil.
	unit   bool
	serves func() *Connection
	// nat is in front of the client; nil for none.
	nat *dialupNAT
}

// member is a gateway with its replication machine.
type member struct {
	*gateway
	g       *group
	replica *Replica
	id      ipsec.MemberID
	dead    bool
	deaf    bool                  // to other members
	heard   func(payload []byte)  // looks at each message for the client
	ours    map[netip.Prefix]bool // routes of tunnels that the member owns
	frames  []ha.Frame
	relayed []Relay
	saved   ha.HardState
	// frozen: the replication machine's orders wait, in owed.
	frozen bool
	owed   []ReplicaReady
}

func newGroup(t testing.TB, n int, change ...func(*Connection)) *group {
	serves := func() *Connection { return changed(dialupServer(), change) }
	return assemble(&group{serves: serves}, t, n, changed(dialupClient(), change))
}

// assemble fills g with members, and a client with a connection.
func assemble(g *group, t testing.TB, n int, client *Connection) *group {
	g.pair = &pair{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	g.client = g.gateway("client", 99, client)
	var all ha.Members
	for i := range n {
		all = all.With(ipsec.MemberID(i + 1))
	}
	for i := range n {
		g.members = append(g.members, g.member(ipsec.MemberID(i+1), all))
	}
	for _, m := range g.members {
		m.stepReplica(Reconfigured{Policy: m.shard.policy.Policy})
	}
	g.pass(5 * time.Second)
	return g
}

func changed(c *Connection, change []func(*Connection)) *Connection {
	for _, f := range change {
		f(c)
	}
	return c
}

func (g *group) member(id ipsec.MemberID, all ha.Members) *member {
	g.t.Helper()
	c := dialupServer()
	if g.serves != nil {
		c = g.serves()
	}
	c.Sync, c.Shared = true, 7
	config := ha.Config{Group: 1, Member: id, Members: all, NewDisk: ha.DiskID(id) + 100}
	if g.unit {
		config.Unit = &ha.Unit{Priority: 200 - uint8(id), Serial: fmt.Sprint(id)}
	}
	node, err := ha.New(config, ha.HardState{})
	if err != nil {
		g.t.Fatal(err)
	}
	m := &member{g: g, id: id, ours: make(map[netip.Prefix]bool)}
	m.gateway = &gateway{
		p: g.pair, name: string(rune('A' + id - 1)), routes: make(map[netip.Prefix]bool),
		plane: mem.New(mem.Options{Now: func() time.Time { return g.now }}),
	}
	addresses := NewMemberAddressTable(id)
	m.shard = NewShard(ShardOptions{
		Count: 1, Member: id, Policy: NewPolicy(c), Names: NewMemberNameTable(id), Addresses: addresses, Replicated: true, Unit: g.unit,
		Env: ike.Env{Rand: rand.NewChaCha8([32]byte{byte(id)}), Boot: 1}, Log: slog.New(slog.DiscardHandler),
	})
	m.replica = NewReplica(node, id, NewPolicy(c), addresses, slog.New(slog.DiscardHandler))
	plane := offload.Config{Member: id, Boot: 1, Addresses: []netip.Addr{serverAddr, clientAddr}}
	if _, err := m.plane.Configure(context.Background(), plane); err != nil {
		g.t.Fatal(err)
	}
	return m
}

// step gives an input to the shard and carries out what follows.
func (m *member) step(in Input) {
	rd := m.shard.Step(m.g.now, in)
	m.changeRoutes(rd.AddRoutes, nil)
	m.out = append(m.out, rd.Send...)
	for _, p := range rd.Publish {
		m.stepReplica(Published{p})
	}
	for _, s := range rd.Foreign {
		m.stepReplica(s)
	}
	m.changeRoutes(nil, rd.DelRoutes)
	for _, r := range rd.YieldRoutes {
		delete(m.ours, r.Prefix)
	}
	for _, op := range rd.Plane {
		m.step(PlaneDone{Results: []Result{m.call(op)}})
	}
	for _, s := range rd.Supersede {
		m.step(s)
	}
}

func (m *member) changeRoutes(add, del []Route) {
	for _, r := range add {
		m.routes[r.Prefix] = true
		m.ours[r.Prefix] = m.ours[r.Prefix] || !r.Standby
	}
	for _, r := range del {
		delete(m.routes, r.Prefix)
		delete(m.ours, r.Prefix)
	}
}

func (m *member) call(op Op) Result {
	ctx, epoch := context.Background(), offload.Epoch(m.replica.node.Epoch())
	r := Result{ID: op.ID}
	switch op.kind() {
	case 0:
		r.Placements, r.Err = m.plane.Install(ctx, epoch, offload.Active, op.Install...)
	case 1:
		r.Placements, r.Err = m.plane.Update(ctx, epoch, op.Update...)
	default:
		r.Counters, r.Err = m.plane.Delete(ctx, epoch, op.Delete...)
	}
	return r
}

// stepReplica gives an input to the replication machine and carries out what
// follows.
func (m *member) stepReplica(in ReplicaInput) {
	rd := m.replica.Step(m.g.now, in)
	if rd.Hard != nil {
		m.saved = *rd.Hard
	}
	switch {
	case len(rd.Orders) == 0:
	case m.frozen:
		m.owed = append(m.owed, rd)
	default:
		defer m.carryOut(rd)()
	}
	m.changeRoutes(rd.AddRoutes, nil)
	m.frames = append(m.frames, rd.Frames...)
	m.out = append(m.out, rd.Send...)
	m.relayed = append(m.relayed, rd.Relay...)
	if rd.Health != nil && m.g.unit {
		m.step(Rest{On: !rd.Health.Fit})
	}
	for _, s := range rd.Shards {
		m.step(s.Input)
	}
	if rd.Inventoried {
		m.step(Inventory{rd.Inventory})
	}
	m.changeRoutes(nil, rd.DelRoutes)
}

// carryOut does what the replication machine orders, and returns what tells it so.
func (m *member) carryOut(rd ReplicaReady) (tell func()) {
	e := &Engine{o: Options{Plane: m.plane, Log: slog.New(slog.DiscardHandler)}}
	e.epoch.Store(uint64(rd.Epoch))
	refused := e.order(context.Background(), rd.Orders)
	return func() { m.stepReplica(Node{ha.Carried{Serial: rd.Serial, Refused: refused}}) }
}

// thaw carries out the orders that waited.
func (m *member) thaw() {
	m.frozen = false
	for _, rd := range m.owed {
		m.carryOut(rd)()
	}
	m.owed = nil
}

// deliver carries messages, frames and events until there are none.
func (g *group) deliver() {
	g.t.Helper()
	for range 10000 {
		if !g.deliverOnce() {
			return
		}
	}
	g.t.Fatal("the group does not come to rest")
}

func (g *group) deliverOnce() bool {
	moved := g.client.events() > 0
	out := g.client.out
	g.client.out = nil
	if g.gone {
		out = nil
	}
	for _, dg := range out {
		moved = true
		if m := g.members[g.router]; !m.dead {
			m.step(Packets{Datagrams: []ike.Datagram{g.nat.out(ike.Datagram{Local: dg.Remote, Remote: dg.Local, Payload: dg.Payload})}})
		}
	}
	for _, m := range g.members {
		moved = m.flush() || moved
	}
	return moved
}

// flush carries what a member sends, and its dataplane's events.
func (m *member) flush() bool {
	if m.dead {
		m.out, m.frames, m.relayed = nil, nil, nil
		return false
	}
	out, frames, relayed := m.out, m.frames, m.relayed
	m.out, m.frames, m.relayed = nil, nil, nil
	for _, dg := range out {
		if m.g.gone {
			break
		}
		if m.heard != nil {
			m.heard(dg.Payload)
		}
		m.g.client.step(Packets{Datagrams: []ike.Datagram{m.g.nat.in(ike.Datagram{Local: dg.Remote, Remote: dg.Local, Payload: dg.Payload})}})
	}
	for _, f := range frames {
		if to := m.g.members[f.To-1]; !to.dead && !to.deaf {
			to.stepReplica(Node{ha.Received{Frame: f}})
		}
	}
	for _, r := range relayed {
		if r.To < 1 || int(r.To) > len(m.g.members) {
			continue // a cookie of the client's looks like a member's
		}
		if to := m.g.members[r.To-1]; !to.dead {
			to.step(Packets{Datagrams: []ike.Datagram{r.Datagram}, Relayed: true})
		}
	}
	events := m.plane.Drain()
	for _, ev := range events {
		m.step(PlaneEvent{ev})
		m.stepReplica(Noticed{ev})
	}
	return len(out)+len(frames)+len(relayed)+len(events) > 0
}

// pass lets time go by, with all timers on the way.
func (g *group) pass(d time.Duration) {
	g.t.Helper()
	for end := g.now.Add(d); ; {
		next := end
		due := func(at time.Time) {
			if !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		due(g.client.shard.NextTimeout())
		for _, m := range g.members {
			if !m.dead {
				due(m.shard.NextTimeout())
				due(m.replica.NextTimeout())
			}
		}
		if next.After(g.now) {
			g.now = next
		}
		g.client.step(Timeout{})
		for _, m := range g.members {
			if !m.dead {
				m.step(Timeout{})
				m.stepReplica(Node{ha.Timeout{}})
			}
		}
		g.deliver()
		if !g.now.Before(end) {
			return
		}
	}
}

func (g *group) dial() TunnelStatus {
	g.t.Helper()
	g.client.step(Reload{g.client.shard.policy.Policy})
	g.deliver()
	g.pass(100 * time.Millisecond)
	return g.client.only()
}

func (m *member) tunnels() []TunnelStatus { return m.shard.Tunnels(m.g.now) }

// roles are those of all SAs in a member's dataplane.
func (m *member) roles() map[offload.Role]int {
	out := make(map[offload.Role]int)
	for _, c := range m.inventory() {
		out[c.Role]++
	}
	return out
}

func TestTunnelIsOnAllMembersBeforeTheClientKnows(t *testing.T) { // F2, I6
	g := newGroup(t, 3)
	g.members[0].onSend = nil
	g.client.step(Reload{g.client.shard.policy.Policy})
	for range 100 {
		if !g.deliverOnce() {
			break
		}
		if len(g.client.inventory()) == 0 {
			continue
		}
		for _, m := range g.members[1:] {
			if r := m.roles(); r[offload.Standby] != 2 {
				t.Fatalf("the client has its SAs, and member %s holds %v, want two that stand by", m.name, r)
			}
		}
	}
	if r := g.members[0].roles(); r[offload.Active] != 2 {
		t.Errorf("the member that was dialed holds %v, want two active SAs", r)
	}
	if ts := g.members[0].tunnels(); len(ts) != 1 || ts[0].Name != "vpn1_1" {
		t.Errorf("the first member has %+v, want vpn1_1", ts)
	}
}

func TestSurvivorGoesOnWithTheSameSAs(t *testing.T) { // F5, F12, F23, C1
	g := newGroup(t, 3)
	before := g.dial()
	a, b := g.members[0], g.members[1]
	in := a.tunnels()[0].Children[0].In.SA.ID
	out := a.tunnels()[0].Children[0].Out.SA.ID
	for seq := uint64(1); seq <= 3; seq++ {
		if err := a.plane.Inbound(in, seq); err != nil {
			t.Fatal(err)
		}
	}
	a.stepReplica(Counted{a.inventory()})
	g.pass(2 * time.Second)
	a.dead = true
	g.pass(500 * time.Millisecond) // the others notice
	g.router = 1
	if err := b.plane.Inbound(in, 4); err != nil {
		t.Fatalf("the client's next packet is refused: %v", err)
	}
	pkt, err := b.plane.Outbound(out)
	if err != nil || pkt.Seq != ipsec.LeaseSize+1 {
		t.Errorf("the survivor sends number %#x (%v), want %#x", pkt.Seq, err, ipsec.LeaseSize+1)
	}
	g.deliver()
	g.pass(time.Second)
	ts := b.tunnels()
	if len(ts) != 1 || ts[0].Name != "vpn1_1" || ts[0].ID != before.IKE.ID && ts[0].IKE.SPIi != before.IKE.SPIi {
		t.Fatalf("the survivor has %+v, want the same tunnel", ts)
	}
	if n := len(g.members[2].tunnels()); n != 0 {
		t.Errorf("the other survivor owns %d tunnels too", n)
	}
	if err := b.plane.Inbound(in, 2); err == nil {
		t.Error("a packet from before the last checkpoint is accepted again")
	}
	g.client.step(Rekey{Name: "office"})
	g.client.step(Rekey{Name: "office", IKE: true})
	g.deliver()
	g.pass(10 * time.Second)
	after := g.client.only()
	if after.ID != before.ID || after.IKE.SPIi == before.IKE.SPIi || after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Error("the survivor did not rekey the client's tunnel")
	}
}

func TestIKEMessageForAnotherMemberFindsIt(t *testing.T) { // F9
	g := newGroup(t, 2)
	before := g.dial()
	g.router = 1 // the router sends the client's messages elsewhere from now on
	g.client.step(Rekey{Name: "office"})
	g.deliver()
	g.pass(10 * time.Second)
	after := g.client.only()
	if after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Error("the rekeying did not find the owner")
	}
	if n := len(g.members[1].tunnels()); n != 0 {
		t.Errorf("the member that relayed owns %d tunnels now, want 0: the owner lives", n) // B5
	}
}

func TestIKEMessageAfterTheOwnersDeathTakesTheTunnelOver(t *testing.T) { // F5
	g := newGroup(t, 2)
	before := g.dial()
	g.members[0].dead = true
	g.pass(500 * time.Millisecond)
	g.router = 1
	g.client.step(Rekey{Name: "office"})
	g.deliver()
	g.pass(10 * time.Second)
	after := g.client.only()
	if after.ID != before.ID || after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Error("the survivor did not answer the rekeying")
	}
}

func TestRoutesOfStandbysComeAndGoWithTheTunnel(t *testing.T) { // C13
	g := newGroup(t, 2)
	g.dial()
	if !g.members[1].routes[clientNet] {
		t.Error("the standby has no route to the client's network")
	}
	g.client.step(Down{Name: "office"})
	g.deliver()
	g.pass(time.Second)
	for _, m := range g.members {
		if len(m.routes) != 0 || len(m.inventory()) != 0 {
			t.Errorf("member %s still has routes %v and %d SAs", m.name, m.routes, len(m.inventory()))
		}
	}
}

func TestRoutesSayWhoOwnsTheTunnel(t *testing.T) { // F12, F23
	g := newGroup(t, 2)
	g.dial()
	a, b := g.members[0], g.members[1]
	want := func(when string, owner, other *member) {
		t.Helper()
		if !owner.ours[clientNet] {
			t.Errorf("%s: %s's route is not that of an owner", when, owner.name)
		}
		if other.ours[clientNet] || !other.routes[clientNet] {
			t.Errorf("%s: %s has a route: %t, of an owner: %t; want that of a standby", when, other.name, other.routes[clientNet], other.ours[clientNet])
		}
	}
	want("after the dialing", a, b)
	in := a.tunnels()[0].Children[0].In.SA.ID
	g.pass(2 * time.Second)
	a.dead = true
	g.pass(500 * time.Millisecond)
	if err := b.plane.Inbound(in, 1); err != nil {
		t.Fatal(err)
	}
	g.deliver()
	g.pass(time.Second)
	a.dead = false // it was only cut off, and finds another owner
	g.pass(30 * time.Second)
	want("after the healing", b, a)
}
