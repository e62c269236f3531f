package engine

import (
	"time"

	"github.com/evergate/evergate/ike"
)

// A member of a unit that is not its primary rests: it neither calls peers nor
// answers them. Whatever it was about to say when it stopped to be primary is the
// next one's to say, who has the same state; the peer's retransmissions, or its
// own, bring it about.

// settleTime is how long a new primary waits for the tunnels that it inherits
// before it calls the peers that it has none with.
const settleTime = time.Second

// Rest tells a shard whether to rest.
type Rest struct{ On bool }

func (Rest) input() {}

// onRest begins or ends the rest.
func (s *Shard) onRest(now time.Time, on bool) {
	if s.resting == on {
		return
	}
	s.resting = on
	if on {
		s.abandon(now)
		return
	}
	for _, d := range s.dial {
		if d.tunnel == nil && !d.at.IsZero() {
			d.at = now.Add(settleTime)
		}
	}
	s.planAll(now.Add(settleTime))
}

// abandon ends, without a word, the tunnels that no other member holds: they are of no
// use to a subordinate, and their peers have begun anew by the time that it is primary
// again.
func (s *Shard) abandon(now time.Time) {
	for _, t := range s.each() {
		if t.name != "" && !s.replicates(t) {
			s.step(now, t, ike.Superseded{Reason: "another member is primary, and does not hold it"})
		}
	}
}

// inherits notes a tunnel that came from another primary: it need not be dialed.
func (s *Shard) inherits(t *tunnel) {
	if t.conn == nil || t.conn.Dialup || t.conn.Passive || len(t.conn.AutoNegotiate) == 0 || !s.owns(t.conn) {
		return
	}
	if d := s.dial[t.conn.Name]; d == nil || d.tunnel == nil {
		s.dial[t.conn.Name] = &dialing{tunnel: t, wait: firstRedial}
	}
}

// bequeaths notes that a tunnel has another owner, who dials it again when need be.
func (s *Shard) bequeaths(t *tunnel) {
	if d := s.dial[t.conn.Name]; d != nil && d.tunnel == t {
		delete(s.dial, t.conn.Name)
	}
}

// elsewhere tells whether a connection of a unit has a tunnel at another shard:
// the last primary may have had another number of them.
func (s *Shard) elsewhere(c *Connection, d *dialing) bool {
	return s.unit && d.tunnel == nil && s.names.Up(c.Name)
}

// awake returns the messages that a resting shard takes: those of tunnels that are
// known somewhere. First messages of peers are the primary's.
func (s *Shard) awake(dgs []ike.Datagram) []ike.Datagram {
	if !s.resting {
		return dgs
	}
	var out []ike.Datagram
	for _, dg := range dgs {
		if own, _ := OwnSPI(dg.Payload); own != 0 {
			out = append(out, dg)
			continue
		}
		s.stats.Rested++
	}
	return out
}

// hush takes back what a resting shard would say to peers.
func (s *Shard) hush() {
	if !s.resting {
		return
	}
	s.stats.Rested += uint64(len(s.rd.Send))
	s.rd.Send = nil
	for i := range s.rd.Publish {
		s.stats.Rested += uint64(len(s.rd.Publish[i].Send))
		s.rd.Publish[i].Send = nil
	}
}
