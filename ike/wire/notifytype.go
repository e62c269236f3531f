package wire

import "fmt"

// NotifyType is IANA's "IKEv2 Notify Message Types": errors below 16384, status
// from there on (RFC 7296 section 3.10.1).
type NotifyType uint16

// The error types of RFC 7296 section 3.10.1.
const (
	UnsupportedCriticalPayload NotifyType = 1
	InvalidIKESPI              NotifyType = 4
	InvalidMajorVersion        NotifyType = 5
	InvalidSyntax              NotifyType = 7
	InvalidMessageID           NotifyType = 9
	InvalidSPI                 NotifyType = 11
	NoProposalChosen           NotifyType = 14
	InvalidKEPayload           NotifyType = 17
	AuthenticationFailed       NotifyType = 24
	SinglePairRequired         NotifyType = 34
	NoAdditionalSAs            NotifyType = 35
	InternalAddressFailure     NotifyType = 36
	FailedCPRequired           NotifyType = 37
	TSUnacceptable             NotifyType = 38
	InvalidSelectors           NotifyType = 39
	TemporaryFailure           NotifyType = 43
	ChildSANotFound            NotifyType = 44
)

// The status types of RFC 7296 section 3.10.1, of RFC 6311 section 9 and of
// RFC 7383 section 2.3.
const (
	InitialContact                  NotifyType = 16384
	SetWindowSize                   NotifyType = 16385
	AdditionalTSPossible            NotifyType = 16386
	IPCompSupported                 NotifyType = 16387
	NATDetectionSourceIP            NotifyType = 16388
	NATDetectionDestinationIP       NotifyType = 16389
	Cookie                          NotifyType = 16390
	UseTransportMode                NotifyType = 16391
	HTTPCertLookupSupported         NotifyType = 16392
	RekeySA                         NotifyType = 16393
	ESPTFCPaddingNotSupported       NotifyType = 16394
	NonFirstFragmentsAlso           NotifyType = 16395
	MessageIDSyncSupported          NotifyType = 16420
	IPsecReplayCounterSyncSupported NotifyType = 16421
	MessageIDSync                   NotifyType = 16422
	IPsecReplayCounterSync          NotifyType = 16423
	FragmentationSupported          NotifyType = 16430
	firstStatusType                 NotifyType = 16384
)

// IsError tells whether n reports an error.
//
// "An implementation receiving a Notify payload with one of these types that it
// does not recognize in a response MUST assume that the corresponding request
// has failed entirely." RFC 7296 section 3.10.1, of the types 0 - 16383.
func (n NotifyType) IsError() bool { return n < firstStatusType }

// String is IANA's name.
func (n NotifyType) String() string {
	if s := n.name(); s != "" {
		return s
	}
	return fmt.Sprintf("NOTIFY(%d)", uint16(n))
}

func (n NotifyType) name() string {
	if n.IsError() {
		return n.errorName()
	}
	return n.statusName()
}

func (n NotifyType) errorName() string {
	switch n {
	case UnsupportedCriticalPayload:
		return "UNSUPPORTED_CRITICAL_PAYLOAD"
	case InvalidIKESPI:
		return "INVALID_IKE_SPI"
	case InvalidMajorVersion:
		return "INVALID_MAJOR_VERSION"
	case InvalidSyntax:
		return "INVALID_SYNTAX"
	case InvalidMessageID:
		return "INVALID_MESSAGE_ID"
	case InvalidSPI:
		return "INVALID_SPI"
	case NoProposalChosen:
		return "NO_PROPOSAL_CHOSEN"
	case InvalidKEPayload:
		return "INVALID_KE_PAYLOAD"
	case AuthenticationFailed:
		return "AUTHENTICATION_FAILED"
	case SinglePairRequired:
		return "SINGLE_PAIR_REQUIRED"
	case NoAdditionalSAs:
		return "NO_ADDITIONAL_SAS"
	case InternalAddressFailure:
		return "INTERNAL_ADDRESS_FAILURE"
	case FailedCPRequired:
		return "FAILED_CP_REQUIRED"
	case TSUnacceptable:
		return "TS_UNACCEPTABLE"
	case InvalidSelectors:
		return "INVALID_SELECTORS"
	case TemporaryFailure:
		return "TEMPORARY_FAILURE"
	case ChildSANotFound:
		return "CHILD_SA_NOT_FOUND"
	default:
		return ""
	}
}

func (n NotifyType) statusName() string {
	switch n {
	case InitialContact:
		return "INITIAL_CONTACT"
	case SetWindowSize:
		return "SET_WINDOW_SIZE"
	case AdditionalTSPossible:
		return "ADDITIONAL_TS_POSSIBLE"
	case IPCompSupported:
		return "IPCOMP_SUPPORTED"
	case NATDetectionSourceIP:
		return "NAT_DETECTION_SOURCE_IP"
	case NATDetectionDestinationIP:
		return "NAT_DETECTION_DESTINATION_IP"
	case Cookie:
		return "COOKIE"
	case UseTransportMode:
		return "USE_TRANSPORT_MODE"
	case HTTPCertLookupSupported:
		return "HTTP_CERT_LOOKUP_SUPPORTED"
	case RekeySA:
		return "REKEY_SA"
	case ESPTFCPaddingNotSupported:
		return "ESP_TFC_PADDING_NOT_SUPPORTED"
	case NonFirstFragmentsAlso:
		return "NON_FIRST_FRAGMENTS_ALSO"
	case MessageIDSyncSupported:
		return "IKEV2_MESSAGE_ID_SYNC_SUPPORTED"
	case IPsecReplayCounterSyncSupported:
		return "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED"
	case MessageIDSync:
		return "IKEV2_MESSAGE_ID_SYNC"
	case IPsecReplayCounterSync:
		return "IPSEC_REPLAY_COUNTER_SYNC"
	case FragmentationSupported:
		return "IKEV2_FRAGMENTATION_SUPPORTED"
	default:
		return ""
	}
}
