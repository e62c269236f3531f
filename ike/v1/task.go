package v1

import (
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// taskKind is what an exchange of ours is for.
type taskKind uint8

const (
	taskCreate     taskKind = iota + 1 // a pair of one child
	taskRekeyChild                     // of the pair with our inbound SPI
	taskRekeyIKE
	taskAll // all pairs of a child, once the tunnel is up
)

// task is an exchange that waits for its turn, or that is under way.
type task struct {
	kind      taskKind
	child     string
	selectors ipsec.Selectors // of taskCreate
	spi       ipsec.SPI       // of taskRekeyChild
	tries     int
	notBefore time.Time // puts the task off
}

// same tells whether two tasks have the same effect.
func (k task) same(o task) bool {
	return k.kind == o.kind && k.child == o.child && k.spi == o.spi && sameSelectors(k.selectors, o.selectors)
}

// enqueue puts a task into the queue, once.
func (t *Tunnel) enqueue(k task) {
	for _, o := range t.tasks {
		if o.same(k) {
			return
		}
	}
	for _, x := range t.exchanges {
		if x.initiator && x.forgetAt.IsZero() && x.task.same(k) {
			return
		}
	}
	if k.kind == taskRekeyIKE && t.candidate() != nil {
		return
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
	k.notBefore = t.now.Add(min(wait, retryMax) + spread(t.env, retrySpread))
	t.enqueue(k)
}

// pump starts tasks that are due, in order. Of our own quick modes one is under
// way at a time, because many peers can do no more.
func (t *Tunnel) pump() {
	for t.state == ike.StateUp {
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

func (t *Tunnel) dueTask() int {
	busy := t.busy()
	return slices.IndexFunc(t.tasks, func(k task) bool {
		return !k.notBefore.After(t.now) && (!busy || k.kind == taskRekeyIKE)
	})
}

// busy tells whether a quick mode of ours is under way, or none can be begun.
func (t *Tunnel) busy() bool {
	return t.sa.stage != stageUp || slices.ContainsFunc(t.exchanges, func(x *exchange) bool {
		return x.initiator && x.kind == wire.QuickMode && x.forgetAt.IsZero()
	})
}

// start begins the exchange of a task, unless it has lost its object meanwhile.
func (t *Tunnel) start(k task) {
	switch k.kind {
	case taskAll:
		t.createNamed(ike.Initiate{Child: k.child})
	case taskCreate:
		if conf := childNamed(t.conn, k.child); conf != nil && !t.hasPair(conf, k.selectors) {
			t.startQuick(k, conf, k.selectors)
		}
	case taskRekeyChild:
		if c := t.childByIn(k.spi); c != nil && c.state == childUp {
			t.startQuick(k, c.conf, c.selectors)
		}
	case taskRekeyIKE:
		t.startRekey()
	}
}

// createNamed asks for the pairs of a child that are not there: all of them, or
// the one that a packet needs.
func (t *Tunnel) createNamed(in ike.Initiate) {
	conf := childNamed(t.conn, in.Child)
	if conf == nil && in.Child == "" && len(t.conn.Children) > 0 {
		conf = t.conn.Children[0]
	}
	if conf == nil {
		t.log.Warn("no child to initiate", "child", in.Child)
		return
	}
	for _, pair := range t.pairsOf(conf) {
		if in.For != nil && !pair.Contains(firstOf(*in.For)) {
			continue
		}
		if !t.hasPair(conf, pair) {
			t.enqueue(task{kind: taskCreate, child: conf.Name, selectors: pair})
		}
	}
}

// firstOf are the first selectors of each side, those of the packet.
func firstOf(s ipsec.Selectors) ipsec.Selectors {
	return ipsec.Selectors{Local: s.Local[:min(1, len(s.Local))], Remote: s.Remote[:min(1, len(s.Remote))]}
}

func (t *Tunnel) hasPair(conf *ike.Child, s ipsec.Selectors) bool {
	return slices.ContainsFunc(t.children, func(c *childSA) bool {
		return c.conf.Name == conf.Name && c.state == childUp && sameSelectors(c.selectors, s)
	})
}
