package transport

import (
	"fmt"
	"net/netip"
)

// Reason says why a connection did not become a session. It is a closed set,
// fit for metrics.
type Reason uint8

// The reasons. The numbers are on the wire: they do not change.
const (
	// ReasonOther is what this version has no name for.
	ReasonOther Reason = iota
	// ReasonUnreachable: nobody answers at the peer's address.
	ReasonUnreachable
	// ReasonBusy: the address has too many unfinished handshakes.
	ReasonBusy
	// ReasonTimeout: the handshake took too long.
	ReasonTimeout
	// ReasonTLS: what came was no handshake of TLS 1.3.
	ReasonTLS
	// ReasonCertificate: expired, foreign, without a name, or bound to another
	// address.
	ReasonCertificate
	// ReasonGroup: a member of another group.
	ReasonGroup
	// ReasonMember: our own member id, another than was pinned, or another than
	// in the certificate.
	ReasonMember
	// ReasonDuplicate: the member is connected from another address.
	ReasonDuplicate
	// ReasonHello: it says nothing that we understand.
	ReasonHello
	// ReasonProtocol: there is no common protocol version.
	ReasonProtocol
	// ReasonCrossed: both dialed, and the other connection lives. It is no
	// fault.
	ReasonCrossed
	// ReasonRemote: the peer refused us, and says why.
	ReasonRemote

	reasons = int(ReasonRemote) + 1
)

// String is the reason's name in metrics.
func (r Reason) String() string {
	names := [reasons]string{
		"other", "unreachable", "busy", "timeout", "tls", "certificate", "group",
		"member", "duplicate", "hello", "protocol", "crossed", "remote",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Refusal is a connection that did not become a session.
type Refusal struct {
	Peer   netip.Addr
	Reason Reason
	Err    error // the cause
}

// Error names the peer and the cause.
func (r *Refusal) Error() string { return fmt.Sprintf("transport: peer %v: %v", r.Peer, r.Err) }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }

func (p *peer) refusal(r Reason, err error) *Refusal {
	return &Refusal{Peer: p.addr.Addr(), Reason: r, Err: err}
}
