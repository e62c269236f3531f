package ike

import (
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Connection is how to talk to a peer or a class of peers: what operators call
// phase 1, with its phase 2 entries as Children. It is read only once it is in
// use.
type Connection struct {
	Name  string
	Local netip.Addr // our address, local-gw
	// Remote is the peer's address; the zero Addr lets peers dial in from
	// anywhere.
	Remote netip.Addr
	// RemotePort is where we initiate to; 0 means 500.
	RemotePort uint16

	// Proposals in order of preference, each with its key exchange methods.
	Proposals []ipsec.Proposal
	// LocalID is who we say we are; the zero Identity means our address.
	LocalID Identity
	// RemoteID is who the peer must be; the zero Identity accepts anyone who
	// proves the PSK.
	RemoteID Identity
	PSK      ipsec.Key

	// Lifetime of the IKE SA; only the time counts. Soft 0 derives from Hard.
	Lifetime ipsec.Lifetime
	DPD      DPD
	NATT     NATT
	// Keepalive is how often a NAT keepalive is sent when we are behind a NAT
	// and nothing else was (RFC 3948 section 4); 0 means 20 s.
	Keepalive time.Duration
	// NoFragmentation turns RFC 7383 off.
	NoFragmentation bool
	// NoMessageIDSync turns RFC 6311 off: it is neither announced nor answered.
	NoMessageIDSync bool
	// FragmentSize is the largest IP packet of a fragmented message in octets;
	// 0 means 576 for IPv4 and 1280 for IPv6 (RFC 7383 section 2.5.1).
	FragmentSize int
	Retransmit   Retransmit
	// Unique: a peer that comes back replaces its older tunnel even without
	// INITIAL_CONTACT. The engine acts on it.
	Unique bool

	// V1 is set for IKEv1, which package v1 speaks; nil for IKEv2.
	V1 *IKEv1

	Children []*Child
}

// Child is how to protect traffic: what operators call phase 2.
type Child struct {
	Name string
	// Proposals in order of preference; key exchange methods in them ask for
	// PFS, ESN transforms say which numbers are acceptable.
	Proposals []ipsec.Proposal
	// Selectors are the widest that may be agreed on.
	Selectors ipsec.Selectors
	Mode      ipsec.Mode
	// Lifetime: Soft 0 fields derive from Hard.
	Lifetime     ipsec.Lifetime
	ReplayWindow uint32
	Header       ipsec.HeaderPolicy
}

// DPDMode says when dead peer detection (RFC 7296 section 2.4) probes.
type DPDMode uint8

// The modes. The zero value probes an idle peer.
const (
	DPDOnIdle   DPDMode = iota // nothing received for the interval
	DPDOnDemand                // something sent, nothing received for the interval
	DPDOff
)

// DPD is dead peer detection. Zero values mean 20 s and 3 retries, FortiOS's
// defaults. An unanswered probe is repeated every Interval; after Retries of
// them the tunnel is closed.
type DPD struct {
	Mode     DPDMode
	Interval time.Duration
	Retries  int
}

// NATT says whether NAT traversal is used (RFC 7296 section 2.23).
type NATT uint8

// The modes. The zero value detects.
const (
	NATTDetect NATT = iota
	NATTForced      // UDP encapsulation whether or not there is a NAT
	NATTOff         // no detection; port 4500 and encapsulation are not used
)

// Retransmit times our requests (RFC 7296 section 2.1). Zero values mean a
// first retransmission after 500 ms, doubling up to 30 s, and giving up 5 tries
// later.
type Retransmit struct {
	First time.Duration
	Max   time.Duration
	Tries int
}
