package hatest

import (
	"fmt"
	"math/rand/v2"
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
	// NoArmed: nor is what was armed.
	NoArmed
	// NoTombstones: nobody remembers what was removed.
	NoTombstones
	// NoCommit: the client is told before the standbys know.
	NoCommit
)

// Config says what to play.
type Config struct {
	Seed    uint64
	Members int // 2 to 16; 0 to draw 2 to 5
	Clients int // 0 to draw 3 to 12
	// Run is how long there is trouble, Settle how long after it is healed.
	Run, Settle time.Duration
	// Calm leaves the trouble to the caller. Steady clients keep their tunnels and
	// SAs.
	Calm, Steady bool
	// Disjoint dataplanes take the sequence number for nonce, every other one of
	// them when Mixed. MinAcks is that of ha.Config. All are drawn when Calm is
	// not set.
	Disjoint bool
	Mixed    bool
	MinAcks  int
	// Units is into how many units the members are joined, by turns: 1 makes one
	// gateway of all, 0 as many as there are members (ha.Unit). Override is theirs.
	Units    int
	Override bool
	Fault    Fault
	// Lease of ha.Config; 0 for 4096, so that leases end often.
	Lease uint64
	// Limits of ha.Config.
	Limits ha.Limits
	// Trace gets a line for whatever happens; nil for none.
	Trace func(string)
}

// Cluster is one run.
type Cluster struct {
	clock   play.Clock
	cfg     Config
	rnd     *rand.Rand
	start   time.Time
	members []*member
	clients []*client
	all     ha.Members

	// The members' network.
	cut         play.Cuts
	loss, twice float64
	delay       time.Duration

	uses    map[ipsec.SAID][]use
	removed map[ipsec.TunnelID][]int // with the client's knowledge: which start of each member knew of it, 0 for none
	breach_ error
	quiet   bool // no more trouble
	still   bool // clients send, but ask for nothing
	crashed time.Time
	sum     Sum
}

// Sum counts what a run has played, to show that it was not idle.
type Sum struct {
	Steps, Crashes, Claims, Contested, Raised, Worn, Restored, Removed, Packets, Lost, Stranded, Served uint64
}

// New builds a cluster. Nothing has started yet.
func New(cfg Config) *Cluster {
	c := &Cluster{
		cfg: cfg, rnd: rand.New(rand.NewPCG(cfg.Seed, 0x6576657267617465)), //nolint:gosec // a run repeats from its seed
		uses: make(map[ipsec.SAID][]use), removed: make(map[ipsec.TunnelID][]int),
		delay: 2 * time.Millisecond,
	}
	c.start = time.Unix(1_000_000, 0)
	c.clock = play.NewClock(c.start)
	if c.cfg.Members == 0 {
		c.cfg.Members = 2 + c.rnd.IntN(4)
	}
	if c.cfg.Clients == 0 {
		c.cfg.Clients = 3 + c.rnd.IntN(10)
	}
	if c.cfg.Lease == 0 {
		c.cfg.Lease = 4096
	}
	if !c.cfg.Calm {
		c.cfg.Disjoint = c.rnd.IntN(2) == 0
		c.cfg.Mixed = c.cfg.Seed%3 == 0
		c.cfg.MinAcks = 1 + c.rnd.IntN(min(2, c.cfg.Members-1))
		c.loss = []float64{0, 0.01, 0.1}[c.rnd.IntN(3)]
		c.twice = []float64{0, 0.05}[c.rnd.IntN(2)]
		c.delay = []time.Duration{time.Millisecond, 5 * time.Millisecond, 30 * time.Millisecond}[c.rnd.IntN(3)]
	}
	for i := range c.cfg.Members {
		c.all = c.all.With(ipsec.MemberID(i))
		c.members = append(c.members, &member{c: c, id: ipsec.MemberID(i)})
	}
	return c
}

// Run plays everything and returns the first breach of an invariant.
func (c *Cluster) Run() error {
	c.Start()
	if !c.cfg.Calm {
		c.clock.After(c.upTo(300*time.Millisecond), c.trouble)
	}
	c.Play(c.cfg.Run)
	return c.Settle(c.cfg.Settle)
}

// Start boots all members and lets the clients dial.
func (c *Cluster) Start() {
	for _, m := range c.members {
		m.start(true)
	}
	for i := range c.cfg.Clients {
		cl := &client{c: c, id: i, salt: c.rnd.Uint64()}
		c.clients = append(c.clients, cl)
		c.clock.After(c.upTo(time.Second), cl.live)
	}
}

// Play lets time pass.
func (c *Cluster) Play(d time.Duration) {
	c.clock.Run(c.clock.Now().Add(d), func() bool { return c.breach_ != nil })
}

// Err is the first breach.
func (c *Cluster) Err() error { return c.breach_ }

// Sum tells what has been played.
func (c *Cluster) Sum() Sum {
	s := c.sum
	for _, m := range c.members {
		if m.node != nil {
			m.addStats(&s)
		}
	}
	return s
}

func (c *Cluster) breach(format string, args ...any) {
	if c.breach_ == nil {
		c.breach_ = fmt.Errorf(format, args...)
		c.tracef("BREACH %v", c.breach_)
	}
}

func (c *Cluster) tracef(format string, args ...any) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(fmt.Sprintf("%12v  ", c.clock.Now().Sub(c.start)) + fmt.Sprintf(format, args...))
	}
}

// upTo draws a time.
func (c *Cluster) upTo(d time.Duration) time.Duration {
	return time.Duration(c.rnd.Int64N(int64(d) + 1))
}

// send carries a frame, or does not.
func (c *Cluster) send(f ha.Frame) {
	if c.cut[f.From][f.To] || c.rnd.Float64() < c.loss {
		return
	}
	f, err := play.Carried(c.cfg.Seed, f)
	if err != nil {
		c.breach("%v", err)
	}
	copies := 1
	if c.rnd.Float64() < c.twice {
		copies = 2
	}
	for range copies {
		c.clock.After(c.upTo(c.delay), func() { c.members[f.To].receive(f) })
	}
}
