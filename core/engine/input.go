package engine

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// Input is what may happen to a Shard.
type Input interface{ input() }

type (
	// Packets are IKE messages for this shard.
	Packets struct {
		Datagrams []ike.Datagram
		// Relayed: they came to another member.
		Relayed bool
		// Again: another shard had them before, and does not know them.
		Again bool
	}

	// Restore brings a tunnel to life that is ours now, Lose forgets one that is
	// not any more.
	Restore struct {
		Tunnel ha.Restored
		// Age is that of the IKE SA's state.
		Age time.Duration
		// Routes are those that it had here as a standby.
		Routes []Route
		// Have are the SAs that the dataplane has, by their generations, where it was
		// asked since the tunnel became ours; what it lacks is put back. Nil: it was not.
		Have map[ipsec.SAID]uint64
	}

	// Lose is above.
	Lose struct {
		Tunnel ipsec.TunnelID
		// Gone: it has ended, and nobody owns it.
		Gone bool
	}

	// Raised is a lease that the other members agreed to: its Ceiling, and the Next with
	// which it begins, zero where it goes on from the one before.
	Raised struct {
		Tunnel   ipsec.TunnelID
		SA       ipsec.SAID
		Sequence ipsec.Sequence
	}

	// Ceilings says whether the dataplane stops at the ceilings of leases. For one that
	// does not, an SA has all of its numbers for its lease.
	Ceilings struct{ Unbounded bool }

	// Worn asks for new keys for a pair that cannot go on as it is.
	Worn struct{ Rekey ha.Rekey }

	// Timeout says that NextTimeout has come.
	Timeout struct{}

	// PlaneDone answers the operations of a Ready, one result each.
	PlaneDone struct{ Results []Result }

	// PlaneEvent is what the dataplane noticed. Every shard gets it; those that
	// do not own the SA pass over it.
	PlaneEvent struct{ Event offload.Event }

	// Checkpoint brings counters of this shard's tunnels, some of all at a time.
	Checkpoint struct{ Counters []offload.Counters }

	// Inventory is a Checkpoint that is complete: what is not in it is not in
	// the dataplane. It follows a Reset or an Overrun.
	Inventory struct{ Counters []offload.Counters }

	// Reload replaces the policy. Tunnels whose connection is gone or has
	// another hash are closed; the others stay.
	Reload struct{ Policy *Policy }

	// Up initiates a connection by name. The shards that have nothing of that
	// name pass over it, here and below; Ready.Matched counts what there was.
	Up struct{ Name string }

	// Down closes a tunnel, or all tunnels of a connection, by name.
	Down struct{ Name string }

	// Rekey makes new keys for a tunnel, or for all tunnels of a connection: for
	// its IKE SA, or for all its children.
	Rekey struct {
		Name string
		IKE  bool
	}

	// Drain closes all tunnels, telling the peers. With Keep those that other
	// members go on with are only forgotten.
	Drain struct{ Keep bool }

	// Supersede ends the tunnels of a connection with a peer that has made a
	// new one, Except.
	Supersede struct {
		Connection string
		Remote     ike.Identity
		Except     ipsec.TunnelID
	}
)

func (Packets) input()    {}
func (Restore) input()    {}
func (Lose) input()       {}
func (Raised) input()     {}
func (Ceilings) input()   {}
func (Worn) input()       {}
func (Timeout) input()    {}
func (PlaneDone) input()  {}
func (PlaneEvent) input() {}
func (Checkpoint) input() {}
func (Inventory) input()  {}
func (Reload) input()     {}
func (Up) input()         {}
func (Down) input()       {}
func (Rekey) input()      {}
func (Drain) input()      {}
func (Supersede) input()  {}

// OpID names an operation of a shard on the dataplane.
type OpID uint64

// Op is one operation on the dataplane. Operations are carried out in order;
// neighbours of one kind may share a call.
type Op struct {
	ID      OpID
	Install []ipsec.SA
	Update  []offload.Change
	Delete  []ipsec.SAID
}

// Result answers an Op. Err is set when the call itself failed: then nothing is
// known of the single SAs.
type Result struct {
	ID         OpID
	Placements []offload.Placement
	Counters   []offload.Counters
	Err        error
}

// Route is a network behind a peer.
type Route struct {
	Prefix netip.Prefix
	// Peer is the outer address, which must not itself be routed into the
	// tunnel.
	Peer   netip.Addr
	Tunnel ipsec.TunnelID
	Name   string // of the tunnel
	Metric int
	// Standby: another member owns the tunnel.
	Standby bool
}

// Ready is what one step asks for, in the order in which it must be done.
type Ready struct {
	AddRoutes []Route
	Send      []ike.Datagram
	DelRoutes []Route
	// YieldRoutes are of tunnels that belong to other members now. They stay, as
	// far as they are there.
	YieldRoutes []Route
	Plane       []Op
	// Publish goes to the other members; what it holds back for the peers is sent
	// when they have it.
	Publish []Publication
	// Foreign are messages for IKE SAs of other members.
	Foreign []Strange
	// Misplaced are messages for tunnels that may be another shard's.
	Misplaced []Misplaced
	// Supersede goes to all shards, this one included.
	Supersede []Supersede
	// Matched is how many tunnels or connections an Up, Down or Rekey meant.
	Matched int
}
