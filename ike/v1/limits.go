package v1

import "time"

// Limits of one tunnel. What reaches them is refused or dropped, and counted.
const (
	// maxTasks is the longest queue of exchanges that wait for their turn.
	maxTasks = 64
	// maxChildren is the most pairs of ESP SAs of one tunnel.
	maxChildren = 64
	// maxGenerations is the most ISAKMP SAs of one tunnel at a time.
	maxGenerations = 8
	// maxExchanges is the most exchanges of phase 2 that are under way, or whose
	// last message can be repeated.
	maxExchanges = 32
	// maxUsed is the most exchanges that the peer may begin on one ISAKMP SA. At
	// half of it we rekey.
	maxUsed = 2048
	// maxAsked is the most messages with one R-U-THERE that are known apart from
	// copies of them.
	maxAsked = 16
	// maxConnections is the most pre-shared keys that are tried on the first
	// encrypted message of a peer whose identity is not known yet.
	maxConnections = 16
	// maxFragments is the most fragments of one message.
	maxFragments = 64
	// maxSPIDraws bounds the search for an SPI that is free.
	maxSPIDraws = 64
	// maxTransforms is the most transforms that one of our SA payloads offers.
	maxTransforms = 100
)

// Times that are not configured.
const (
	defaultSetupTime = 30 * time.Second
	// lingerTime is how long a replaced inbound SA goes on decrypting ESP that was
	// overtaken by the switch.
	lingerTime = 5 * time.Second
	// confirmTime is how long a replaced outbound SA goes on after the third message of
	// a quick mode, which has no answer: that must be at the peer, by way of our
	// standbys, before the peer can take what the new one carries.
	confirmTime = 200 * time.Millisecond
	// replacedTime is how long a replaced SA waits for the peer's Delete.
	replacedTime = 60 * time.Second
	// carryOverTime is how long a rekeyed ISAKMP SA of ours stays, so that the peer
	// has moved the ESP SAs to the new one when it hears that the old one ends.
	carryOverTime = 10 * time.Second
	// doubtTime is how much longer it stays at a time while the peer speaks on it, and is
	// asked whether it knows its successor.
	doubtTime = 3 * time.Second
	// failedTime is how long a refused peer finds us silent before the half-open
	// tunnel goes.
	failedTime = 10 * time.Second
	// repeatTime is how long the last message of an exchange can be repeated.
	repeatTime = 60 * time.Second
	// retryMin, doubled with each try up to retryMax, and a random part of
	// retrySpread are the wait after a rekeying that failed.
	retryMin    = 2 * time.Second
	retryMax    = 2 * time.Minute
	retrySpread = 4 * time.Second
	// defaultLife of an SA whose proposal names none.
	//
	// "If unspecified, the default value shall be assumed to be 28800 seconds (8
	// hours)." RFC 2407 section 4.5.
	defaultLife = 28800 * time.Second
)
