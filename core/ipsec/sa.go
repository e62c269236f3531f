package ipsec

import (
	"net/netip"
	"time"
)

// Mode of an SA (RFC 4301 section 4.1).
type Mode uint8

// The modes. The zero value is Tunnel, what a gateway does.
const (
	Tunnel Mode = iota
	Transport
)

// String is "tunnel" or "transport".
func (m Mode) String() string {
	if m == Transport {
		return "transport"
	}
	return "tunnel"
}

// DefaultReplayWindow is the anti-replay window of an SA that names none, in
// packets.
const DefaultReplayWindow = 2048

// MaxReplayWindow is the largest anti-replay window, in packets.
const MaxReplayWindow = 4096

// LeaseSize is how many sequence numbers an owner may use before it must lease
// more (invariant I2): 2^28, so a successor starts at 0x10000001, and an SA
// without ESN outlives fifteen of them.
const LeaseSize = 1 << 28

// SA is all that a dataplane needs to protect traffic with one unidirectional
// security association, an entry of the SAD (RFC 4301 section 4.4.2.1). It is
// a full description: the newest one replaces all older ones.
type SA struct {
	ID        SAID
	Direction Direction
	Mode      Mode

	// Tunnel is the tunnel that this SA is part of; all SAs of a tunnel change
	// roles together.
	Tunnel TunnelID
	// Pair is the SPI of the SA that carries the other direction.
	Pair SPI
	// Group is the failover group: the member that owns the tunnel.
	Group MemberID
	// Sender is the member that sends on this SA from here. It goes into
	// member-unique IVs (RFC 6054 section 4), so it is the id of the member
	// that installs the SA, not of the tunnel's owner.
	Sender MemberID
	// Generation orders descriptions of the same SA: a dataplane ignores one
	// that is older than what it has.
	Generation uint64

	Algorithms Algorithms
	// Encryption is the encryption key with its salt behind it, as KEYMAT
	// yields it (RFC 7296 section 2.17; RFC 4106 section 8.1).
	Encryption Key
	Integrity  Key // empty for AEADs

	// Local and Remote are the outer addresses, whatever the direction. For
	// transport mode they are those of the packets too.
	Local, Remote netip.Addr
	// Encap is set when ESP travels in UDP (RFC 3948).
	Encap *Encap

	// Link is set for the SAs of a link between two members, which carry what
	// tunnels of the other one need; they have no Selectors, and Tunnel and Group
	// mean nothing.
	Link *Link

	Selectors Selectors
	Lifetime  Lifetime
	// ReplayWindow in packets, inbound only; 0 means DefaultReplayWindow, there
	// is no way to turn it off.
	ReplayWindow uint32
	Sequence     Sequence
	// PathMTU is what is known of the outer path, in octets of IP packet; 0 for
	// unknown.
	PathMTU uint16
	Header  HeaderPolicy
}

// Window is the anti-replay window in packets, with the default filled in.
func (sa SA) Window() uint32 {
	if sa.ReplayWindow == 0 {
		return DefaultReplayWindow
	}
	return min(sa.ReplayWindow, MaxReplayWindow)
}

// Encap are the UDP ports that ESP travels between (RFC 3948 section 2.1).
type Encap struct {
	LocalPort, RemotePort uint16
}

// Link is a way from one member of the group to another: a pair of tunnel mode
// SAs between their own addresses.
type Link struct {
	// Member is at the other end, whatever the direction of the SA.
	Member MemberID
}

// DFPolicy says what the outer IPv4 header's Don't Fragment bit becomes
// (RFC 4301 section 8.1).
type DFPolicy uint8

// The policies. The zero value copies, which makes path MTU discovery work.
const (
	DFCopy DFPolicy = iota
	DFSet
	DFClear
)

// HeaderPolicy says how the outer header is made in tunnel mode (RFC 4301
// section 5.1.2). ECN always follows RFC 6040's normal mode.
type HeaderPolicy struct {
	DF DFPolicy
	// HideDSCP writes DSCP into the outer header instead of copying the inner
	// one, and leaves the inner one alone on decapsulation.
	HideDSCP bool
	DSCP     uint8
}

// Limits of an SA's use; zero fields do not limit.
type Limits struct {
	// Time since the SA was installed for the first time, on any member.
	Time    time.Duration
	Bytes   uint64
	Packets uint64
}

// Lifetime of an SA (RFC 4301 section 4.4.2.1): at Soft a replacement is made,
// at Hard the SA is deleted.
type Lifetime struct {
	Soft, Hard Limits
	// Age is how old the SA was when this description was made; ages travel
	// between members because clocks differ.
	Age time.Duration
}

// Sequence is the sequence number state of one SA. Numbers are 64 bits wide
// whether or not the SA uses ESN; without ESN they never exceed 2^32-1.
type Sequence struct {
	// Next is the first number that may be sent (outbound); 0 means 1.
	Next uint64
	// Ceiling is the last number that may be sent (outbound) under the current
	// lease; 0 means the highest number of the SA.
	Ceiling uint64
	// Highest is the right edge of the window, the highest number received
	// (inbound).
	Highest uint64
	// Bitmap tells what was received (inbound): bit i%8 of octet i/8 stands for
	// Highest-i. What lies beyond it counts as received.
	Bitmap []byte
}

// MaxSequence is the last sequence number that an SA may send.
//
// "the transmitted Sequence Number must never be allowed to cycle." RFC 4303
// section 2.2.
func (a Algorithms) MaxSequence() uint64 {
	if a.ESN {
		return 1<<64 - 1
	}
	return 1<<32 - 1
}
