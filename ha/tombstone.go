package ha

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// tombstones remember what was removed, so that a late record cannot bring it
// back (I8). They are kept in the order in which they were made.
type tombstones struct {
	limit, answers int
	byID           map[ipsec.TunnelID]tombstone
	inTime         []grave
	answered       []grave // those that have an answer
	lost           uint64  // that went before their time
}

type tombstone struct {
	epoch Epoch
	final bool
	// answer is what the peer got when it ended the tunnel, for a while.
	answer []byte
}

type grave struct {
	id ipsec.TunnelID
	at time.Time
}

func newTombstones(limit, answers int) tombstones {
	return tombstones{limit: limit, answers: answers, byID: make(map[ipsec.TunnelID]tombstone)}
}

// add notes a removal, and tells whether it brings an answer that is new.
func (s *tombstones) add(now time.Time, r Remove) bool {
	old, known := s.byID[r.Tunnel]
	t := tombstone{max(old.epoch, r.Epoch), old.final || r.Final, old.answer}
	news := len(r.Answer) > 0 && len(old.answer) == 0
	if news {
		t.answer = r.Answer
	}
	s.byID[r.Tunnel] = t
	if !known {
		s.inTime = append(s.inTime, grave{r.Tunnel, now})
	}
	if len(s.inTime) > s.limit {
		s.lost++
		s.dig(1)
	}
	if news {
		s.answered = append(s.answered, grave{r.Tunnel, now})
		s.silence(len(s.answered) - s.answers)
	}
	return news
}

// forgetAnswers forgets what was answered before a time.
func (s *tombstones) forgetAnswers(before time.Time) {
	n := 0
	for n < len(s.answered) && s.answered[n].at.Before(before) {
		n++
	}
	s.silence(n)
}

// silence forgets the n oldest answers.
func (s *tombstones) silence(n int) {
	if n <= 0 {
		return
	}
	for _, g := range s.answered[:n] {
		if t, ok := s.byID[g.id]; ok {
			t.answer = nil
			s.byID[g.id] = t
		}
	}
	s.answered = s.answered[n:]
}

// has tells whether a copy of epoch e is of a tunnel that was removed.
func (s *tombstones) has(id ipsec.TunnelID, e Epoch) bool {
	t, ok := s.byID[id]
	return ok && (t.final || e <= t.epoch)
}

// remove is what a member is told that comes with a removed tunnel.
func (s *tombstones) remove(id ipsec.TunnelID) Remove {
	t := s.byID[id]
	return Remove{Tunnel: id, Epoch: t.epoch, Final: t.final, Answer: t.answer}
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
