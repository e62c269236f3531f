package v1

import (
	"fmt"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// PeerError is a failure that the peer told us about.
type PeerError struct {
	Notify wire.NotifyType
	During string // what was being done
}

// Error names the notification.
func (e *PeerError) Error() string {
	return fmt.Sprintf("ike/v1: %s: the peer answered %v", e.During, e.Notify)
}

func failureOf(n wire.NotifyType) ike.Failure {
	switch n {
	case wire.NoProposalChosen, wire.AttributesNotSupported, wire.BadProposalSyntax:
		return ike.FailNoProposal
	case wire.AuthenticationFailed, wire.InvalidHashInformation, wire.PayloadMalformed:
		return ike.FailPSK
	case wire.InvalidIDInformation:
		return ike.FailSelectors
	case wire.InvalidKeyInformation:
		return ike.FailKE
	default:
		return ike.FailPeer
	}
}
