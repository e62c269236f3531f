package ike

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/wire"
)

// role is what an IKE SA is to its tunnel.
type role uint8

const (
	// roleCurrent carries new exchanges.
	roleCurrent role = iota
	// roleCandidate was made by the peer's rekey. It waits for a sign that the
	// peer has it too, or, when we rekey ourselves, for the nonces to decide
	// which of the two stays (RFC 7296 section 2.8.2).
	roleCandidate
	// roleReplaced has a successor and waits for the peer's Delete.
	roleReplaced
	// roleClosing has our Delete under way.
	roleClosing
	// roleDead was deleted by the peer; it repeats its last answer for a while.
	roleDead
)

// ikeSA is one IKE SA (RFC 7296 section 2): its keys and its windows of one
// request in each direction.
type ikeSA struct {
	spiI, spiR ipsec.IKESPI
	initiator  bool // we are its original initiator
	role       role

	suite  suite.Suite
	keys   suite.Keys
	sealer *suite.Sealer // nil until the keys are there
	opener *suite.Opener

	born     time.Time
	softAt   time.Time // zero: never
	hardAt   time.Time // zero: never
	giveUpAt time.Time // of all but the current: when the waiting ends

	// successor is our SPI of the candidate that takes over, zero for none.
	successor ipsec.IKESPI

	sendID  uint32   // of our next request
	recvID  uint32   // of the peer's next request
	pending *request // our request that waits for its response
	answer  [][]byte // the response to request recvID-1, as it was sent
	inParts *parts   // fragments of request recvID
	reParts *parts   // fragments of the response to pending

	resync  *resync     // our synchronization under way (RFC 6311)
	claimed uint32      // the highest Message ID that we have said we would go on with
	synced  *syncAnswer // the peer's last synchronization, nil before the first

	unknown []byte // fields of a newer version's snapshot
}

// local is the SPI that we chose.
func (sa *ikeSA) local() ipsec.IKESPI {
	if sa.initiator {
		return sa.spiI
	}
	return sa.spiR
}

// header starts a message of ours.
func (sa *ikeSA) header(x wire.ExchangeType, response bool, id uint32) wire.Header {
	h := wire.Header{SPIi: sa.spiI, SPIr: sa.spiR, Exchange: x, MessageID: id}
	if sa.initiator {
		h.Flags |= wire.FlagInitiator
	}
	if response {
		h.Flags |= wire.FlagResponse
	}
	return h
}

// protect makes sealer and opener from the keys. Counter-mode IVs start where
// from says.
func (sa *ikeSA) protect(env *Env, from suite.IV) error {
	var err error
	if sa.sealer, err = suite.NewSealer(sa.suite, sa.keys.From(sa.initiator), from, env.Rand); err != nil {
		return err
	}
	sa.opener, err = suite.NewOpener(sa.suite, sa.keys.From(!sa.initiator))
	return err
}

// prf is that of the suite, which protect has checked.
func (sa *ikeSA) prf() suite.PRF {
	p, _ := suite.NewPRF(sa.suite.PRF)
	return p
}

// schedule starts the lifetime of sa.
func (sa *ikeSA) schedule(env *Env, now time.Time, l ipsec.Lifetime) {
	sa.born = now
	l = jittered(env, l)
	sa.softAt, sa.hardAt = after(now, l.Soft.Time), after(now, l.Hard.Time)
}

// after is now+d, never for a d of zero.
func after(now time.Time, d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return now.Add(d)
}

// jittered fills in the soft limits that derive from the hard ones, nine tenths
// of them, and moves all soft limits forward by a random part.
func jittered(env *Env, l ipsec.Lifetime) ipsec.Lifetime {
	soft := func(soft, hard uint64) uint64 {
		if soft == 0 || hard != 0 && soft > hard {
			soft = hard - hard/10
		}
		return env.before(soft)
	}
	l.Soft.Time = time.Duration(soft(uint64(l.Soft.Time), uint64(l.Hard.Time)))
	l.Soft.Bytes = soft(l.Soft.Bytes, l.Hard.Bytes)
	l.Soft.Packets = soft(l.Soft.Packets, l.Hard.Packets)
	return l
}

// wipe forgets the keys.
func (sa *ikeSA) wipe() {
	sa.keys.Wipe()
	sa.sealer, sa.opener = nil, nil
	if sa.pending != nil {
		sa.pending.offer.wipe()
	}
}
