package ha

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Record is one statement of a member to another. Records of one member reach
// the other in order, each once, for as long as a stream lasts; see stream.go.
// They hold full state, never a difference, so the newest is enough.
type Record interface {
	record()
	// octets is about how much memory and wire the record takes.
	octets() int
}

// IKE is the IKE SA of a tunnel as the engine wants it back.
type IKE struct {
	// Class is the connection (phase 1) that the tunnel belongs to. Members that
	// do not have it, or have it otherwise, do not install the tunnel.
	Class string
	// State is ike's snapshot. It holds keys.
	State ipsec.Key
	// Facts are the engine's own: the tunnel's name, its index, its peer.
	Facts []byte
	// Unknown are the fields that a later version of the protocol has added, as they
	// came. They travel on with the tunnel, whoever owns it; the engine leaves them
	// empty, and changes nothing of them.
	Unknown []byte
}

// Child is one pair of SAs.
type Child struct {
	In, Out ipsec.SA
	// Holders are the members that its owner had entrusted with it.
	Holders Members
	// Barred are members that must never send on it, because an earlier life of
	// theirs may have, and cannot tell.
	Barred Members
	// Bound is the number at or below which nobody starts to send.
	Bound uint64
	// InUsed and OutUsed are the owner's last counters.
	InUsed, OutUsed Usage
	// Unknown are the fields that a later version of the protocol has added, as
	// they came. They travel on.
	Unknown []byte
}

// Usage is how much an SA has carried.
type Usage struct {
	Packets, Bytes uint64
	// Idle is the time since the last packet, negative when there was none.
	Idle time.Duration
}

// Counted is what the owner's dataplane knows of one SA.
type Counted struct {
	ID ipsec.SAID
	// Sequence is Highest and Bitmap of an inbound SA, the replay checkpoint.
	// Outbound numbers are leased, not counted.
	Sequence ipsec.Sequence
	Used     Usage
}

// Title is by what right a member owns a tunnel.
type Title struct {
	// Past are all members that have owned it.
	Past Members
	// Quiet is for how long the owner has not heard the peer. Of two owners that
	// did not know of each other, the one that heard it last goes on.
	Quiet time.Duration
	// Reclaimed is set when that has been applied: it is not applied again.
	Reclaimed bool
}

// Bound of one child, in a Claim.
type Bound struct {
	Child ipsec.SAID // its inbound SA
	Bound uint64
}

type (
	// Hello is the first record of every stream: who speaks.
	Hello struct {
		// Armed and Disks are what the speaker has on disk, and the disks that it
		// knows the others by.
		Armed Members
		Disks [ipsec.MaxMembers]DiskID
		// Classes are the connections with sync enabled, and the hash of each.
		Classes map[string]uint64
		// Adopts: the dataplane of the speaker has outlived its last life, and goes on
		// with the tunnels of that.
		Adopts bool
	}

	// PutIKE is the IKE SA of a tunnel, and the names of all its children.
	PutIKE struct {
		Tunnel   ipsec.TunnelID
		Version  Version
		Title    Title
		Children []Bound
		IKE      IKE
	}

	// PutChild is one pair. It follows the PutIKE of its tunnel (C8, C9).
	PutChild struct {
		Tunnel  ipsec.TunnelID
		Version Version
		Child   Child
	}

	// DropChild takes a pair away, by its inbound SA.
	DropChild struct {
		Tunnel  ipsec.TunnelID
		Version Version
		Child   ipsec.SAID
	}

	// Remove says that a tunnel is gone, and leaves a tombstone: no copy of
	// Epoch or before lives on. Final is set when the peer knows it, too: then
	// no copy at all does, whoever has claimed it meanwhile. Answer is what the
	// peer got when it ended the tunnel: it may ask again.
	Remove struct {
		Tunnel ipsec.TunnelID
		Epoch  Epoch
		Final  bool
		Answer []byte
	}

	// Claim says that the speaker owns a tunnel from now on. It holds what From
	// names; Version is the same content under the new epoch.
	Claim struct {
		Tunnel        ipsec.TunnelID
		From, Version Version
		Title         Title
		Children      []Bound
	}

	// Supply answers a claim that was made from an older copy.
	Supply struct {
		Tunnel   ipsec.TunnelID
		Version  Version
		IKE      IKE
		Children []Child
	}

	// Return gives the listener a tunnel that its last life owned, and that nobody has
	// claimed: it may go on with it. Behind is as Restored has it.
	Return struct {
		Tunnel   ipsec.TunnelID
		Version  Version
		Title    Title
		IKE      IKE
		Children []Child
		Behind   bool
	}

	// Need asks the owner for a whole tunnel.
	Need struct{ Tunnel ipsec.TunnelID }

	// Owned tells a member that what it says of a tunnel is out of date.
	Owned struct {
		Tunnel   ipsec.TunnelID
		Epoch    Epoch
		Title    Title
		Children []Bound
	}

	// Unheld tells the owner that the speaker does not hold a tunnel although it
	// was given to it.
	Unheld struct {
		Tunnel ipsec.TunnelID
		Why    Unsynced
	}

	// Handoff asks the listener to claim a tunnel of the speaker, who leaves.
	Handoff struct {
		Tunnel ipsec.TunnelID
		Epoch  Epoch
	}

	// Taken answers it when all who are there know of the claim of Epoch.
	Taken struct {
		Tunnel ipsec.TunnelID
		Epoch  Epoch
	}

	// Propose asks a holder to give up the numbers after From, to To included.
	Propose struct {
		Tunnel   ipsec.TunnelID
		Epoch    Epoch
		Child    ipsec.SAID
		From, To uint64
	}

	// Grant is the holder's promise never to start at To or below.
	Grant struct {
		Tunnel ipsec.TunnelID
		Epoch  Epoch
		Child  ipsec.SAID
		To     uint64
	}

	// Refuse says that numbers up to Bound may have been used. Sent: the peer has
	// had some of them.
	Refuse struct {
		Tunnel ipsec.TunnelID
		Epoch  Epoch
		Child  ipsec.SAID
		Bound  uint64
		Sent   bool
	}

	// Address is where a tunnel's peer is now.
	Address struct {
		Tunnel   ipsec.TunnelID
		Version  Version
		Endpoint Endpoint
	}

	// MTU is the path MTU of one SA, in octets of outer IP packet.
	MTU struct {
		Tunnel ipsec.TunnelID
		Epoch  Epoch
		SA     ipsec.SAID
		MTU    uint16
	}

	// Counters are the newest of some SAs.
	Counters struct{ SAs []Counted }

	// Digest sums up the tunnels that the speaker owns and the listener should
	// hold.
	Digest struct {
		Round uint64
		Sums  [Buckets]uint64
	}

	// Want answers a Digest with the buckets that differ here.
	Want struct {
		Round   uint64
		Buckets uint64 // bit i for bucket i
	}

	// Listing are all tunnels of one bucket that the speaker owns; what the
	// listener has beside them is no more.
	Listing struct {
		Bucket  uint8
		Tunnels []ipsec.TunnelID
	}

	// Synced says that the listener has everything.
	Synced struct{ Round uint64 }

	// Unknown stands for a record of a kind that a later version has added. It
	// is passed over, and counted.
	Unknown struct{}
)

// Buckets is into how many parts digests divide the tunnels.
const Buckets = 64

// Endpoint is both ends of the outer path.
type Endpoint struct {
	Local, Remote netip.Addr
	Encap         *ipsec.Encap
}

func (Hello) record()     {}
func (PutIKE) record()    {}
func (PutChild) record()  {}
func (DropChild) record() {}
func (Remove) record()    {}
func (Claim) record()     {}
func (Supply) record()    {}
func (Return) record()    {}
func (Need) record()      {}
func (Owned) record()     {}
func (Unheld) record()    {}
func (Handoff) record()   {}
func (Taken) record()     {}
func (Propose) record()   {}
func (Grant) record()     {}
func (Refuse) record()    {}
func (Address) record()   {}
func (MTU) record()       {}
func (Counters) record()  {}
func (Digest) record()    {}
func (Want) record()      {}
func (Listing) record()   {}
func (Synced) record()    {}
func (Unknown) record()   {}

// Sizes that are good enough for limits: what is written down for a small
// record, and for an SA beside its selectors.
const (
	smallRecord = 64
	bareSA      = 256
)

func (r Hello) octets() int {
	n := 4 * smallRecord
	for name := range r.Classes {
		n += len(name) + 16
	}
	return n
}

func (r PutIKE) octets() int   { return smallRecord + r.IKE.octets() + len(r.Children)*32 }
func (r PutChild) octets() int { return smallRecord + r.Child.octets() }
func (r Claim) octets() int    { return smallRecord + len(r.Children)*32 }

func (r Supply) octets() int { return smallRecord + r.IKE.octets() + octetsOf(r.Children) }
func (r Return) octets() int { return smallRecord + r.IKE.octets() + octetsOf(r.Children) }

func octetsOf(children []Child) (n int) {
	for _, c := range children {
		n += c.octets()
	}
	return n
}

func (r Counters) octets() int {
	n := smallRecord
	for _, c := range r.SAs {
		n += smallRecord + len(c.Sequence.Bitmap)
	}
	return n
}
func (Digest) octets() int    { return Buckets * 8 }
func (r Listing) octets() int { return smallRecord + len(r.Tunnels)*8 }
func (DropChild) octets() int { return smallRecord }
func (r Remove) octets() int  { return smallRecord + len(r.Answer) }
func (Need) octets() int      { return smallRecord }
func (r Owned) octets() int   { return smallRecord + len(r.Children)*32 }
func (Unheld) octets() int    { return smallRecord }
func (Handoff) octets() int   { return smallRecord }
func (Taken) octets() int     { return smallRecord }
func (Propose) octets() int   { return smallRecord }
func (Grant) octets() int     { return smallRecord }
func (Refuse) octets() int    { return smallRecord }
func (Address) octets() int   { return smallRecord }
func (MTU) octets() int       { return smallRecord }
func (Want) octets() int      { return smallRecord }
func (Synced) octets() int    { return smallRecord }
func (Unknown) octets() int   { return smallRecord }

func (i IKE) octets() int { return len(i.Class) + i.State.Len() + len(i.Facts) + len(i.Unknown) }

func (c Child) octets() int {
	n := 2*bareSA + len(c.Unknown)
	for _, sa := range []ipsec.SA{c.In, c.Out} {
		n += sa.Encryption.Len() + sa.Integrity.Len() + len(sa.Sequence.Bitmap) +
			(len(sa.Selectors.Local)+len(sa.Selectors.Remote))*48
	}
	return n
}

// Unsynced says why a member does not hold a tunnel of another.
type Unsynced uint8

// The reasons. The zero value is none: it does hold it.
const (
	HeldWell     Unsynced = iota
	NoSuchClass           // the phase 1 is not there, or fgsp-sync is off
	OtherClass            // the phase 1 is configured otherwise
	PlaneRefused          // the dataplane did not take an SA
	NoRoom                // a limit was reached
)

// String says it in words.
func (u Unsynced) String() string {
	switch u {
	case HeldWell:
		return "held"
	case NoSuchClass:
		return "no such phase1 with fgsp-sync"
	case OtherClass:
		return "phase1 is configured otherwise"
	case PlaneRefused:
		return "refused by the dataplane"
	case NoRoom:
		return "no room"
	default:
		return "unknown reason"
	}
}
