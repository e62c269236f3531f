package ike

import "time"

// Stats counts what the machines of one shard did. The owner of the shard reads
// it; nothing here is reset, but the gauges HalfOpen and Tunnels go down too.
type Stats struct {
	// Started, Established and Failed count IKE SAs by who initiated: [0] we,
	// [1] the peer.
	Started, Established, Failed [2]uint64

	// Requests and Responses count whole messages, fragments joined, that were
	// sent or received and, where they are protected, authenticated.
	RequestsIn, RequestsOut, ResponsesIn, ResponsesOut ByExchange

	// Retransmitted counts our requests that were sent again, Repeated the
	// cached responses, TimedOut the requests that were given up.
	Retransmitted, Repeated, TimedOut uint64
	// Drops counts datagrams that were ignored, by reason.
	Drops [dropReasons]uint64
	// Failures counts negotiations that failed, by reason.
	Failures [failureReasons]uint64

	HalfOpen, HalfOpenPeak uint64
	Tunnels                uint64 // with an IKE SA that is up
	CookiesSent            uint64
	CookiesAccepted        uint64
	CookiesRejected        uint64

	ChildrenCreated, ChildrenDeleted uint64
	ChildRekeys, IKERekeys           uint64
	// Collisions counts exchanges that crossed each other (RFC 7296 sections
	// 2.8 and 2.25).
	Collisions uint64
	// TemporaryFailures counts the requests that were put off: by us, and by
	// the peer.
	TemporaryFailuresOut, TemporaryFailuresIn uint64

	// Probes counts dead peer detection, DeadPeers the tunnels that it ended.
	Probes, DeadPeers             uint64
	FragmentsIn, FragmentsOut     uint64
	Refragmented                  uint64 // requests that were sent again in smaller fragments
	Keepalives                    uint64
	PeerMoves                     uint64
	InitialContactsIn             uint64
	InitialContactsOut            uint64
	InvalidSPIsIn, InvalidSPIsOut uint64 // INVALID_IKE_SPI notifications, never trusted
	Takeovers                     uint64
	Sync                          SyncStats
	QueueFull                     uint64        // tasks of a tunnel that found no room
	Refused                       uint64        // SAs that the dataplane did not take
	SetupTime                     time.Duration // of all established tunnels together
}

// SyncStats counts synchronizations of RFC 6311, of both sides.
type SyncStats struct {
	// Resyncs counts takeovers after which we asked the peer for the Message IDs,
	// because the state may have been behind.
	Resyncs uint64
	// Synced counts IKE SAs whose Message IDs were set by one.
	Synced uint64
	// Shifted counts pairs of Child SAs whose sequence numbers were moved by one.
	Shifted uint64
	// Sent and Received count requests and responses; of those that came, the ones
	// that were taken.
	Sent, Received uint64
	// BadLength counts those whose notification has a length that it cannot have.
	BadLength uint64
}

// ByExchange counts messages by exchange type.
type ByExchange struct {
	Init, Auth, Child, Informational, Other uint64
}

// Drop is why a datagram was ignored, from a closed set.
type Drop uint8

// The reasons.
const (
	NotDropped        Drop = iota
	DropMalformed          // not IKE, or nonsense in it
	DropVersion            // not IKEv2
	DropUnknownSPI         // no such IKE SA
	DropForeignSPI         // an IKE SA of another member
	DropReflected          // our own message came back
	DropMessageID          // outside the window, or answered long ago
	DropUnprotected        // should have been encrypted
	DropIntegrity          // the integrity check failed
	DropFragment           // contradicts the other fragments, or too many
	DropUnexpected         // makes no sense in this state
	DropHalfOpenLimit      // too many half-open IKE SAs
	DropSourceLimit        // too many half-open IKE SAs from this address
	DropSourceRate         // this address asks too often
	DropNoConnection       // nothing is configured for these addresses
	DropNoProposal         // nothing in common
	DropInvalidKE          // answered with the group that we want
	DropCookie             // answered with a cookie, or the cookie was wrong
	DropStandby            // another member owns the tunnel
	DropSync               // a synchronization (RFC 6311) of before, or one that makes no sense
	DropSyncRate           // too many synchronizations
	dropReasons
)

// Drops lists all reasons but NotDropped, for who exports Stats.Drops.
func Drops() []Drop {
	out := make([]Drop, 0, dropReasons-1)
	for d := DropMalformed; d < dropReasons; d++ {
		out = append(out, d)
	}
	return out
}

// String is a label such as "unknown spi".
func (d Drop) String() string {
	switch d {
	case NotDropped:
		return "none"
	case DropMalformed:
		return "malformed"
	case DropVersion:
		return "version"
	case DropUnknownSPI:
		return "unknown spi"
	case DropForeignSPI:
		return "foreign spi"
	case DropReflected:
		return "reflected"
	case DropMessageID:
		return "message id"
	case DropUnprotected:
		return "unprotected"
	case DropIntegrity:
		return "integrity"
	case DropFragment:
		return "fragment"
	case DropUnexpected:
		return "unexpected"
	case DropHalfOpenLimit:
		return "half-open limit"
	case DropSourceLimit:
		return "source limit"
	case DropSourceRate:
		return "source rate"
	case DropNoConnection:
		return "no connection"
	case DropNoProposal:
		return "no proposal"
	case DropInvalidKE:
		return "invalid ke"
	case DropCookie:
		return "cookie"
	case DropStandby:
		return "standby"
	case DropSync:
		return "stale sync"
	case DropSyncRate:
		return "sync rate"
	default:
		return "other"
	}
}

// Failure is why a negotiation failed, from a closed set.
type Failure uint8

// The reasons.
const (
	FailOther      Failure = iota
	FailPSK                // AUTH did not verify
	FailIdentity           // no connection for the peer's identity
	FailNoProposal         // nothing in common
	FailSelectors          // TS_UNACCEPTABLE
	FailKE                 // the peer insists on a group that we do not allow
	FailPeer               // the peer refused
	FailTimeout            // no answer
	FailDataplane          // the dataplane did not take the SAs
	FailSyntax             // the peer's message made no sense
	failureReasons
)

// Failures lists all reasons, for who exports Stats.Failures.
func Failures() []Failure {
	out := make([]Failure, failureReasons)
	for i := range out {
		out[i] = Failure(i)
	}
	return out
}

// String is a label such as "no proposal".
func (f Failure) String() string {
	switch f {
	case FailPSK:
		return "psk"
	case FailIdentity:
		return "identity"
	case FailNoProposal:
		return "no proposal"
	case FailSelectors:
		return "selectors"
	case FailKE:
		return "key exchange"
	case FailPeer:
		return "peer refused"
	case FailTimeout:
		return "timeout"
	case FailDataplane:
		return "dataplane"
	case FailSyntax:
		return "syntax"
	default:
		return "other"
	}
}
