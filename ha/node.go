package ha

import (
	"maps"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Node is the replication machine of one member. It is not safe for concurrent
// use: one goroutine steps it.
type Node struct {
	cfg  Config
	hard HardState
	// life and disk are ours from the first step on.
	begun   bool
	role    Role
	planeUp bool
	// unbounded and blind are what Keeps says of it.
	unbounded, blind bool
	// bare: our dataplane holds only what it was given in this life.
	bare bool
	// leaving: we are about to stop, and take nothing over any more; gone: we have
	// said goodbye; silent: our own SAs send no more because of that.
	leaving, gone, silent bool
	// toHand are tunnels of ours that are still to be given to successors.
	toHand []*tunnel
	// hushing are tunnels that our heirs have, in the order of their time.
	hushing []hushing
	// seized are tunnels that were handed to us and wait for the dataplane, in order.
	seized []seized
	// adopts: our dataplane has outlived our last life. estate is what that has left, nil
	// once it is settled.
	adopts  bool
	estate  *estate
	unit    *unit // nil outside of one
	classes map[string]uint64

	// seen is the highest count of an epoch that anybody is known to have used.
	seen    uint64
	tunnels map[ipsec.TunnelID]*tunnel
	bySA    map[ipsec.SAID]*child // by inbound and by outbound name
	byOwner index
	tombs   tombstones
	// refused is how many pairs our dataplane did not take.
	refused int
	// used is child.used of children that are not here any more.
	used map[ipsec.SAID]uint64
	// claims are the tunnels whose claim is not known to all yet. restorable are
	// those that wait no longer, and restoring all in the order of their deadlines;
	// both may hold what is no claim any more.
	claims                map[ipsec.TunnelID]*tunnel
	restorable, restoring []*tunnel

	peers [ipsec.MaxMembers]*peer // nil where no member is configured
	// armed are the groups that may start here, with the epoch of the arming.
	// unsure is what HardState.Armed was when this life began.
	armed  [ipsec.MaxMembers]Epoch
	unsure Members
	// marked: the peers' marks are set for clearing HardState.Armed.
	marked bool
	strays map[ipsec.TunnelID]time.Time
	// renewing are pairs that a member is barred from, and that wait for their turn to
	// get new keys. What is not ours any more may be among them.
	renewing []*child

	serial  uint64 // of the last orders
	carried uint64
	waiting []promise

	index, commit Index
	uncommitted   []uncommitted
	// counts are counters that other members are to hear, countOrder their names, first
	// come first. Names of SAs that have gone since may be among these.
	counts     map[ipsec.SAID]Counted
	countOrder []ipsec.SAID

	health Health
	stats  Stats

	joinBy, beat, count, entropy, last time.Time
	// woke is when we last noticed that we had been away, zero for never.
	woke time.Time
	rd   Ready
}

// New makes the machine for a new life. An error names what is wrong with the
// configuration.
//
// Whatever the dataplane still holds of an earlier life must be told with the first
// Plane, or have been demoted before the first Ready is carried out.
func New(cfg Config, hard HardState) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.check(hard); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, hard: hard, seen: hard.Count, planeUp: true,
		tunnels: make(map[ipsec.TunnelID]*tunnel),
		bySA:    make(map[ipsec.SAID]*child),
		byOwner: index{tallies: make(map[tallyKey]*tally)},
		claims:  make(map[ipsec.TunnelID]*tunnel),
		strays:  make(map[ipsec.TunnelID]time.Time),
		used:    make(map[ipsec.SAID]uint64),
		counts:  make(map[ipsec.SAID]Counted),
		tombs:   newTombstones(cfg.Limits.Tombstones, cfg.Limits.Answers),
	}
	if cfg.Unit != nil {
		n.unit = &unit{Unit: *cfg.Unit}
	}
	for id := range cfg.Members.Without(cfg.Member).All() {
		n.peers[id] = &peer{id: id}
	}
	return n, nil
}

// Step takes one input. now never goes back; it is a time of the local
// monotonic clock.
func (n *Node) Step(now time.Time, in Input) Ready {
	n.rd = Ready{}
	if !n.begun {
		n.begin(now)
	}
	n.wake(now)
	switch in := in.(type) {
	case Received:
		n.onFrame(now, in.Frame)
	case Timeout:
	case StoreIKE:
		n.onStoreIKE(now, in)
	case StoreChild:
		n.onStoreChild(now, in)
	case DeleteChild:
		n.onDeleteChild(now, in)
	case Delete:
		n.onDelete(now, in)
	case Moved:
		n.onMoved(now, in)
	case Learned:
		n.onLearned(in)
	case Count:
		n.onCount(now, in)
	case Carried:
		n.onCarried(in)
	case Activated:
		n.onActivated(now, in)
	case Stray:
		n.onStray(now, in)
	case LeaseLow:
		n.onLeaseLow(in)
	case Plane:
		n.onPlane(in)
	case Remembered:
		n.onRemembered(now, in)
	case Keeps:
		n.onKeeps(in)
	case Inventory:
		n.onInventory(now, in)
	case Configure:
		n.onConfigure(in)
	case Leave:
		n.onLeave(now, in.Step)
	case Monitored:
		n.onMonitored(now, in)
	case Yield:
		n.onYield(in)
	}
	n.onTime(now)
	n.finish(now)
	return n.rd
}

// begin starts a life: its number is on disk before anybody hears of it.
func (n *Node) begin(now time.Time) {
	n.begun = true
	if n.hard.Disk == 0 {
		n.hard = HardState{Disk: n.cfg.NewDisk}
	}
	n.hard.Life++
	n.unsure = n.hard.Armed
	n.hard.Count = max(n.hard.Count, 1)
	n.seen = max(n.seen, n.hard.Count)
	n.persist()
	n.joinBy = now.Add(n.cfg.JoinTimeout)
	n.beat, n.count, n.last = now, now.Add(n.cfg.CountersEvery), now
	n.entropy = now.Add(n.cfg.AntiEntropy)
	for _, p := range n.peers {
		if p != nil {
			p.heard = now
		}
	}
}

// persist asks for the hard state to be written before this step's effects.
func (n *Node) persist() {
	hard := n.hard
	n.rd.Hard = &hard
}

// silence is for how long a member may be silent without being dead.
func (n *Node) silence() time.Duration { return n.cfg.Heartbeat * time.Duration(n.cfg.Lost) }

// wake notices that we were away ourselves: suspended, stopped, or starved.
// Nobody else is dead because of that, so everybody gets a new hearing.
func (n *Node) wake(now time.Time) {
	if now.Sub(n.last) >= n.silence()-n.cfg.Heartbeat/2 {
		n.stats.Pauses++
		n.woke = now
		for _, p := range n.peers {
			if p != nil {
				p.heard = now
			}
		}
	}
	n.last = now
}

// onTime does what is due, whatever the input was.
func (n *Node) onTime(now time.Time) {
	for _, p := range n.peers {
		if p == nil {
			continue
		}
		if p.alive && now.Sub(p.heard) > n.silence() {
			n.bury(now, p)
		}
		n.retransmit(now, p)
		n.pump(now, p)
		n.adoptDue(now, p)
	}
	n.join(now)
	n.elect(now)
	n.restoreDue(now)
	n.announceSeized(now)
	n.handOver()
	n.hushDue(now)
	if !now.Before(n.beat) {
		n.beat = now.Add(n.cfg.Heartbeat)
		n.succession(now)
		n.disarm()
		n.listHeirless()
		n.forgetArming()
		n.renewDue()
		n.tombs.expire(now.Add(-n.cfg.TombstoneLife))
		n.tombs.forgetAnswers(now.Add(-n.cfg.AnswerLife))
		n.heartbeat()
	}
	if !now.Before(n.count) {
		n.count = now.Add(n.cfg.CountersEvery)
		if n.sendCounts() {
			n.count = now // in the next step
		}
		n.sweep(now)
	}
	if !now.Before(n.entropy) {
		n.entropy = now.Add(n.cfg.AntiEntropy)
		n.compareAll()
	}
}

// join ends Syncing, once every member that is there has told us everything.
func (n *Node) join(now time.Time) {
	if n.role == Standby {
		return
	}
	for _, p := range n.peers {
		if p == nil {
			continue
		}
		if p.alive && !p.in.complete || !p.alive && now.Before(n.joinBy) {
			return
		}
	}
	n.role = Standby
	n.settleEstate(now)
	for _, p := range n.peers {
		if p != nil && !p.lives() {
			n.succeed(now, p) // it may have died while we could not take over
		}
	}
}

// finish sends what this step has made ready.
func (n *Node) finish(now time.Time) {
	for _, p := range n.peers {
		if p != nil {
			n.flush(now, p)
		}
	}
	n.advance(now)
	n.rd.Commit = n.commit
	n.tellHealth(now)
	if len(n.rd.Orders) > 0 {
		n.serial++
	}
	n.rd.Serial = n.serial
}

// NextTimeout is when a Timeout is due.
func (n *Node) NextTimeout() time.Time {
	if !n.begun {
		return time.Time{}
	}
	at := n.beat
	soonest := func(t time.Time) {
		if !t.IsZero() && t.Before(at) {
			at = t
		}
	}
	for _, p := range n.peers {
		if p == nil {
			continue
		}
		if p.alive {
			soonest(p.heard.Add(n.silence() + 1))
		}
		soonest(p.out.resendAt)
		if len(p.adopting) > 0 {
			soonest(p.adoptAt)
		}
	}
	if len(n.uncommitted) > 0 {
		soonest(n.uncommitted[0].deadline)
	}
	if len(n.restoring) > 0 {
		soonest(n.restoring[0].restoreBy)
	}
	if len(n.restorable) > 0 {
		soonest(n.last)
	}
	if len(n.hushing) > 0 {
		soonest(n.hushing[0].at)
	}
	return at
}

// tellHealth reports a change of what the network should know.
func (n *Node) tellHealth(now time.Time) {
	h := Health{Fit: true}
	switch {
	case n.leaving:
		h = Health{Why: "leaving"}
	case !n.planeUp:
		h = Health{Why: "no dataplane"}
	case n.role == Syncing:
		h = Health{Why: "syncing"}
	case n.subordinate():
		h = Health{Why: "subordinate", Handing: !n.unit.handing.IsZero()}
	case n.unit != nil && (n.carried < n.unit.ready || n.takesStill(now)):
		h = Health{Why: "taking over"}
	}
	if h != n.health {
		n.health = h
		n.rd.Health = &h
	}
}

// order hands an order to the dataplane. Its epoch is made of counts that are
// on disk, so a later life's orders are never older.
func (n *Node) order(o Order) {
	o.Epoch = NewEpoch(n.hard.Count, n.cfg.Member)
	n.rd.Orders = append(n.rd.Orders, o)
}

// ordered is the serial that the orders of this step will have, or that of the
// last ones when it has none.
func (n *Node) ordered() uint64 {
	if len(n.rd.Orders) > 0 {
		return n.serial + 1
	}
	return n.serial
}

// onConfigure drops the copies whose connection is another one now, and tells
// everybody by new streams what we take, as it changes what is given to whom.
func (n *Node) onConfigure(in Configure) {
	if maps.Equal(n.classes, in.Classes) {
		return
	}
	before := n.classes
	n.classes = maps.Clone(in.Classes)
	for _, t := range n.others() {
		was, had := before[t.ike.Class]
		is, have := n.classes[t.ike.Class]
		if !had || !have || was != is {
			n.forget(t)
		}
	}
	for _, p := range n.peers {
		if p != nil && p.alive {
			p.in.complete = false
			n.open(p)
		}
	}
}
