package ike

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// taskKind is what a request of ours is for.
type taskKind uint8

const (
	taskInit taskKind = iota + 1
	taskAuth
	taskCreate
	taskRekeyChild
	taskRekeyIKE
	taskDeleteChild
	taskDeleteIKE
	taskProbe
)

// task is an exchange that waits for its turn, or that is under way.
type task struct {
	kind taskKind
	// child names the configuration of what taskCreate makes, and want what a
	// packet asked for.
	child string
	want  *ipsec.Selectors
	// single asks for want only, after SINGLE_PAIR_REQUIRED.
	single bool
	// spi is the inbound SPI of the pair that is rekeyed or deleted.
	spi ipsec.SPI
	// group replaces the preferred key exchange method, after
	// INVALID_KE_PAYLOAD.
	group ipsec.GroupID
	tries int
	// notBefore puts the task off.
	notBefore time.Time
}

// same tells whether two tasks have the same effect.
func (k task) same(o task) bool {
	switch k.kind {
	case taskCreate:
		return o.kind == taskCreate && k.child == o.child && k.want == nil && o.want == nil
	default:
		return k.kind == o.kind && k.spi == o.spi
	}
}

// enqueue puts a task into the queue, once.
func (t *Tunnel) enqueue(k task) {
	if t.sa.pending != nil && t.sa.pending.task.same(k) {
		return
	}
	for _, o := range t.tasks {
		if o.same(k) {
			return
		}
	}
	if len(t.tasks) >= maxTasks {
		t.env.Stats.QueueFull++
		return
	}
	t.tasks = append(t.tasks, k)
	t.publish()
}

// again puts a task off that could not be done now, longer each time.
func (t *Tunnel) again(k task) {
	wait := retryMin
	for n := k.tries; n > 0 && wait < retryMax; n-- {
		wait *= 2
	}
	k.tries++
	k.notBefore = t.now.Add(min(wait, retryMax) + t.env.spread(retrySpread))
	t.enqueue(k)
}

// pump starts tasks while the window is free: those that are due, in order.
func (t *Tunnel) pump() {
	if t.state == StateUp && max(t.sa.sendID, t.sa.recvID) >= maxMessageID {
		t.enqueue(task{kind: taskRekeyIKE})
	}
	for t.runnable() {
		i := t.dueTask()
		if i < 0 {
			return
		}
		k := t.tasks[i]
		t.tasks = append(t.tasks[:i:i], t.tasks[i+1:]...)
		t.start(k)
		t.publish()
	}
}

func (t *Tunnel) runnable() bool {
	return (t.state == StateUp || t.state == StateClosing) && t.setup == nil && t.sa.pending == nil && t.sa.resync == nil && t.resyncAt.IsZero()
}

func (t *Tunnel) dueTask() int {
	for i, k := range t.tasks {
		if !k.notBefore.After(t.now) {
			return i
		}
	}
	return -1
}

// start begins the exchange of a task, unless it has lost its object meanwhile.
func (t *Tunnel) start(k task) {
	switch k.kind {
	case taskCreate:
		t.startCreate(k)
	case taskRekeyChild:
		t.startRekeyChild(k)
	case taskRekeyIKE:
		t.startRekeyIKE(k)
	case taskDeleteChild:
		t.startDeleteChild(k)
	case taskDeleteIKE:
		t.startDeleteIKE(t.sa)
	case taskProbe:
		t.startProbe()
	case taskInit, taskAuth:
		// Never queued: they belong to the set-up.
	}
}

// cancel removes the tasks that match.
func (t *Tunnel) cancel(match func(task) bool) {
	kept := t.tasks[:0:0]
	for _, k := range t.tasks {
		if !match(k) {
			kept = append(kept, k)
		}
	}
	t.tasks = kept
}
