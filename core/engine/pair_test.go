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
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
)

// pair is a client and a dialup server, each a Shard over a dataplane in
// memory, joined by a network that loses nothing, in virtual time.
type pair struct {
	t              testing.TB
	now            time.Time
	client, server *gateway
}

// gateway is a Shard with what its shell would hold.
type gateway struct {
	p      *pair
	name   string
	shard  *Shard
	plane  *mem.Engine
	routes map[netip.Prefix]bool
	out    []ike.Datagram
	// held operations wait for release, when hold is set.
	hold bool
	held []Op
	// journal is what the next life finds, nil for a gateway that keeps nothing.
	journal *journal
	// onSend looks at each message as it leaves.
	onSend func(ike.Datagram)
}

var (
	serverAddr = netip.MustParseAddr("192.0.2.1")
	clientAddr = netip.MustParseAddr("198.51.100.2")
	clientNet  = netip.MustParsePrefix("10.10.1.0/24")
	serverNet  = netip.MustParsePrefix("172.31.0.0/16")
)

func dialupServer() *Connection {
	return &Connection{
		Connection: connection("vpn1", serverAddr, netip.Addr{}, ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			Remote: []ipsec.TrafficSelector{ipsec.AnySelector(false)},
		}),
		Dialup: true, AddRoute: true, Hash: "server",
	}
}

func dialupClient() *Connection {
	return &Connection{
		Connection: connection("office", clientAddr, serverAddr, ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(clientNet)},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(serverNet)},
		}),
		AddRoute: true, AutoNegotiate: []string{"lan"}, Hash: "client",
	}
}

func connection(name string, local, remote netip.Addr, s ipsec.Selectors) *ike.Connection {
	phase1, err1 := ipsec.ParseIKEProposal("aes128-sha256")
	phase2, err2 := ipsec.ParseESPProposal("aes128gcm")
	if err1 != nil || err2 != nil {
		panic(fmt.Sprint(err1, err2))
	}
	phase2.Transforms = append(phase2.Transforms, ipsec.Transform{Type: ipsec.TypeESN, ID: ipsec.NoESN})
	return &ike.Connection{
		Name: name, Local: local, Remote: remote, PSK: ipsec.CopyKey([]byte("secret")),
		Proposals: []ipsec.Proposal{phase1.WithGroups(ipsec.GroupX25519)},
		Lifetime:  ipsec.Lifetime{Hard: ipsec.Limits{Time: 24 * time.Hour}},
		DPD:       ike.DPD{Mode: ike.DPDOff},
		Children: []*ike.Child{{
			Name: "lan", Proposals: []ipsec.Proposal{phase2}, Selectors: s,
			Lifetime: ipsec.Lifetime{Hard: ipsec.Limits{Time: time.Hour}},
		}},
	}
}

func newPair(t testing.TB) *pair {
	p := &pair{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	p.server = p.gateway("server", 1, dialupServer())
	p.client = p.gateway("client", 2, dialupClient())
	return p
}

func (p *pair) gateway(name string, seed byte, cs ...*Connection) *gateway {
	g := &gateway{
		p: p, name: name, routes: make(map[netip.Prefix]bool),
		plane: mem.New(mem.Options{Now: func() time.Time { return p.now }}),
		shard: NewShard(ShardOptions{
			Count: 1, Epoch: offload.NewEpoch(1, 0), Policy: NewPolicy(cs...), Names: NewNameTable(),
			Env: ike.Env{Rand: rand.NewChaCha8([32]byte{seed}), Boot: 1}, Log: slog.New(slog.DiscardHandler),
		}),
	}
	g.configure(1)
	return g
}

func (g *gateway) configure(boot uint32) {
	g.p.t.Helper()
	if _, err := g.plane.Configure(context.Background(), offload.Config{Boot: boot, Addresses: []netip.Addr{serverAddr, clientAddr}}); err != nil {
		g.p.t.Fatalf("configure the dataplane of %s: %v", g.name, err)
	}
}

// step gives an input and carries out what follows, as run.go does.
func (g *gateway) step(in Input) Ready {
	rd := g.shard.Step(g.p.now, in)
	for _, r := range rd.AddRoutes {
		g.routes[r.Prefix] = true
	}
	send := rd.Send
	for _, p := range rd.Publish {
		g.journal.note(p)
		send = append(send, p.Send...)
	}
	for _, dg := range send {
		if g.onSend != nil {
			g.onSend(dg)
		}
		g.out = append(g.out, dg)
	}
	for _, r := range rd.DelRoutes {
		delete(g.routes, r.Prefix)
	}
	if g.hold {
		g.held = append(g.held, rd.Plane...)
	} else {
		g.call(rd.Plane)
	}
	for _, s := range rd.Supersede {
		g.step(s)
	}
	return rd
}

func (g *gateway) call(ops []Op) {
	ctx, epoch := context.Background(), offload.NewEpoch(1, 0)
	for _, op := range ops {
		r := Result{ID: op.ID}
		switch op.kind() {
		case 0:
			r.Placements, r.Err = g.plane.Install(ctx, epoch, offload.Active, op.Install...)
		case 1:
			r.Placements, r.Err = g.plane.Update(ctx, epoch, op.Update...)
		default:
			r.Counters, r.Err = g.plane.Delete(ctx, epoch, op.Delete...)
		}
		g.step(PlaneDone{Results: []Result{r}})
	}
}

// release lets the held operations through.
func (g *gateway) release() {
	ops := g.held
	g.hold, g.held = false, nil
	g.call(ops)
}

// deliver carries messages until there are none, and the dataplanes' events to
// their shards.
func (p *pair) deliver() {
	p.t.Helper()
	for range 1000 {
		c, s := p.client.out, p.server.out
		p.client.out, p.server.out = nil, nil
		events := p.client.events() + p.server.events()
		if len(c)+len(s)+events == 0 {
			return
		}
		for _, dg := range c {
			p.server.step(Packets{Datagrams: []ike.Datagram{{Local: dg.Remote, Remote: dg.Local, Payload: dg.Payload}}})
		}
		for _, dg := range s {
			p.client.step(Packets{Datagrams: []ike.Datagram{{Local: dg.Remote, Remote: dg.Local, Payload: dg.Payload}}})
		}
	}
	p.t.Fatal("the two ends do not come to rest")
}

func (g *gateway) events() int {
	evs := g.plane.Drain()
	for _, ev := range evs {
		g.step(PlaneEvent{ev})
	}
	return len(evs)
}

// pass lets time go by, with all timers on the way.
func (p *pair) pass(d time.Duration) {
	p.t.Helper()
	end := p.now.Add(d)
	for {
		next := end
		for _, g := range []*gateway{p.client, p.server} {
			if at := g.shard.NextTimeout(); !at.IsZero() && at.Before(next) {
				next = at
			}
		}
		p.now = next
		p.client.step(Timeout{})
		p.server.step(Timeout{})
		p.deliver()
		if !next.Before(end) {
			return
		}
	}
}

// dial lets the client dial in, and returns both ends.
func (p *pair) dial() (client, server TunnelStatus) {
	p.t.Helper()
	p.client.step(Reload{p.client.shard.policy.Policy})
	p.deliver()
	return p.client.only(), p.server.only()
}

// only is the one tunnel of a gateway that has one pair of SAs.
func (g *gateway) only() TunnelStatus {
	g.p.t.Helper()
	ts := g.shard.Tunnels(g.p.now)
	if len(ts) != 1 || len(ts[0].Children) != 1 {
		g.p.t.Fatalf("%s has %d tunnels, want one with one pair of SAs: %+v", g.name, len(ts), ts)
	}
	return ts[0]
}

func (g *gateway) inventory() []offload.Counters {
	var out []offload.Counters
	for c, err := range g.plane.Export(context.Background(), offload.AllGroups) {
		if err != nil {
			g.p.t.Fatalf("export of %s: %v", g.name, err)
		}
		out = append(out, c)
	}
	return out
}

// wantSAs checks the dataplane against what the shard believes.
func (g *gateway) wantSAs(n int) {
	g.p.t.Helper()
	inv := g.inventory()
	if len(inv) != n || len(g.shard.bySA) != n {
		g.p.t.Errorf("the dataplane of %s holds %d SAs and its shard knows %d, want %d", g.name, len(inv), len(g.shard.bySA), n)
	}
	for _, c := range inv {
		if g.shard.bySA[c.ID] == nil {
			g.p.t.Errorf("the dataplane of %s holds %v, which its shard does not know", g.name, c.ID)
		}
	}
}
