package ike

import "time"

// Limits bound what the network can make a Demux keep or do. Zero fields mean
// the defaults; there is no way to turn a limit off.
type Limits struct {
	// HalfOpen is the most IKE SAs that may be half-open, made by peers;
	// default 4096.
	HalfOpen int
	// CookieAt is how many half-open IKE SAs there are when cookies are asked
	// for (RFC 7296 section 2.6); default 64. Negative: always.
	CookieAt int
	// PerSource is the most half-open IKE SAs from one address without a cookie,
	// and as many with one; default 16. Requests beyond the former get a cookie.
	PerSource int
	// SourceRate is how many IKE_SA_INIT requests one address may send per
	// second without a valid cookie, with bursts of SourceBurst; default 20 and 40.
	// Requests beyond get a cookie.
	SourceRate, SourceBurst int
	// Sources is how many addresses the rates are kept of; default 4096. When
	// there are more, the ones that have been quiet longest are forgotten.
	Sources int
	// Replies is how many unprotected answers (wrong versions, unknown SPIs,
	// refused proposals) are sent per second; default 100.
	Replies int
	// SetupTime is how long an IKE SA may be half-open; default 30 s.
	SetupTime time.Duration
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.HalfOpen, 4096)
	def(&l.CookieAt, 64)
	def(&l.PerSource, 16)
	def(&l.SourceRate, 20)
	def(&l.SourceBurst, 40)
	def(&l.Sources, 4096)
	def(&l.Replies, 100)
	if l.SetupTime == 0 {
		l.SetupTime = defaultSetupTime
	}
	return l
}

// Limits of one tunnel. What reaches them is refused or dropped, and counted.
const (
	defaultSetupTime = 30 * time.Second
	// maxTasks is the longest queue of exchanges that wait for their turn.
	maxTasks = 64
	// maxChildren is the most Child SAs of one tunnel; a peer that asks for
	// more gets NO_ADDITIONAL_SAS.
	maxChildren = 64
	// maxSelectors is the most traffic selectors per side that are agreed on.
	maxSelectors = 64
	// maxInitTries bounds how often an IKE_SA_INIT is begun again because of
	// COOKIE and INVALID_KE_PAYLOAD.
	maxInitTries = 5
	// maxFragments is the most fragments of one message, which together with
	// maxMessage bounds a reassembly.
	maxFragments = 128
	maxMessage   = 64 << 10
	// maxGenerations is the most IKE SAs of one tunnel at a time: the current
	// one, its predecessors and what collisions leave over.
	maxGenerations = 8
	// maxDeparted is the most tunnels whose last answer is kept for a peer that
	// did not get it.
	maxDeparted = 4096
	// maxSPIDraws bounds the search for an SPI that is free.
	maxSPIDraws = 64
)

// Times that are not configured.
const (
	// lingerTime is how long a replaced inbound SA goes on decrypting ESP that
	// was overtaken by the Delete.
	lingerTime = 5 * time.Second
	// failedTime is how long a refused IKE SA repeats its answer.
	failedTime = 10 * time.Second
	// FarewellTime is how long the last answer of a tunnel that is gone can be
	// repeated: some peers go on asking for nearly three minutes.
	FarewellTime = 3 * time.Minute
	// replacedTime is how long a rekeyed IKE SA waits for the peer's Delete.
	replacedTime = 60 * time.Second
	// retryMin, doubled with each try up to retryMax, and a random part of
	// retrySpread are the wait after TEMPORARY_FAILURE, and after a rekey that
	// the peer refused. RFC 7296 section 2.25 asks for a wait, but not for how
	// long.
	retryMin    = 2 * time.Second
	retryMax    = 2 * time.Minute
	retrySpread = 4 * time.Second
)

// Share divides l among n Demuxes that serve one gateway together. What one
// address may do is not divided: it may reach one of them only.
func (l Limits) Share(n int) Limits {
	l = l.withDefaults()
	for _, v := range []*int{&l.HalfOpen, &l.CookieAt, &l.Replies} {
		if *v > 0 {
			*v = max(1, *v/n)
		}
	}
	return l
}
