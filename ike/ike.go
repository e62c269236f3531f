package ike

import (
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Datagram is one UDP payload of IKE. Payload starts with the IKE header: the
// non-ESP marker of port 4500 (RFC 3948 section 2.2) is the I/O's business.
// Whoever is handed a Datagram owns its Payload.
type Datagram struct {
	Local, Remote netip.AddrPort
	Payload       []byte
	// Keepalive marks a NAT keepalive (RFC 3948 section 2.3): its single octet
	// goes out without a marker.
	Keepalive bool
}

// Input is what may happen to a Tunnel.
type Input interface{ input() }

type (
	// Received is a message from the peer, found by Demux.Route.
	Received struct{ Datagram Datagram }

	// Timeout says that NextTimeout has come.
	Timeout struct{}

	// Initiate starts the IKE SA of a tunnel that Demux.Initiate made, and asks
	// for a child on one that is up. For is what a packet asked for (RFC 7296
	// section 2.9), nil when no packet did.
	Initiate struct {
		Child string
		For   *ipsec.Selectors
	}

	// RekeyIKE asks for a rekey of the IKE SA now.
	RekeyIKE struct{}

	// RekeyChild asks for a rekey of a pair now. ID is either SA of it.
	RekeyChild struct{ ID ipsec.SAID }

	// CloseChild deletes one pair, and tells the peer.
	CloseChild struct{ ID ipsec.SAID }

	// Close deletes the whole tunnel, and tells the peer.
	Close struct{ Reason string }

	// Superseded ends the tunnel without a word to the peer: the same peer has
	// made a new one with INITIAL_CONTACT (RFC 7296 section 2.4), or another
	// member owns it.
	Superseded struct{ Reason string }

	// Refused answers Ready.Install: the dataplane did not take an SA. The
	// messages of that Ready have not been sent.
	Refused struct {
		ID  ipsec.SAID
		Err error
	}

	// Expired is a limit of bytes or packets that the dataplane reports.
	Expired struct {
		ID   ipsec.SAID
		Hard bool
	}

	// Activity tells when the children's last packets passed, inbound and
	// outbound; zero for never. Dead peer detection lives on it.
	Activity struct{ In, Out time.Time }

	// PeerMoved is a new outer address of the peer, seen by the dataplane on an
	// authenticated ESP packet (RFC 7296 section 2.23).
	PeerMoved struct{ Remote netip.AddrPort }

	// Takeover tells a restored tunnel that it is ours now: timers start. The
	// peer may have died with the last owner, so dead peer detection asks it at
	// Probe, or at once when that is zero; not where it is off. Behind says that
	// the last owner may have gone on after the snapshot: then the Message IDs are
	// synchronized at that time, where the peer can do that (RFC 6311).
	Takeover struct {
		Probe  time.Time
		Behind bool
	}
)

func (Received) input()   {}
func (Timeout) input()    {}
func (Initiate) input()   {}
func (RekeyIKE) input()   {}
func (RekeyChild) input() {}
func (CloseChild) input() {}
func (Close) input()      {}
func (Superseded) input() {}
func (Refused) input()    {}
func (Expired) input()    {}
func (Activity) input()   {}
func (PeerMoved) input()  {}
func (Takeover) input()   {}

// Ready is what one step asks for. The caller carries it out in the order of
// the fields; that order is the safety argument: the peer never learns of an
// SA that a failover would lose.
type Ready struct {
	// Established is set once, when the IKE SA comes up: the tunnel now has a
	// peer with a proven identity.
	Established *Established
	// Install goes into the dataplane, inbound before outbound. When one is
	// refused, the rest of this Ready is dropped, and Refused is the next input;
	// else Installed says that there is nothing to take back.
	Install []ipsec.SA
	// Move tells the children's new outer addresses.
	Move *Move
	// Shift moves the children's sequence numbers.
	Shift *Shift
	// Publish: state changed; Snapshot goes to the standbys before Send.
	Publish bool
	// Send goes to the peer.
	Send []Datagram
	// Remove leaves the dataplanes, routes with them.
	Remove []ipsec.SAID
	// Done: the tunnel is over and can be forgotten, once the rest is carried
	// out. Why says so; nil for an orderly end.
	Done bool
	Why  error
	// Farewell is the answer to the request that ended the tunnel, where one did.
	// Demux.Step sets it; who stands by can repeat it.
	Farewell *Farewell
}

// Established says who the peer is.
type Established struct {
	Remote Identity
	// InitialContact: all other tunnels of the same connection with this
	// identity are dead (RFC 7296 section 2.4) and are to be Superseded.
	InitialContact bool
}

// Move are the outer addresses of all SAs of a tunnel.
type Move struct {
	Local, Remote netip.AddrPort
	// Encap is nil for raw ESP.
	Encap *ipsec.Encap
}

// Env is what a machine borrows from its surroundings. One goroutine uses it.
type Env struct {
	Member ipsec.MemberID
	// Boot grows with every start of this process on this member. Its low 16
	// bits go into the IVs of counter modes, so that keys that come back in a
	// snapshot never meet an IV again (invariant I1).
	Boot uint32
	// Takeovers returns how often this process has taken a tunnel over before,
	// and notes the new count that follows from it and from seen, what the
	// snapshot says: one that is older than our last takeover must not lead to
	// the IVs of then (invariant I1). Nil trusts the snapshot.
	Takeovers func(t ipsec.TunnelID, seen uint32) uint32
	// Rand yields secrets, SPIs, nonces and jitter: crypto/rand.Reader outside
	// of tests.
	Rand io.Reader
	Log  *slog.Logger
	// Stats is counted in place.
	Stats *Stats
	// Group: other members share our addresses, so a message for an IKE SA that is
	// not here may be for one of theirs.
	Group bool
	// AcceptSPI lets the caller steer which shard owns an SPI: one that it
	// rejects is drawn again. Nil accepts all.
	AcceptSPI func(ipsec.IKESPI) bool
	// AcceptChildSPI lets the caller keep our inbound ESP SPIs unique among all
	// tunnels: one that it rejects is drawn again. Nil accepts all that the
	// tunnel itself does not use.
	AcceptChildSPI func(ipsec.SPI) bool

	// policy is that of the Demux, or of Restore.
	policy Policy
	// complaints are those of the Demux, nil without one.
	complaints *complaints
	// spare is the turn of the tunnel that took the last step.
	spare *turn
}

// Policy finds connections. It is asked, never changed, by the machine.
type Policy interface {
	// ForAddresses returns the connections that a peer at remote may use
	// when it talks to local, in the order of the configuration.
	ForAddresses(local, remote netip.Addr) []*Connection
	// Named returns a connection by its name, nil when there is none.
	Named(string) *Connection
}
