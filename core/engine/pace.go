package engine

import "time"

// probesPerSecond is how many peers a member asks per second whether they are
// still there, all its shards together, when tunnels come to it: the thousands
// of a dead member must not be asked in one burst.
const probesPerSecond = 1000

// pace hands out moments that lie apart from each other.
type pace struct {
	every time.Duration
	next  time.Time
}

// slot is the first moment from now on that nobody else has.
func (p *pace) slot(now time.Time) time.Time {
	at := now
	if p.next.After(now) {
		at = p.next
	}
	p.next = at.Add(p.every)
	return at
}
