package ike

import (
	"slices"
	"time"
)

// event is what happens when a deadline has come.
type event uint8

const (
	evRepeat    event = iota // our request goes out again
	evForget                 // a predecessor is forgotten
	evSoftIKE                // the IKE SA is to be rekeyed
	evHardIKE                // the IKE SA is over
	evSetup                  // a half-open IKE SA is given up
	evSoft                   // a pair is to be rekeyed
	evHard                   // a pair is over
	evLinger                 // a replaced inbound SA goes
	evTask                   // a task that was put off is due
	evProbe                  // the peer was silent
	evKeepalive              // the NAT's mapping wants a packet
	evResync                 // the peer is asked for the Message IDs, for the first time or again
)

// timer is one deadline.
type timer struct {
	at    time.Time
	event event
	sa    *ikeSA
	child *childSA
}

// timers calls yield for all deadlines that are set.
func (t *Tunnel) timers(yield func(timer)) {
	if t.state == StateClosed || t.standby {
		return
	}
	add := func(at time.Time, e event, sa *ikeSA, c *childSA) {
		if !at.IsZero() {
			yield(timer{at, e, sa, c})
		}
	}
	if t.setup != nil {
		add(t.setup.deadline, evSetup, nil, nil)
	}
	t.saTimers(t.sa, add)
	for _, sa := range t.others {
		t.saTimers(sa, add)
	}
	for _, c := range t.children {
		if c.state == childUp {
			add(c.softAt, evSoft, nil, c)
		}
		if c.state == childGone {
			add(c.removeAt, evLinger, nil, c)
		} else {
			add(c.hardAt, evHard, nil, c)
		}
	}
	if t.runnable() {
		for _, k := range t.tasks {
			add(k.notBefore, evTask, nil, nil)
		}
		add(t.probeDue(), evProbe, nil, nil)
	}
	add(t.keepaliveDue(), evKeepalive, nil, nil)
}

func (t *Tunnel) saTimers(sa *ikeSA, add func(time.Time, event, *ikeSA, *childSA)) {
	if sa.pending != nil && sa.role != roleDead {
		add(sa.pending.nextAt, evRepeat, sa, nil)
	}
	if sa != t.sa {
		add(sa.giveUpAt, evForget, sa, nil)
		return
	}
	if t.state == StateUp {
		add(t.resyncAt, evResync, sa, nil)
		if sa.resync != nil {
			add(sa.resync.nextAt, evResync, sa, nil)
		}
		add(sa.softAt, evSoftIKE, sa, nil)
		add(sa.hardAt, evHardIKE, sa, nil)
	}
}

// NextTimeout is when Timeout is to be the input; zero for never. It may lie in
// the past, which means now.
func (t *Tunnel) NextTimeout() time.Time {
	var next time.Time
	t.timers(func(tm timer) {
		if next.IsZero() || tm.at.Before(next) {
			next = tm.at
		}
	})
	return next
}

// onTimers fires what is due, oldest first. What that sets anew is the next
// Timeout's.
func (t *Tunnel) onTimers() {
	var due []timer
	t.timers(func(tm timer) {
		if !tm.at.After(t.now) {
			due = append(due, tm)
		}
	})
	slices.SortStableFunc(due, func(a, b timer) int { return a.at.Compare(b.at) })
	for _, tm := range due {
		if t.state == StateClosed {
			return
		}
		t.fire(tm)
	}
}

func (t *Tunnel) fire(tm timer) {
	switch tm.event {
	case evRepeat:
		if tm.sa.pending != nil && !tm.sa.pending.nextAt.After(t.now) {
			t.repeat(tm.sa)
		}
	case evForget:
		if t.confirm(tm.sa); tm.sa != t.sa {
			t.forget(tm.sa)
		}
	case evSoftIKE:
		tm.sa.softAt = time.Time{}
		t.enqueue(task{kind: taskRekeyIKE})
	case evHardIKE:
		t.log().Warn("ike sa reached its hard lifetime", "age", t.now.Sub(tm.sa.born))
		tm.sa.hardAt = time.Time{}
		if next := t.candidate(tm.sa.successor); next != nil {
			t.confirm(next)
			return
		}
		t.expire()
	case evSetup:
		t.onSetupTimeout()
	case evSoft:
		tm.child.softAt = time.Time{}
		t.enqueue(task{kind: taskRekeyChild, spi: tm.child.in})
	case evHard:
		tm.child.hardAt = time.Time{}
		t.expireChild(tm.child)
	case evLinger:
		t.remove(tm.child)
	case evTask:
		// pump does it.
	case evProbe:
		t.enqueue(task{kind: taskProbe})
	case evKeepalive:
		t.keepalive()
	case evResync:
		switch {
		case tm.sa != t.sa:
			// It was replaced in this step.
		case tm.sa.resync == nil:
			t.askIDs(tm.sa)
		case !tm.sa.resync.nextAt.After(t.now):
			t.repeatResync(tm.sa)
		}
	}
}
