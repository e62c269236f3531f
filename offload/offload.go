package offload

import (
	"context"
	"iter"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Engine programs one dataplane. The package's documentation is its
// specification. Calls are batched and idempotent: a retry with the same
// arguments succeeds and changes nothing. A call whose epoch is older than one
// seen for a group that it touches fails with ErrStaleEpoch and changes nothing
// (invariant I5).
//
// Arguments and answers belong to whoever receives them; what points into an
// SA, such as its keys and selectors, is shared and not changed. All calls but
// Info, Configure and Events answer ErrNotConfigured before the first Configure
// and after a Reset; every one may end with ErrDown or the context's error.
//
// An Engine is safe for concurrent use. Calls that touch the same SA are
// carried out in the order in which they were made only if the caller waits
// for the first before it makes the second.
type Engine interface {
	// Configure says who we are and where packets come and go. It is the first
	// call after Info, and may be repeated with new addresses or settings;
	// installed SAs stay. Errors: ErrInvalid names the field or the setting, and
	// keeps what was configured before.
	Configure(context.Context, Config) (Info, error)

	// Info tells what the dataplane can do. Before Configure it answers with
	// what does not depend on it.
	Info(context.Context) (Info, error)

	// Install adds SAs in the given role, or replaces those whose generation is
	// older; one of the same or a newer generation is left as it is, role,
	// sequence state and counters included. A replaced SA keeps its counters, and
	// its sequence state merges. The answer has one Placement per SA, in order;
	// an SA that could not be installed has Placement.Err set (ErrInvalid,
	// ErrUnsupported, ErrExhausted) and the others are installed all the same.
	Install(context.Context, Epoch, Role, ...ipsec.SA) ([]Placement, error)

	// Update changes the mutable parts of installed SAs. The answer has one
	// Placement per change, in order; ErrNotFound stands in those of SAs that are
	// not there, ErrInvalid in those of changes that contradict themselves.
	Update(context.Context, Epoch, ...Change) ([]Placement, error)

	// Delete removes SAs and returns their last counters, in order, for those
	// that were there. An unknown SA is not an error, and touches no group.
	Delete(context.Context, Epoch, ...ipsec.SAID) ([]Counters, error)

	// Arm lets the standby SAs of a group activate by themselves: the first
	// packet of a tunnel, in either direction, makes all SAs of that tunnel
	// active, at once and inside the dataplane; Activated reports it. It lasts
	// until Promote or Demote and takes time independent of the number of SAs.
	// Errors: ErrUnsupported where Info.ReportsFirstPacket is false.
	Arm(context.Context, Group, Epoch) error

	// Promote makes all standby SAs of a group active now, and disarms it: SAs
	// that come later have the role that Install gives them.
	Promote(context.Context, Group, Epoch) error

	// Demote makes all SAs of a group standby and disarms it. Nothing is sent
	// on them after it returns (invariant I7).
	Demote(context.Context, Group, Epoch) error

	// Export yields counters and sequence state of the installed SAs of a
	// group, or of all with AllGroups. It is also the inventory with which the
	// core reconciles after a restart of either side. Each SA comes once; one that
	// is installed or deleted meanwhile may come or not. An error ends it.
	Export(context.Context, Group) iter.Seq2[Counters, error]

	// Stats yields what the dataplane counted of packets that belong to no SA.
	Stats(context.Context) ([]Stat, error)

	// Events yields what the dataplane noticed. It ends without an error when ctx
	// does or a newer stream was opened, as there is one at a time, and with
	// ErrDown when the dataplane goes away. Events that nobody read are kept up
	// to a limit; a gap shows as Overrun. What was on its way when a stream ended
	// is lost, so Export follows the opening of a stream.
	Events(context.Context) iter.Seq2[Event, error]
}

// OuterMark is the firewall mark (SO_MARK) by which the daemon's routing rules
// know outer packets that they would not know otherwise: rules for IKE's ports
// do not see those of a datagram that a raw socket sends. A dataplane that sends
// so marks it, or prefixes that contain the peer draw it into its own tunnel.
const OuterMark = 0x45535000

// Group is a failover group: the SAs whose tunnels one member owns. Its number
// is that member's id.
type Group uint32

// AllGroups stands for every group, in Export only.
const AllGroups Group = 1<<32 - 1

// Epoch orders claims of ownership: the upper 60 bits count, the lower four
// hold the claiming member, so that two claims never tie. Higher wins.
type Epoch uint64

// NewEpoch joins a count, at most 2^60-1, and the member that claims.
func NewEpoch(count uint64, m ipsec.MemberID) Epoch { return Epoch(count<<4 | uint64(m)&0xf) }

// Count is the counting part of e.
func (e Epoch) Count() uint64 { return uint64(e >> 4) }

// Member is the member that made the claim.
func (e Epoch) Member() ipsec.MemberID { return ipsec.MemberID(e & 0xf) }

// Role of an installed SA.
type Role uint8

// The roles. The zero value is invalid.
const (
	// Active sends and receives.
	Active Role = iota + 1
	// Standby is loaded and accepts inbound packets, but sends nothing. Its
	// first packet is reported once; when its group is armed, that packet
	// makes the tunnel Active.
	Standby
)

// String is "active" or "standby".
func (r Role) String() string {
	switch r {
	case Active:
		return "active"
	case Standby:
		return "standby"
	default:
		return "invalid"
	}
}

// Config is what a dataplane must know of the gateway before it works.
type Config struct {
	// Member is our id in the group, 0 when alone.
	Member ipsec.MemberID
	// Boot grows with every start of a dataplane on this member and is never
	// used twice, disk loss apart. It goes into IVs so that the same key never
	// meets the same IV again after a restart (invariant I1). A repeated
	// Configure has the same one; after a Reset it must be higher.
	Boot uint32
	// Addresses are our outer addresses: where ESP and IKE packets arrive, those of
	// links to other members included.
	Addresses []netip.Addr
	// IKESocket is the path of the local datagram socket on which the daemon
	// takes and gives the IKE packets of UDP port 4500 (package ikesock), for
	// dataplanes that own that port.
	IKESocket string
	// Settings are those of the dataplane itself, from dataplane.settings in
	// the YAML; a dataplane names the unknown ones in its error.
	Settings map[string]string
}

// IVSource says how a dataplane makes the IVs of counter modes, which decides
// whether a standby may go on with the same key (invariant I1).
type IVSource uint8

// The sources.
const (
	// IVUnspecified: nothing is sent on SAs that other members have used; they are
	// re-keyed.
	IVUnspecified IVSource = iota
	// IVMember has member id and boot counter in the top bits of the IV.
	IVMember
	// IVRandomSalt hides the sequence number behind a random salt of the SA
	// instance, as Linux's seqiv does: collisions are improbable only.
	IVRandomSalt
	// IVSequence is the sequence number itself.
	IVSequence
)

// Info tells what a dataplane is and can do.
type Info struct {
	Name    string // "softesp"
	Version string
	// ContractMinor is the minor version of the contract that the plugin was built
	// against. pluginrpc fills it in on the plugin's side; 0 is from before
	// versions were told.
	ContractMinor uint32
	// BootID changes whenever installed state was lost.
	BootID string
	NPUs   []NPU
	// Transforms are the algorithms that can be installed, ESN included where
	// it can be; with the directions in which an NPU takes them.
	Transforms []Capability
	MaxSAs     int // 0 for no fixed limit
	// MaxReplayWindow in packets; an SA that asks for more gets this.
	MaxReplayWindow uint32
	TransportMode   bool
	// Links: SAs of links between members (ipsec.Link) can be installed.
	Links    bool
	IVSource IVSource
	// EnforcesCeiling: the dataplane itself stops at Sequence.Ceiling. CeilingMargin
	// is how many packets it may run over, where it can only approximate.
	EnforcesCeiling bool
	CeilingMargin   uint64
	// HoldsPackets: packets that an SA without a number left would have sent wait for
	// its successor.
	HoldsPackets bool
	// ReportsFirstPacket: FirstPacket and Activated are sent, and Arm works.
	ReportsFirstPacket bool
	// OwnsNATT: the dataplane owns UDP port 4500 and hands over the IKE packets
	// that arrive there; otherwise the daemon owns it.
	OwnsNATT bool
	// SocketOptions are those that the daemon must set on its port 4500 socket,
	// where it owns it, before it binds it.
	SocketOptions []SocketOption
	// PlaintextInterface is the network interface to which routes for the
	// peers' networks must point; empty where policies divert the traffic.
	PlaintextInterface string
}

// Capability is one set of algorithms and where it can run.
type Capability struct {
	Algorithms ipsec.Algorithms
	// NPUInbound and NPUOutbound: some NPU takes this direction.
	NPUInbound, NPUOutbound bool
}

// Supports tells whether a can be installed.
func (i Info) Supports(a ipsec.Algorithms) bool {
	for _, c := range i.Transforms {
		if c.Algorithms == a {
			return true
		}
	}
	return false
}

// SocketOption is an integer option for setsockopt(2).
type SocketOption struct {
	Level, Name, Value int
}

// Placement tells where an SA went.
type Placement struct {
	ID ipsec.SAID
	// NPU is the number of the NPU that holds the SA, from Info.NPUs; 0 for
	// none.
	NPU NPUID
	// SelectorIDs are the dataplane's own names of the SA's selectors, local
	// remote pairs in order of local, then remote; one id may stand for all.
	SelectorIDs []SelectorID
	// WhyNot says why the SA is in no NPU, for people; empty when it is in one.
	WhyNot NoNPU
	// Role is what the SA has now.
	Role Role
	// Err is set where this SA was not installed or changed; see errors.go.
	Err error
}

// Change has only those fields set that change.
type Change struct {
	ID ipsec.SAID
	// Sequence merges: nothing moves backwards. Ceiling raises the lease, Next
	// jumps ahead, Highest and Bitmap advance the window; zero fields leave what
	// is there.
	Sequence *ipsec.Sequence
	// Endpoint is the peer's or our new outer address (RFC 7296 section 2.23).
	// The SA keeps its ID, whatever the new destination is.
	Endpoint *Endpoint
	Lifetime *ipsec.Lifetime
	PathMTU  *uint16
	// Group moves the SA, with its tunnel's new owner. An SA of a link has none.
	Group *Group
	// Role changes this SA only; a whole group changes by Promote and Demote. An
	// SA of a link is always active.
	Role *Role
}

// Endpoint is both ends of the outer path.
type Endpoint struct {
	Local, Remote netip.Addr
	Encap         *ipsec.Encap
}

// Counters are what a dataplane knows of one installed SA.
type Counters struct {
	// Placement names the SA and tells its role and where it is; its Err is nil.
	Placement
	Direction ipsec.Direction
	Tunnel    ipsec.TunnelID
	Group     Group
	// Link is that of the SA: set for those of links, which are in no group, and
	// whose Tunnel and Group mean nothing.
	Link       *ipsec.Link
	Generation uint64
	// Packets and Bytes of payload: inner packets in tunnel mode.
	Packets, Bytes uint64
	// Idle is the time since the last packet; negative when there was none.
	Idle time.Duration
	// Sequence is Next and Ceiling outbound, Highest and Bitmap inbound.
	Sequence ipsec.Sequence
	PathMTU  uint16
	// Relayed counts the outbound packets of a standby SA that went to the owner
	// over a link.
	Relayed uint64
	// Held counts the outbound packets that waited for the SA's successor. What it
	// then sends counts there, and what was given up is in Drops.Queue too.
	Held  uint64
	Drops Drops
}

// Stat counts packets that belong to no SA, or that no SA can be blamed for:
// unknown SPIs, packets that no SA selects, what the network did not take.
type Stat struct {
	// Name is what is counted, in words of lower-case letters and digits with
	// hyphens between them. Each dataplane has a closed set of names, and documents
	// them.
	Name string
	// Value is the number of packets since the dataplane started.
	Value uint64
}

// MaxStats bounds the Stats of a dataplane, and MaxStatName their names in octets:
// they become labels of metrics.
const (
	MaxStats    = 256
	MaxStatName = 64
)

// Drops counts the packets of one SA that went no further, by reason.
type Drops struct {
	Replayed       uint64 // seen before, or left of the window
	Authentication uint64 // integrity check failed
	Malformed      uint64 // padding, next header or inner packet made no sense
	Selector       uint64 // inner packet outside the SA's selectors; of a link, selected by no SA
	Lifetime       uint64 // after the hard limit
	Ceiling        uint64 // no leased sequence number left
	Standby        uint64 // outbound packets for a standby SA; of a link, where they arrived for one
	TooBig         uint64 // did not fit the path and must not be fragmented
	Queue          uint64 // a queue was full
}
