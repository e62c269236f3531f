package ha

import (
	"cmp"
	"fmt"
	"iter"
	"math/bits"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
)

// Epoch orders claims of ownership: the upper 60 bits count, the lower four
// hold the claiming member, so that two claims never tie. Higher wins. It has
// the layout of the dataplane's epochs, so one becomes the other by conversion.
type Epoch uint64

// NewEpoch joins a count, at most 2^60-1, and the member that claims.
func NewEpoch(count uint64, m ipsec.MemberID) Epoch { return Epoch(count<<4 | uint64(m)&0xf) }

// Count is the counting part of e.
func (e Epoch) Count() uint64 { return uint64(e >> 4) }

// Member is the member that made the claim: the owner.
func (e Epoch) Member() ipsec.MemberID { return ipsec.MemberID(e & 0xf) }

// String formats e as "7/2": count, then member.
func (e Epoch) String() string { return fmt.Sprintf("%d/%d", e.Count(), e.Member()) }

// Version tells how new a copy of a tunnel is: what its owner of Epoch had
// published when it had counted to Change. The later epoch is the newer one,
// whatever the change.
type Version struct {
	Epoch  Epoch
	Change uint64
}

// Compare is -1, 0 or 1 as v is older than, the same as or newer than o.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Epoch, o.Epoch), cmp.Compare(v.Change, o.Change))
}

// Index numbers what our own engine handed over for replication, from 1.
type Index uint64

// Life counts the starts of a member on one disk, from 1. Memory lasts a life.
type Life uint32

// DiskID names the stable storage of a member. It is drawn at random when the
// storage is empty, so another one says that all that was stored is lost.
type DiskID uint64

// Members is a set of members.
type Members uint16

// MembersOf returns the set of ids.
func MembersOf(ids ...ipsec.MemberID) Members {
	var s Members
	for _, id := range ids {
		s = s.With(id)
	}
	return s
}

// Has tells whether id is in s.
func (s Members) Has(id ipsec.MemberID) bool { return id < ipsec.MaxMembers && s&(1<<id) != 0 }

// With returns s and id.
func (s Members) With(id ipsec.MemberID) Members {
	if id >= ipsec.MaxMembers {
		return s
	}
	return s | 1<<id
}

// Without returns s but for id.
func (s Members) Without(id ipsec.MemberID) Members { return s &^ MembersOf(id) }

// Len is the number of members in s.
func (s Members) Len() int { return bits.OnesCount16(uint16(s)) }

// All yields the members of s in ascending order.
func (s Members) All() iter.Seq[ipsec.MemberID] {
	return func(yield func(ipsec.MemberID) bool) {
		for rest := uint16(s); rest != 0; rest &= rest - 1 {
			if !yield(ipsec.MemberID(bits.TrailingZeros16(rest))) {
				return
			}
		}
	}
}

// String formats s as "{0 3 15}".
func (s Members) String() string {
	var out []string
	for id := range s.All() {
		out = append(out, fmt.Sprint(uint8(id)))
	}
	return "{" + strings.Join(out, " ") + "}"
}

// Role of this member in the group.
type Role uint8

// The roles. The zero value is the one that may do least.
const (
	// Syncing has not got everything from every member that is there.
	Syncing Role = iota
	// Standby has, and may take over.
	Standby
)

// String is "syncing" or "standby".
func (r Role) String() string {
	if r == Standby {
		return "standby"
	}
	return "syncing"
}

// HardState is what must survive a crash. Whoever drives a Node writes it to
// stable storage, and is told it again by New after the next start.
type HardState struct {
	// Disk names the storage; 0 when it is empty.
	Disk DiskID
	// Life is the last life that was begun.
	Life Life
	// Count is the highest count of an epoch that this member has used.
	Count uint64
	// Armed are the members whose tunnels this life or an earlier one may have
	// taken over without every member of the group knowing of it.
	Armed Members
}
