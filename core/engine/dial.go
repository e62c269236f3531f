package engine

import (
	"hash/fnv"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// How long to wait before a connection that could not be made is tried again:
// twice as long each time, within these bounds.
const (
	firstRedial = time.Second
	lastRedial  = time.Minute
)

// dialing is a connection that this shard keeps up: it initiates it, and
// initiates it again when it is lost.
type dialing struct {
	tunnel *tunnel // nil while there is none
	at     time.Time
	wait   time.Duration
	down   bool // the operator took it down
}

// owns tells whether this shard initiates a connection.
func (s *Shard) owns(c *Connection) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.Name))
	return ShardOf(h.Sum64(), s.count) == s.index
}

// dialAll initiates what is to be up and is not.
func (s *Shard) dialAll(now time.Time) {
	s.planAll(now)
	s.redial(now)
}

// planAll plans to initiate what is to be up, and is not planned yet.
func (s *Shard) planAll(at time.Time) {
	for _, c := range s.policy.connections {
		if len(c.AutoNegotiate) == 0 || c.Passive || c.Dialup || !s.owns(c) || s.dial[c.Name] != nil {
			continue
		}
		s.dial[c.Name] = &dialing{at: at, wait: firstRedial}
	}
}

// redial initiates the connections whose time has come.
func (s *Shard) redial(now time.Time) {
	if s.resting {
		return
	}
	for _, name := range sortedNames(s.dial) {
		d := s.dial[name]
		if d.at.IsZero() || d.at.After(now) {
			continue
		}
		d.at = time.Time{}
		c := s.policy.Connection(name)
		if c == nil {
			continue
		}
		if s.reuse(c, d); s.elsewhere(c, d) {
			d.at = now.Add(lastRedial)
			continue
		}
		s.call(now, c, d, c.AutoNegotiate, nil)
	}
}

// reuse takes the tunnel that the peer has brought up meanwhile, the newest of several,
// for the one that is to be kept up: a call would only make another beside it. The
// children that it lacks are asked for there, and when it ends it is dialed again.
func (s *Shard) reuse(c *Connection, d *dialing) {
	if d.tunnel != nil || !s.names.Up(c.Name) {
		return
	}
	for _, t := range s.tunnels {
		if t.name == c.Name && t.conn.Hash == c.Hash && t.ike.Established() && (d.tunnel == nil || t.serial > d.tunnel.serial) {
			d.tunnel = t
		}
	}
}

// call initiates c and asks for its children.
func (s *Shard) call(now time.Time, c *Connection, d *dialing, children []string, packet *ipsec.Selectors) {
	if d.tunnel == nil {
		d.tunnel = s.own(s.machines.initiate(now, c.Connection))
	}
	for _, child := range children {
		s.step(now, d.tunnel, ike.Initiate{Child: child, For: packet})
		if d.tunnel == nil {
			return // it failed at once
		}
	}
}

// dialed notes success.
func (s *Shard) dialed(name string) {
	if d := s.dial[name]; d != nil {
		d.wait = firstRedial
	}
}

// hungUp notes that a tunnel is over, and plans the next try.
func (s *Shard) hungUp(now time.Time, name string, t *tunnel, why error) {
	d := s.dial[name]
	if d == nil || d.tunnel != t {
		return
	}
	d.tunnel = nil
	c := s.policy.Connection(name)
	if c == nil || d.down || len(c.AutoNegotiate) == 0 {
		delete(s.dial, name)
		return
	}
	d.at = now.Add(d.wait)
	s.log.Info("tunnel will be initiated again", "phase1", name, "after", d.wait, "error", why)
	d.wait = min(2*d.wait, lastRedial)
}

// missed plans to ask again for the children of a tunnel that is up and has
// none: the peer refused or deleted them. One that is closing is hungUp's.
func (s *Shard) missed(now time.Time, t *tunnel) {
	if !t.ike.Established() || len(t.sas) > 0 {
		return
	}
	d := s.dial[t.conn.Name]
	if d == nil || d.tunnel != t || d.down || !d.at.IsZero() || len(t.conn.AutoNegotiate) == 0 {
		return
	}
	d.at = now.Add(d.wait)
	d.wait = min(2*d.wait, lastRedial)
}

// onUp initiates a connection by name, with the children that are always up, or
// all of them.
func (s *Shard) onUp(now time.Time, name string) {
	c := s.policy.Connection(name)
	if c == nil || !s.owns(c) || s.resting {
		return
	}
	s.rd.Matched++
	if c.Dialup {
		return // nobody to call
	}
	d := s.dial[name]
	if d == nil {
		d = &dialing{wait: firstRedial}
		s.dial[name] = d
	}
	d.at, d.down = time.Time{}, false
	s.reuse(c, d)
	children := c.AutoNegotiate
	if len(children) == 0 {
		for _, ch := range c.Children {
			children = append(children, ch.Name)
		}
	}
	s.call(now, c, d, children, nil)
}

// onAcquire initiates the child that a packet waits for. A tunnel that has an SA
// for it already needs no other one: a dataplane that lost its SAs reports what
// comes before they are put back.
func (s *Shard) onAcquire(now time.Time, ev offload.Acquire) {
	if s.resting {
		return
	}
	want := ipsec.Selectors{Local: []ipsec.TrafficSelector{ev.Local}, Remote: []ipsec.TrafficSelector{ev.Remote}}
	for _, c := range s.policy.connections {
		if c.Dialup || c.Passive || !s.owns(c) {
			continue
		}
		i := slices.IndexFunc(c.Children, func(ch *ike.Child) bool { return ch.Selectors.Contains(want) })
		if i < 0 {
			continue
		}
		d := s.dial[c.Name]
		if d == nil {
			d = &dialing{wait: firstRedial}
			s.dial[c.Name] = d
		}
		if d.down || !d.at.IsZero() {
			return // taken down, or its time comes
		}
		if s.reuse(c, d); d.tunnel != nil && d.tunnel.sends(want) {
			return // it is there
		}
		s.call(now, c, d, []string{c.Children[i].Name}, &want)
		return
	}
}

func sortedNames(m map[string]*dialing) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}
