package v1

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/suite"
	"github.com/evergate/evergate/ike/v1/keymat"
)

// stage is how far an ISAKMP SA is.
type stage uint8

const (
	stagePhase1   stage = iota // main or aggressive mode is under way
	stageXAuth                 // the user has to prove himself
	stageConfig                // mode config is under way
	stageUp                    // it carries exchanges
	stageReplaced              // it has a successor; it is deleted after a while
	stageDead                  // the peer has deleted it
)

// isakmpSA is one ISAKMP SA (RFC 2408 section 2.4).
type isakmpSA struct {
	cookieI, cookieR ipsec.IKESPI
	initiator        bool // of its phase 1
	stage            stage

	suite suite.Suite
	keys  *keymat.Keys // nil until they are known
	// lastBlock is the last block of ciphertext of phase 1. The IVs of phase 2
	// come from it (RFC 2409 appendix B).
	lastBlock []byte

	main *exchange // phase 1, kept to repeat its last message
	// first is what the first message had, of one that the peer began on this
	// member; the Demux knows it again by that as long as main is kept.
	first  firstKey
	phase1 *phase1 // nil once it is done

	// proven: the peer has said something on it, so it has it. The initiator of
	// aggressive mode does not know by its end.
	proven bool
	// heard is when the peer last said something fresh on it, zero for never.
	heard time.Time
	// asked is the sequence number of the peer's last R-U-THERE, nil before it, and
	// askedIn are the message IDs that it came with.
	asked   *uint32
	askedIn []uint32

	life     time.Duration // as agreed on, zero for none
	began    time.Time     // when its phase 1 did
	born     time.Time
	softAt   time.Time // zero: never
	hardAt   time.Time // zero: never
	giveUpAt time.Time // of stageReplaced and stageDead, and of a phase 1 that rekeys

	// used are the message IDs of quick mode and transactions that the peer began
	// here. One that comes again is a replay: IKEv1 has no other protection.
	used []uint32

	unknown []byte // fields of a newer version's snapshot
}

// local is the cookie that we chose.
func (sa *isakmpSA) local() ipsec.IKESPI {
	if sa.initiator {
		return sa.cookieI
	}
	return sa.cookieR
}

// alive tells whether informational messages can be sent on sa.
func (sa *isakmpSA) alive() bool {
	return sa.keys != nil && sa.lastBlock != nil && sa.stage >= stageXAuth && sa.stage != stageDead
}

// schedule starts the lifetime of sa.
func (sa *isakmpSA) schedule(env *ike.Env, now time.Time) {
	sa.born = now
	l := jittered(env, ipsec.Lifetime{Hard: ipsec.Limits{Time: sa.life}})
	sa.softAt, sa.hardAt = after(now, l.Soft.Time), after(now, l.Hard.Time)
}

// shorten lowers the lifetime of sa to what the peer says.
func (sa *isakmpSA) shorten(env *ike.Env, life time.Duration) {
	if life <= 0 || sa.life != 0 && sa.life <= life {
		return
	}
	sa.life = life
	sa.schedule(env, sa.born)
}

// wipe forgets the keys.
func (sa *isakmpSA) wipe() {
	sa.keys.Wipe()
	sa.keys = nil
	sa.phase1.wipe()
}

// note remembers a message ID; false when it was used before, or when there have
// been too many.
func (sa *isakmpSA) note(id uint32) bool {
	for _, u := range sa.used {
		if u == id {
			return false
		}
	}
	if len(sa.used) >= maxUsed {
		return false
	}
	sa.used = append(sa.used, id)
	return true
}

// after is now+d, never for a d of zero.
func after(now time.Time, d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return now.Add(d)
}

// jittered fills in the soft limits, nine tenths of the hard ones where none is
// set, and moves them forward by a random part, so that the two ends do not rekey
// together.
func jittered(env *ike.Env, l ipsec.Lifetime) ipsec.Lifetime {
	soft := func(soft, hard uint64) uint64 {
		if soft == 0 || hard != 0 && soft > hard {
			soft = hard - hard/10
		}
		if soft < 20 {
			return soft
		}
		return soft - random64(env)%(soft/20)
	}
	l.Soft.Time = time.Duration(soft(uint64(l.Soft.Time), uint64(l.Hard.Time)))
	l.Soft.Bytes = soft(l.Soft.Bytes, l.Hard.Bytes)
	l.Soft.Packets = soft(l.Soft.Packets, l.Hard.Packets)
	return l
}
