package xfrmnl

// What linux/xfrm.h defines. The sizes are those of 64-bit architectures, which
// a test compares with what the kernel answers.

// Message types.
const (
	msgNewSA = 0x10 + iota
	msgDelSA
	msgGetSA
	msgNewPolicy
	msgDelPolicy
	msgGetPolicy
	msgAllocSPI
	msgAcquire
	msgExpire
	msgUpdPolicy
	msgUpdSA
	msgPolExpire
	msgFlushSA
	msgFlushPolicy
	msgNewAE
	msgGetAE
	msgReport
	msgMigrate
	msgNewSADInfo
	msgGetSADInfo
	msgNewSPDInfo
	msgGetSPDInfo
	msgMapping
)

// Attribute types.
const (
	attrAuth        = 1 // struct xfrm_algo
	attrCrypt       = 2
	attrEncap       = 4
	attrTemplates   = 5
	attrSA          = 6
	attrPolicy      = 7
	attrLifetimeCur = 9
	attrReplayThres = 11
	attrSrcAddr     = 13
	attrAEAD        = 18
	attrAuthTrunc   = 20
	attrMark        = 21
	attrReplay      = 23 // struct xfrm_replay_state_esn
	attrExtraFlags  = 24
	attrOffload     = 28
	attrSetMark     = 29
	attrSetMarkMask = 30
	attrIfID        = 31
	attrMappingAge  = 32 // XFRMA_MTIMER_THRESH
)

// Sizes of structures, padding included.
const (
	sizeAddress   = 16
	sizeSelector  = 56
	sizeID        = 24
	sizeLifetime  = 64
	sizeCurrent   = 32
	sizeStats     = 12
	sizeSA        = 224
	sizeSAID      = 24
	sizeAlgorithm = 64 // the name in front of an algorithm
	sizeReplay    = 24 // without its bitmap
	sizeEncap     = 24
	sizeTemplate  = 64
	sizePolicy    = 168
	sizePolicyID  = 64
	sizeEventID   = 48
	sizeExpire    = sizeSA + 8
	sizeAcquire   = 280
	sizeMapping   = 64
	sizeOffload   = 8
	sizeMark      = 8
)

// Attributes of NEWSPDINFO.
const (
	attrThreshold4 = 3 // struct xfrmu_spdhthresh
	attrThreshold6 = 4
)

// Flags of a state.
const (
	// FlagNoPMTUDisc clears the outer DF bit.
	FlagNoPMTUDisc = 4
	// FlagAnyFamily lets a tunnel carry both families.
	FlagAnyFamily = 32
	// FlagESN numbers packets with 64 bits (RFC 4303 section 2.2.1).
	FlagESN = 128
)

// ExtraNoDSCP leaves the inner DSCP out of the outer header.
const ExtraNoDSCP = 1

// Modes of a state.
const (
	ModeTransport = 0
	ModeTunnel    = 1
)

// Unlimited is no limit of a Lifetime. Zero is one: it ends with the first packet.
const Unlimited = 1<<64 - 1

// Group is a multicast group of events.
type Group uint32

// The groups.
const (
	GroupAcquire Group = 1
	GroupExpire  Group = 2
	GroupSA      Group = 3
	GroupMapping Group = 8
)

// Flags of an offload (struct xfrm_user_offload).
const (
	offloadInbound = 2
	offloadPacket  = 4
)

// encapESPinUDP is UDP_ENCAP_ESPINUDP of linux/udp.h.
const encapESPinUDP = 2
