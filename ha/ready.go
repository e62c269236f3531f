package ha

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Ready is what one step asks for. The caller carries it out in the order of
// the fields: that order is part of the safety argument. The Ready and all in
// it belong to the caller.
type Ready struct {
	// Hard goes to stable storage before anything else is done (I3).
	Hard *HardState

	// Journal is what a next life should find on disk of our own tunnels, if the
	// configuration asks for it: PutIKE, PutChild, DropChild and Remove, the latter for
	// what is ours no more. It is written before what follows.
	Journal []Record

	// Orders go to the dataplane, in order, and behind those of earlier Readys.
	// When they are carried out, and with them whatever a dataplane refused,
	// Carried{Serial} is the next input. A dataplane that is down is waited for.
	Orders []Order
	Serial uint64

	// Send goes to other members. Nothing is lost for good when a frame is.
	Send []Frame

	// Lost are tunnels that were ours: the engine forgets them without a word to
	// their peers, and drops the messages that wait. They live on as standby SAs in the dataplane.
	Lost []ipsec.TunnelID
	// Gone are tunnels that were removed by their owner elsewhere.
	Gone []ipsec.TunnelID
	// Answers are those of tunnels that their owners removed, as Delete had them.
	// They come before Gone, also of tunnels that were not here.
	Answers [][]byte

	// Copied are tunnels of others whose IKE SA is new or changed here, Dropped those
	// of others that we hold no more.
	Copied, Dropped []ipsec.TunnelID

	// Index is that of the record which this step's Store or Delete made, 0 for
	// none. What the peer is told because of it waits for Commit.
	Index Index
	// Commit releases all messages that wait for this Index or a lower one.
	// Unprotected is how many of those that it releases newly are not on as many
	// members as they should be.
	Commit      Index
	Unprotected int

	// Restore are tunnels that are ours now: the engine brings their IKE SA to
	// life. Their SAs are active already. What it was brought to life with may
	// be nowhere else, so it is stored anew, and nothing is sent before that is
	// committed, not even an answer that was given before.
	Restore []Restored
	// Rekey are SAs, by their inbound ones, that cannot go on and need new keys,
	// which are always safe.
	Rekey []Rekey

	// Health is set when it changed: whether the network may route to us.
	Health *Health
}

// Restored is a tunnel that changed its owner to us. Its children are as they
// are in the dataplane by now. Out.Sequence is what they may send: up to Ceiling, from
// Next, or where the dataplane stands if that is zero.
type Restored struct {
	Tunnel   ipsec.TunnelID
	Epoch    Epoch
	IKE      IKE
	Children []Child
	// Behind: its last owner may have gone on after what we have.
	Behind bool
	// Age is that of the IKE SA's state, where it was on disk.
	Age time.Duration
}

// Rekey names a pair that needs a successor.
type Rekey struct {
	Tunnel ipsec.TunnelID
	Child  ipsec.SAID
	Why    Worn
}

// Worn says why an SA needs new keys.
type Worn uint8

// The reasons.
const (
	// Exhausted: its numbers come to their end.
	Exhausted Worn = iota + 1
	// HolderAway: a member that holds it cannot be asked.
	HolderAway
	// HolderForgot: a member that held it cannot tell what it sent.
	HolderForgot
	// NoNonces: our dataplane cannot keep its nonces apart from those of others.
	NoNonces
	// NotEntrusted: it came by way of a third member after its owner had died.
	NotEntrusted
	// NoCeiling: our dataplane does not stop where our share of its numbers ends.
	NoCeiling
)

// String says it in words.
func (w Worn) String() string {
	switch w {
	case Exhausted:
		return "sequence numbers end"
	case HolderAway:
		return "a member that holds it is away"
	case HolderForgot:
		return "a member may have used it and forgot"
	case NoNonces:
		return "the dataplane cannot keep its nonces apart"
	case NoCeiling:
		return "the dataplane stops at no ceiling"
	case NotEntrusted:
		return "its owner never gave it to us"
	default:
		return "unknown reason"
	}
}

// Health says whether this member may be routed to, and why not.
type Health struct {
	Fit bool
	Why string
	// Handing, where it is not fit: another member takes over from it, and what comes
	// here meanwhile still finds its way.
	Handing bool
}

// OrderKind says what an Order does. Each is one call of the dataplane.
type OrderKind uint8

// The kinds.
const (
	// Install adds SAs as standby.
	Install OrderKind = iota + 1
	// Update makes changes.
	Update
	// Discard deletes SAs.
	Discard
	// Arm lets the tunnels of Group start with their first packet.
	Arm
	// Disarm ends that: all SAs of Group are standby, and wait.
	Disarm
	// Promote makes all standby SAs of Group active now.
	Promote
)

// Order is one call of the dataplane, under Epoch, which never falls.
type Order struct {
	Kind    OrderKind
	Epoch   Epoch
	Group   ipsec.MemberID // Arm, Disarm, Promote
	SAs     []ipsec.SA     // Install
	Changes []Change       // Update
	IDs     []ipsec.SAID   // Discard
}

// Change of one SA. What is nil stays.
type Change struct {
	ID       ipsec.SAID
	Active   *bool // or standby
	Group    *ipsec.MemberID
	Sequence *ipsec.Sequence // merges: nothing moves backwards
	Endpoint *Endpoint
	MTU      *uint16
}
