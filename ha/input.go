package ha

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Input is what may happen to a Node.
type Input interface{ input() }

// From the network and the clock.
type (
	// Received is a frame that came from an authenticated member.
	Received struct{ Frame Frame }

	// Timeout says that NextTimeout has come.
	Timeout struct{}
)

// From the engine, of tunnels that this member owns. What it hands over belongs
// to the Node.
type (
	// StoreIKE publishes the IKE SA of a tunnel, which is ours when it is new.
	// Heard is set when it changed because of the peer.
	StoreIKE struct {
		Tunnel ipsec.TunnelID
		IKE    IKE
		Heard  bool
	}

	// StoreChild publishes a pair that is installed here, with the lease that
	// its outbound SA has: Sequence.Ceiling, which must be Config.Lease or, when
	// the SA is replaced by a newer generation of itself, no more than it was.
	StoreChild struct {
		Tunnel  ipsec.TunnelID
		In, Out ipsec.SA
	}

	// DeleteChild takes back a pair by its inbound SA.
	DeleteChild struct {
		Tunnel ipsec.TunnelID
		Child  ipsec.SAID
	}

	// Delete takes back a whole tunnel. Final says that the peer knows of it: it
	// asked, or has been told. Answer is what the engine needs anywhere to answer
	// the peer again, if it asked; one that is longer than Limits.AnswerOctets is
	// kept by nobody.
	Delete struct {
		Tunnel ipsec.TunnelID
		Final  bool
		Answer []byte
	}

	// Moved is the peer's or our new outer address.
	Moved struct {
		Tunnel   ipsec.TunnelID
		Endpoint Endpoint
	}

	// Learned is a new path MTU.
	Learned struct {
		SA  ipsec.SAID
		MTU uint16
	}

	// Count brings the newest counters of some SAs.
	Count struct{ SAs []Counted }
)

// Left is an SA of the last life.
type Left struct {
	Tunnel ipsec.TunnelID
	// Sequence is which numbers an outbound one has come to.
	Sequence ipsec.Sequence
}

// From the dataplane, and about it.
type (
	// Carried says that the orders of a Ready, and all before, are carried out.
	// Refused are the SAs that were not installed.
	Carried struct {
		Serial  uint64
		Refused []ipsec.SAID
	}

	// Activated says that a tunnel of an armed group started by itself.
	Activated struct {
		Tunnel ipsec.TunnelID
		Group  ipsec.MemberID
	}

	// Stray says that traffic for a standby tunnel came here.
	Stray struct{ Tunnel ipsec.TunnelID }

	// LeaseLow asks for more numbers for an outbound SA.
	LeaseLow struct{ SA ipsec.SAID }

	// Plane says whether there is a dataplane that works. Without one we own
	// what we own, but are not fit to be routed to.
	Plane struct {
		Up bool
		// Bare: it holds no SA of an earlier life of ours.
		Bare bool
		// Left, unless nil, are the SAs of the last life in a dataplane that has outlived
		// it: those of our own tunnels send on. Only the first Plane of a life may say so.
		Left map[ipsec.SAID]Left
	}

	// Remembered is a tunnel that our last life owned, as its journal has it: Age old. It
	// comes before anything from the network, and counts only where the dataplane lives
	// on.
	Remembered struct {
		Return Return
		Age    time.Duration
	}

	// Keeps says what the dataplane does of what the group rests on.
	Keeps struct {
		// Nonces: how it keeps them apart from those of others.
		Nonces Nonces
		// Unbounded: it stops at no ceiling. Every SA of ours has all numbers for its
		// lease then, so that nobody goes on with it, and what we take over is rekeyed
		// before it sends (I2).
		Unbounded bool
		// Blind: it sees no first packet, so arming is not for it, and tunnels of dead
		// members are adopted at once.
		Blind bool
	}

	// Inventory names all SAs that the dataplane holds, after it was found to have
	// lost its state or its events. It works, then, as Plane says.
	Inventory struct{ SAs map[ipsec.SAID]bool }
)

// From the operator.
type (
	// Configure sets the connections with fgsp-sync enabled, by name, and the
	// hash of what each says.
	Configure struct{ Classes map[string]uint64 }

	// Leave goes one step towards a clean stop. There is no way back.
	Leave struct{ Step Departure }
)

// Departure is how far a member is that leaves.
type Departure uint8

// The steps of a departure. Each may be left out, but for the last one: the zero
// value gives up everything.
const (
	// Silence: own SAs fall silent with the orders of this step's Ready, and the
	// frames say goodbye.
	Silence Departure = iota
	// Handover names a successor for each tunnel, in turn, which takes it over while
	// all others go on giving its packets to us (Node.Handing tells when that is
	// done). Nothing is said to the others, and nothing armed.
	Handover
	// Goodbye: the frames say it, and others arm what is still ours; own SAs go on
	// until the Silence.
	Goodbye
)

func (Received) input()    {}
func (Timeout) input()     {}
func (StoreIKE) input()    {}
func (StoreChild) input()  {}
func (DeleteChild) input() {}
func (Delete) input()      {}
func (Moved) input()       {}
func (Learned) input()     {}
func (Count) input()       {}
func (Carried) input()     {}
func (Activated) input()   {}
func (Stray) input()       {}
func (LeaseLow) input()    {}
func (Plane) input()       {}
func (Remembered) input()  {}
func (Keeps) input()       {}
func (Inventory) input()   {}
func (Configure) input()   {}
func (Leave) input()       {}
