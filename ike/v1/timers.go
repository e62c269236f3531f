package v1

import (
	"slices"
	"time"

	"github.com/evergate/evergate/ike"
)

// event is what happens when a deadline has come.
type event uint8

const (
	evRepeat    event = iota // our message goes out again
	evForget                 // an exchange that is over is forgotten
	evGiveUp                 // a predecessor ends, or a rekeying is given up
	evSoftIKE                // the ISAKMP SA is to be rekeyed
	evHardIKE                // the ISAKMP SA is over
	evSetup                  // a half-open tunnel is given up
	evSoft                   // a pair is to be rekeyed
	evHard                   // a pair is over
	evRemove                 // a replaced pair goes
	evSend                   // a new pair takes the traffic
	evTask                   // a task that was put off is due
	evProbe                  // the peer was silent
	evKeepalive              // the NAT's mapping wants a packet
)

// timer is one deadline.
type timer struct {
	at    time.Time
	event event
	sa    *isakmpSA
	x     *exchange
	child *childSA
}

// timers lists all deadlines that are set.
func (t *Tunnel) timers() []timer {
	if t.state == ike.StateClosed || t.standby {
		return nil
	}
	out := make([]timer, 0, 8)
	add := func(tm timer) {
		if !tm.at.IsZero() {
			out = append(out, tm)
		}
	}
	if t.setup != nil {
		add(timer{at: t.setup.deadline, event: evSetup})
	}
	exchange := func(x *exchange) {
		if x.waiting {
			add(timer{at: x.nextAt, event: evRepeat, x: x})
		}
		add(timer{at: x.forgetAt, event: evForget, x: x})
	}
	for _, sa := range t.all() {
		if sa.main != nil {
			exchange(sa.main)
		}
		add(timer{at: sa.giveUpAt, event: evGiveUp, sa: sa})
		if sa == t.sa && sa.stage == stageUp {
			add(timer{at: sa.softAt, event: evSoftIKE, sa: sa})
		}
		add(timer{at: sa.hardAt, event: evHardIKE, sa: sa})
	}
	for _, x := range t.exchanges {
		exchange(x)
	}
	for _, c := range t.children {
		if c.state == childUp {
			add(timer{at: c.softAt, event: evSoft, child: c})
		}
		add(timer{at: c.hardAt, event: evHard, child: c})
		add(timer{at: c.removeAt, event: evRemove, child: c})
		add(timer{at: c.sendAt, event: evSend, child: c})
	}
	t.taskTimers(add)
	add(timer{at: t.probeDue(), event: evProbe})
	add(timer{at: t.keepaliveDue(), event: evKeepalive})
	return out
}

func (t *Tunnel) taskTimers(add func(timer)) {
	if t.state != ike.StateUp {
		return
	}
	for _, k := range t.tasks {
		if !t.busy() || k.kind == taskRekeyIKE {
			add(timer{at: k.notBefore, event: evTask})
		}
	}
}

// NextTimeout is when Timeout is to be the input; zero for never. It may lie in
// the past, which means now.
func (t *Tunnel) NextTimeout() time.Time {
	var next time.Time
	for _, tm := range t.timers() {
		if next.IsZero() || tm.at.Before(next) {
			next = tm.at
		}
	}
	return next
}

// onTimers fires what is due, oldest first. What that sets anew is the next
// Timeout's.
func (t *Tunnel) onTimers() {
	due := slices.DeleteFunc(t.timers(), func(tm timer) bool { return tm.at.After(t.now) })
	slices.SortStableFunc(due, func(a, b timer) int { return a.at.Compare(b.at) })
	for _, tm := range due {
		if t.state == ike.StateClosed {
			return
		}
		t.fire(tm)
	}
}

func (t *Tunnel) fire(tm timer) {
	switch tm.event {
	case evRepeat:
		if tm.x.waiting && !tm.x.nextAt.After(t.now) {
			t.repeat(tm.x)
		}
	case evForget:
		tm.x.forgetAt, tm.x.sent = time.Time{}, nil
		if tm.x == tm.x.sa.main {
			tm.x.sa.first = firstKey{}
		}
		t.dropExchanges(func(x *exchange) bool { return x == tm.x })
	case evGiveUp:
		t.onGiveUp(tm.sa)
	case evSoftIKE:
		tm.sa.softAt = time.Time{}
		t.enqueue(task{kind: taskRekeyIKE})
	case evHardIKE:
		t.expireISAKMP(tm.sa)
	case evSetup:
		t.onSetupTimeout()
	case evSoft:
		tm.child.softAt = time.Time{}
		t.enqueue(task{kind: taskRekeyChild, spi: tm.child.in})
	case evHard:
		if slices.Contains(t.children, tm.child) {
			t.expireChild(tm.child)
		}
	case evRemove:
		if slices.Contains(t.children, tm.child) {
			t.onRemove(tm.child)
		}
	case evSend:
		if !tm.child.sendAt.IsZero() && slices.Contains(t.children, tm.child) {
			t.takeTraffic(tm.child)
		}
	case evTask:
		// pump does it.
	case evProbe:
		if at := t.probeDue(); !at.IsZero() && !at.After(t.now) {
			t.ask()
		}
	case evKeepalive:
		t.keepalive()
	}
}

// onGiveUp ends what has waited long enough.
func (t *Tunnel) onGiveUp(sa *isakmpSA) {
	sa.giveUpAt = time.Time{}
	switch {
	case sa == t.sa:
	case sa.stage < stageUp:
		t.candidateFailed(sa)
	case !t.sa.proven && !t.probeDue().IsZero():
		t.goBack(sa)
	case sa == t.elsewhere() && t.now.Sub(t.sa.heard) > doubtTime && !t.probeDue().IsZero():
		sa.giveUpAt = t.now.Add(doubtTime) // does the peer know the current one?
		t.suspect()
	default:
		t.deleteISAKMP(sa)
		t.forget(sa)
	}
}

// onRemove ends a replaced pair, whose successor carries the traffic.
func (t *Tunnel) onRemove(c *childSA) {
	if c.state == childReplaced {
		t.deleteChild(c)
		return
	}
	t.remove(c)
}

// expireISAKMP ends an ISAKMP SA at its hard lifetime. Without another one the
// tunnel is over.
func (t *Tunnel) expireISAKMP(sa *isakmpSA) {
	sa.hardAt = time.Time{}
	if sa != t.sa {
		if sa.alive() {
			t.deleteISAKMP(sa)
		}
		t.forget(sa)
		return
	}
	t.log.Warn("phase 1 reached its hard lifetime", "age", t.now.Sub(sa.born))
	for _, o := range t.others {
		if o.stage == stageUp {
			t.swap(o)
			t.deleteISAKMP(sa)
			t.forget(sa)
			return
		}
	}
	t.say()
	t.finish(ike.ErrExpired)
}

// onSetupTimeout gives a half-open tunnel up.
func (t *Tunnel) onSetupTimeout() {
	if t.setup.refused != nil {
		t.finish(t.setup.refused)
		return
	}
	t.log.Warn("peer did not complete the negotiation", "state", t.state.String(), "remote", t.remote)
	if !t.setup.reported {
		t.fail(ike.FailTimeout)
	}
	t.finish(ike.ErrTimeout)
}
