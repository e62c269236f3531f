package sim

import "time"

// process is a program: actors that share its fate. It runs, stands still
// (frozen), or is dead; each start is another life.
type process struct {
	c      *Cluster
	name   string
	up     bool
	frozen bool
	life   int
	actors []*actor
}

// actor is a goroutine with its queue: it does one thing after the other, each a
// little later.
type actor struct {
	of    *process
	queue []func()
	woken bool
}

// maxBacklog is more than any actor ever has to do in a run. A network cannot
// make more: what it sends is offered.
const maxBacklog = 20000

// maxOffered is how much the network may leave waiting for an actor.
const maxOffered = 1024

func (p *process) actor() *actor {
	a := &actor{of: p}
	p.actors = append(p.actors, a)
	return a
}

// start begins a life with empty queues.
func (p *process) start() {
	p.life++
	p.up, p.frozen, p.actors = true, false, nil
}

// stop ends a life. What waits is lost.
func (p *process) stop() { p.up, p.actors = false, nil }

// thaw lets a frozen process go on.
func (p *process) thaw() {
	p.frozen = false
	for _, a := range p.actors {
		a.wake()
	}
}

// push gives an actor something to do.
func (a *actor) push(do func()) {
	if len(a.queue) > maxBacklog {
		a.of.c.breach("%s has %d things to do: a queue grows without bound", a.of.name, len(a.queue))
		return
	}
	a.queue = append(a.queue, do)
	a.wake()
}

// offer gives an actor something that may get lost.
func (a *actor) offer(do func()) {
	if len(a.queue) < maxOffered {
		a.push(do)
	}
}

// again puts something back in front, for later.
func (a *actor) again(wait time.Duration, do func()) {
	a.queue = append([]func(){do}, a.queue...)
	a.woken = true
	a.of.c.clock.After(wait, a.work)
}

func (a *actor) wake() {
	if a.woken || len(a.queue) == 0 || a.of.frozen {
		return
	}
	a.woken = true
	a.of.c.clock.After(a.of.c.haste(), a.work)
}

// work does the next thing.
func (a *actor) work() {
	a.woken = false
	if !a.of.alive(a) || a.of.frozen || len(a.queue) == 0 {
		return
	}
	do := a.queue[0]
	a.queue = a.queue[1:]
	do()
	if a.of.alive(a) {
		a.wake()
	}
}

// alive tells whether a is of the present life.
func (p *process) alive(a *actor) bool {
	for _, o := range p.actors {
		if o == a {
			return p.up
		}
	}
	return false
}

// idle tells whether an actor has nothing to do.
func (a *actor) idle() bool { return len(a.queue) == 0 }

// alarm is a timer of a process. It goes off once; set moves it.
type alarm struct {
	at time.Time // zero while it is not set
	do func()
}

// set makes the alarm go off at a time of the virtual clock; zero for never.
func (p *process) set(a *alarm, at time.Time) {
	if at.Equal(a.at) && !at.IsZero() && at.After(p.c.clock.Now()) {
		return
	}
	a.at = at
	if at.IsZero() {
		return
	}
	p.c.clock.After(at.Sub(p.c.clock.Now()), func() {
		if a.at.Equal(at) {
			a.at = time.Time{}
			a.do()
		}
	})
}
