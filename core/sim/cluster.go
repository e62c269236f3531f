package sim

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/hatest/play"
)

// Fault is an assumption that a run breaks on purpose.
type Fault uint8

// The faults.
const (
	None Fault = iota
	// NoLease: dataplanes do not stop at their ceilings.
	NoLease
	// NoPersist: epochs are not on disk when they are used.
	NoPersist
	// NoTombstones: nobody remembers what was removed.
	NoTombstones
	// NoCommit: clients are told before the standbys know.
	NoCommit
	// StandbySends: dataplanes send whatever the role of an SA.
	StandbySends
	// Undeclared: dataplanes run over their ceilings, and say nothing of that.
	Undeclared
	// NoMaximum: standbys that should be at their last sequence number (MaxSeq) are
	// at the first.
	NoMaximum
	// NoElection: members of a unit do not hear that another one is primary.
	NoElection
)

// Dialect is how clients and members speak with each other.
type Dialect uint8

// The dialects.
const (
	IKEv2 Dialect = iota
	// IKEv1 is main mode, or aggressive mode, as the seed has it.
	IKEv1
	// MaxSeq is IKEv1 with standbys at their last sequence number, as FortiOS has
	// them.
	MaxSeq
)

// Config says what to play. What is zero is drawn from the seed.
type Config struct {
	Seed    uint64
	Members int // 2 to 16; else 2 to 4, now and then 8
	Clients int // else 1 to 4
	// Lease is how many numbers an owner gets at once.
	Lease uint64
	// Run is how long there is trouble; 0 for 6 s.
	Run time.Duration
	// Calm leaves the trouble to the caller, on a network that loses nothing and on
	// which nobody repeats what others have sent.
	Calm bool
	// Split routers send IKE, ESP and what comes back different ways; in trouble the
	// seed decides.
	Split bool
	// Mixed has every member draw what its dataplane keeps of ceilings and first packets.
	// Otherwise all keep all.
	Mixed bool
	// Static routers never notice that a member is gone.
	Static bool
	// Steady clients ask for nothing: they dial, and send and receive.
	Steady bool
	// Sealed members keep what they own on disk, for their next life.
	Sealed bool
	// Units is into how many units the members are joined, by turns: 1 makes one gateway
	// of all, 0 as many as there are members (ha.Unit). Override is theirs.
	Units    int
	Override bool
	Dialect  Dialect
	Fault    Fault
	// Trace gets a line for whatever happens; nil for none.
	Trace func(string)
}

// Cluster is one run.
type Cluster struct {
	clock   play.Clock
	cfg     Config
	rnd     *rand.Rand
	planes  *rand.Rand // draws dataplanes
	begin   time.Time
	members []*member
	clients []*client
	all     ha.Members
	router  router
	net     network
	ledger  ledger

	lease    uint64
	disjoint bool
	// sealed: members keep journals.
	sealed  bool
	minAcks int
	shards  int
	broken  error
	quiet   bool // no more trouble
	still   bool // clients ask for nothing any more
	sum     Sum
}

// gatewayAddr is the address of all members, and lan the network behind them.
func gatewayAddr() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

func lan() netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, 0, 0}), 16) }

// New builds a cluster. Nothing has started yet.
func New(cfg Config) *Cluster {
	c := &Cluster{
		cfg:    cfg,
		rnd:    rand.New(rand.NewPCG(cfg.Seed, 0x73696d756c617465)), //nolint:gosec // a run repeats from its seed
		planes: rand.New(rand.NewPCG(cfg.Seed, 0x706c616e6573)),     //nolint:gosec // likewise
		ledger: newLedger(),
	}
	c.begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	c.clock = play.NewClock(c.begin)
	c.draw()
	for i := range c.cfg.Members {
		id := ipsec.MemberID(i)
		c.all = c.all.With(id)
		c.members = append(c.members, newMember(c, id))
	}
	for i := range c.cfg.Clients {
		c.clients = append(c.clients, newClient(c, i))
	}
	return c
}

// draw decides what the seed leaves open.
func (c *Cluster) draw() {
	if c.cfg.Members == 0 && c.cfg.Units > 0 {
		c.cfg.Members = 2*c.cfg.Units + c.rnd.IntN(2)
	}
	if c.cfg.Members == 0 {
		c.cfg.Members = 2 + c.rnd.IntN(3)
		if c.chance(20) {
			c.cfg.Members = 5 + c.rnd.IntN(4)
		}
	}
	if c.cfg.Clients == 0 {
		c.cfg.Clients = 1 + c.rnd.IntN(4)
	}
	if c.cfg.Run == 0 {
		c.cfg.Run = 6 * time.Second
	}
	c.lease, c.minAcks, c.shards = cmp.Or(c.cfg.Lease, 1024), 1, 1
	c.net = network{delay: time.Millisecond, outer: 5 * time.Millisecond, inner: 100 * time.Microsecond}
	c.router = router{c: c, notices: 200 * time.Millisecond, split: c.cfg.Split, static: c.cfg.Static}
	c.sealed = c.cfg.Sealed
	if c.cfg.Calm {
		return
	}
	c.lease = cmp.Or(c.cfg.Lease, pick(c, []uint64{64, 256, 4096}))
	c.disjoint = c.chance(4)
	c.sealed = c.cfg.Sealed || c.chance(3)
	c.minAcks = 1 + c.rnd.IntN(min(2, c.cfg.Members-1))
	c.shards = 1 + c.rnd.IntN(2)
	c.net.loss = pick(c, []float64{0, 0, 0.01, 0.1})
	c.net.twice = pick(c, []float64{0, 0.05})
	c.net.delay = pick(c, []time.Duration{200 * time.Microsecond, time.Millisecond, 20 * time.Millisecond})
	c.net.outer = pick(c, []time.Duration{time.Millisecond, 10 * time.Millisecond, 40 * time.Millisecond})
	c.net.inner = pick(c, []time.Duration{50 * time.Microsecond, 500 * time.Microsecond, 5 * time.Millisecond})
	c.router.notices = pick(c, []time.Duration{50 * time.Millisecond, 300 * time.Millisecond, time.Second})
	c.router.static = (c.cfg.Static || c.chance(5)) && c.cfg.Units == 0 // addresses move with primaries
	c.router.modulo = c.chance(2)
	c.router.split = c.chance(3)
}

// Run plays everything and returns the first breach of an invariant.
func (c *Cluster) Run() error {
	c.Start()
	if !c.cfg.Calm {
		c.clock.After(c.upTo(500*time.Millisecond), c.trouble)
	}
	c.Play(c.cfg.Run)
	return c.Settle()
}

// Start boots all members and lets the clients dial.
func (c *Cluster) Start() {
	for _, m := range c.members {
		m.start(true)
	}
	for _, cl := range c.clients {
		c.clock.After(c.upTo(time.Second), cl.start)
		c.clock.After(c.upTo(time.Second), cl.live)
	}
}

// Play lets time pass.
func (c *Cluster) Play(d time.Duration) {
	c.clock.Run(c.clock.Now().Add(d), func() bool { return c.broken != nil })
}

// Err is the first breach.
func (c *Cluster) Err() error { return c.broken }

// Sum tells what has been played.
func (c *Cluster) Sum() Sum {
	s := c.sum
	s.Runs, s.Events = 1, c.clock.Made()
	for _, m := range c.members {
		m.addStats(&s)
	}
	return s
}

func (c *Cluster) breach(format string, args ...any) {
	if c.broken == nil {
		c.broken = fmt.Errorf("%w, at %v", fmt.Errorf(format, args...), c.clock.Now().Sub(c.begin))
		c.tracef("cluster", "BREACH %v", c.broken)
	}
}

// tracef writes a line: when, who, what.
func (c *Cluster) tracef(who, format string, args ...any) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(fmt.Sprintf("%14v  %-9s %s", c.clock.Now().Sub(c.begin), who, fmt.Sprintf(format, args...)))
	}
}

// traces tells whether anybody reads.
func (c *Cluster) traces() bool { return c.cfg.Trace != nil }

// upTo draws a time.
func (c *Cluster) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rnd.Int64N(int64(d) + 1))
}

// chance is true once in n times.
func (c *Cluster) chance(n int) bool { return c.rnd.IntN(n) == 0 }

// haste is how long an actor takes to do one thing.
func (c *Cluster) haste() time.Duration { return c.upTo(c.net.inner) }

func pick[T any](c *Cluster, of []T) T { return of[c.rnd.IntN(len(of))] }

// nonces are those of all dataplanes.
func (c *Cluster) nonces() ha.Nonces {
	if c.disjoint {
		return ha.SequenceNonces
	}
	return ha.DistinctNonces
}
