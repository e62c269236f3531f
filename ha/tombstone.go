package ha

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// tombstones remember what was removed, so that a late record cannot bring it
// back (I8). They are kept in the order in which they were made.
type tombstones struct {
	limit  int
	byID   map[ipsec.TunnelID]tombstone
	inTime []grave
	lost   uint64 // that went before their time
}

type tombstone struct {
	epoch Epoch
	final bool
}

type grave struct {
	id ipsec.TunnelID
	at time.Time
}

func newTombstones(limit int) tombstones {
	return tombstones{limit: limit, byID: make(map[ipsec.TunnelID]tombstone)}
}

// add notes a removal.
func (s *tombstones) add(now time.Time, r Remove) {
	old, known := s.byID[r.Tunnel]
	s.byID[r.Tunnel] = tombstone{max(old.epoch, r.Epoch), old.final || r.Final}
	if known {
		return
	}
	s.inTime = append(s.inTime, grave{r.Tunnel, now})
	if len(s.inTime) > s.limit {
		s.lost++
		s.dig(1)
	}
}

// has tells whether a copy of epoch e is of a tunnel that was removed.
func (s *tombstones) has(id ipsec.TunnelID, e Epoch) bool {
	t, ok := s.byID[id]
	return ok && (t.final || e <= t.epoch)
}

// remove is what a member is told that comes with a removed tunnel.
func (s *tombstones) remove(id ipsec.TunnelID) Remove {
	t := s.byID[id]
	return Remove{Tunnel: id, Epoch: t.epoch, Final: t.final}
}

// expire forgets what was removed before a time.
func (s *tombstones) expire(before time.Time) {
	n := 0
	for n < len(s.inTime) && s.inTime[n].at.Before(before) {
		n++
	}
	s.dig(n)
}

func (s *tombstones) dig(n int) {
	for _, g := range s.inTime[:n] {
		delete(s.byID, g.id)
	}
	s.inTime = s.inTime[n:]
}
