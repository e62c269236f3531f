package engine

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// journal is a Journal in memory, which reads as the next life reads it.
type journal struct {
	tunnels map[ipsec.TunnelID]*ha.Restored
	ceiling uint64 // the highest
}

func (j *journal) note(p Publication) {
	for _, r := range p.records() {
		switch r := r.(type) {
		case ha.PutIKE:
			j.of(r.Tunnel).IKE = r.IKE
		case ha.PutChild:
			j.drop(r.Tunnel, r.Child.In.ID)
			j.of(r.Tunnel).Children = append(j.of(r.Tunnel).Children, r.Child)
			j.ceiling = max(j.ceiling, r.Child.Out.Sequence.Ceiling)
		case ha.DropChild:
			j.drop(r.Tunnel, r.Child)
		case ha.Remove:
			delete(j.tunnels, r.Tunnel)
		}
	}
}

func (j *journal) of(id ipsec.TunnelID) *ha.Restored {
	if j.tunnels[id] == nil {
		j.tunnels[id] = &ha.Restored{Tunnel: id}
	}
	return j.tunnels[id]
}

func (j *journal) drop(id ipsec.TunnelID, in ipsec.SAID) {
	t := j.of(id)
	var rest []ha.Child
	for _, c := range t.Children {
		if c.In.ID != in {
			rest = append(rest, c)
		}
	}
	t.Children = rest
}

// newJournaledPair has a server that keeps its state.
func newJournaledPair(t *testing.T) *pair {
	t.Helper()
	p := newPair(t)
	p.server.journal = &journal{tunnels: make(map[ipsec.TunnelID]*ha.Restored)}
	p.server.shard = journaledShard(1)
	return p
}

func journaledShard(boot uint32) *Shard {
	return NewShard(ShardOptions{
		Count: 1, Epoch: offload.NewEpoch(1, 0), Policy: NewPolicy(dialupServer()), Names: NewNameTable(), Journaled: true,
		Env: ike.Env{Rand: rand.NewChaCha8([32]byte{byte(boot), 7}), Boot: boot}, Log: slog.New(slog.DiscardHandler),
	})
}

// restart is the death of the server's daemon and the start of the next one, who
// finds the dataplane as it was.
func (p *pair) restart(boot uint32, age time.Duration) {
	p.t.Helper()
	p.server.shard, p.server.out, p.server.routes = journaledShard(boot), nil, make(map[netip.Prefix]bool)
	for _, r := range p.server.journal.tunnels {
		p.server.step(Restore{Tunnel: *r, Age: age})
	}
	p.server.step(Inventory{p.server.inventory()})
	p.deliver()
}

// wantSame checks that the client noticed nothing.
func (p *pair) wantSame(before TunnelStatus) {
	p.t.Helper()
	after := p.client.only()
	if after.IKE.SPIi != before.IKE.SPIi || after.Children[0].In.SA.ID != before.Children[0].In.SA.ID {
		p.t.Error("the client has another IKE SA or other SAs than before")
	}
}

func TestTheNextLifeGoesOnWithTheTunnels(t *testing.T) { // B6
	p := newJournaledPair(t)
	client, server := p.dial()
	out := server.Children[0].Out.SA.ID
	for range 3 {
		if _, err := p.server.plane.Outbound(out); err != nil {
			t.Fatal(err)
		}
	}
	p.restart(2, 0)
	p.wantSame(client)
	p.server.wantSAs(2)
	if !p.server.routes[clientNet] {
		t.Error("the next life has no route to the client")
	}
	if now := p.server.only(); now.Name != "vpn1_0" || now.Number != server.Number {
		t.Errorf("the tunnel is %q with number %d, want vpn1_0 with %d", now.Name, now.Number, server.Number)
	}
	pkt, err := p.server.plane.Outbound(out)
	if err != nil || pkt.Seq != 4 {
		t.Errorf("the dataplane sends number %d (%v), want 4 as if nothing had been", pkt.Seq, err)
	}
	// The IKE SA works both ways, and is there for the life after the next one.
	p.server.step(Rekey{Name: "vpn1"})
	p.deliver()
	p.client.step(Rekey{Name: "office", IKE: true})
	p.deliver()
	p.pass(time.Minute) // replaced SAs linger
	p.server.wantSAs(2)
	p.restart(3, 0)
	p.client.step(Rekey{Name: "office"})
	p.deliver()
	p.pass(time.Minute)
	p.server.wantSAs(2)
	p.client.wantSAs(2)
	p.client.step(Down{Name: "office"})
	p.deliver()
	if len(p.server.journal.tunnels) != 0 || len(p.server.inventory()) != 0 {
		t.Errorf("a tunnel that has ended leaves %d tunnels to the next life", len(p.server.journal.tunnels))
	}
}

func TestThePeerHearsNothingThatTheNextLifeDoesNotKnow(t *testing.T) { // B6, B2
	p := newJournaledPair(t)
	p.server.onSend = func(ike.Datagram) {
		if ts := p.server.shard.Tunnels(p.now); ts[0].Name == "" {
			return // half open
		}
		for _, r := range p.server.journal.tunnels {
			if r.IKE.Class == "vpn1" && len(r.Children) == 1 && r.Children[0].Out.Sequence.Ceiling == ipsec.LeaseSize {
				return
			}
		}
		t.Error("the response leaves before the tunnel, its pair and its lease are kept")
	}
	p.dial()
}

func TestALeaseIsKeptBeforeTheDataplaneHasIt(t *testing.T) { // B6, B1
	p := newJournaledPair(t)
	_, server := p.dial()
	out := server.Children[0].Out.SA.ID
	p.server.hold = true
	p.server.step(PlaneEvent{offload.LeaseLow{ID: out, Next: ipsec.LeaseSize - 5}})
	if len(p.server.held) != 1 || p.server.journal.ceiling != 2*ipsec.LeaseSize {
		t.Errorf("the journal knows of numbers up to %d, want %d", p.server.journal.ceiling, 2*ipsec.LeaseSize)
	}
	p.server.release()
}

func TestTheAgeOfWhatWasKeptCounts(t *testing.T) { // B6
	p := newJournaledPair(t)
	client, _ := p.dial()
	p.now = p.now.Add(10 * time.Minute)
	p.restart(2, 10*time.Minute)
	p.wantSame(client)
	if age := p.server.only().IKE.Age; age != 10*time.Minute {
		t.Errorf("the IKE SA is %v old, want ten minutes", age)
	}
}

// TestSAsThatTheDataplaneLostMeanwhileAreRenewed: the next life does not know what
// had been accepted on them.
func TestSAsThatTheDataplaneLostMeanwhileAreRenewed(t *testing.T) { // B6, I9
	p := newJournaledPair(t)
	before, server := p.dial()
	if _, err := p.server.plane.Delete(t.Context(), offload.NewEpoch(1, 0), server.Children[0].In.SA.ID, server.Children[0].Out.SA.ID); err != nil {
		t.Fatal(err)
	}
	p.restart(2, 0)
	p.pass(time.Minute)
	p.server.wantSAs(2)
	after := p.client.only()
	if after.IKE.SPIi != before.IKE.SPIi || after.Children[0].In.SA.ID == before.Children[0].In.SA.ID {
		t.Error("want the same IKE SA and another pair")
	}
}

func TestATunnelOfAnotherConfigurationIsClosed(t *testing.T) { // B6
	p := newJournaledPair(t)
	p.dial()
	for _, r := range p.server.journal.tunnels {
		f, err := readFacts(r.IKE.Facts)
		if err != nil || f.Hash != "server" {
			t.Fatalf("The journal has the facts %+v (%v), want the server's.", f, err)
		}
		f.Hash = "older"
		r.IKE.Facts = f.marshal()
	}
	p.restart(2, 0)
	p.server.wantSAs(0)
	p.client.wantSAs(0)
}

func TestWhatNobodyKnowsGoes(t *testing.T) { // B6
	p := newJournaledPair(t)
	p.dial()
	clear(p.server.journal.tunnels)
	p.restart(2, 0)
	p.server.wantSAs(0)
}
