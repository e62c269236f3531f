package ha_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// many is how many tunnels the benchmarks have.
const many = 20_000

// crowd is two members, of which the first owns many tunnels. Frames pass at once,
// in the order in which they were sent.
type crowd struct {
	now   time.Time
	nodes [2]*ha.Node
	sent  []ha.Frame
	hard  [2]ha.HardState
	// slowest is the longest step of each.
	slowest [2]time.Duration
}

func (c *crowd) start(b *testing.B, m ipsec.MemberID) {
	b.Helper()
	n, err := ha.New(ha.Config{Member: m, Members: ha.MembersOf(0, 1), NewDisk: ha.DiskID(m + 1)}, c.hard[m])
	if err != nil {
		b.Fatal(err)
	}
	c.nodes[m] = n
	c.step(m, ha.Configure{Classes: map[string]uint64{"dialup": 1}})
}

func (c *crowd) step(m ipsec.MemberID, in ha.Input) {
	began := time.Now()
	rd := c.nodes[m].Step(c.now, in)
	c.slowest[m] = max(c.slowest[m], time.Since(began))
	if rd.Hard != nil {
		c.hard[m] = *rd.Hard
	}
	c.sent = append(c.sent, rd.Send...)
	if len(rd.Orders) > 0 {
		c.step(m, ha.Carried{Serial: rd.Serial})
	}
}

// pass lets time go by, one heartbeat after the other, until done.
func (c *crowd) pass(done func() bool) {
	for !done() {
		for m, n := range c.nodes {
			if n != nil {
				c.step(ipsec.MemberID(m), ha.Timeout{})
			}
		}
		for len(c.sent) > 0 {
			f := c.sent[0]
			c.sent = c.sent[1:]
			if c.nodes[f.To] != nil {
				c.step(f.To, ha.Received{Frame: f})
			}
		}
		c.now = c.now.Add(ha.DefaultHeartbeat)
	}
}

func (c *crowd) synced() bool {
	for i, n := range c.nodes {
		for _, p := range n.Peers() {
			if i == 0 && !p.Synced || i == 1 && !p.Complete {
				return false
			}
		}
	}
	return true
}

// dial has the first member own many tunnels.
func (c *crowd) dial() {
	state := make([]byte, 1000)
	for i := range many {
		id := ipsec.TunnelID(i + 1)
		state = binary.BigEndian.AppendUint64(state[:1000-8], uint64(i))
		c.step(0, ha.StoreIKE{Tunnel: id, IKE: ha.IKE{Class: "dialup", State: ipsec.CopyKey(state), Facts: fmt.Appendf(nil, "dialup_%d", i)}})
		in, out := pair()
		in.Tunnel, out.Tunnel = id, id
		in.ID.SPI, out.ID.SPI = ipsec.SPI(0x1000+i), ipsec.SPI(0x10000000+i)
		in.Local, in.Remote = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
		in.Pair, out.Pair = out.ID.SPI, in.ID.SPI
		c.step(0, ha.StoreChild{Tunnel: id, In: in, Out: out})
	}
}

func newCrowd(b *testing.B) *crowd {
	b.Helper()
	c := &crowd{now: time.Unix(1000, 0)}
	c.start(b, 0)
	c.dial()
	return c
}

// BenchmarkJoin brings a member up to date, without dataplanes and a network.
func BenchmarkJoin(b *testing.B) {
	c := newCrowd(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	c.slowest = [2]time.Duration{}
	for b.Loop() {
		c.nodes[1] = nil
		c.pass(func() bool { return !c.nodes[0].Peers()[0].Alive })
		c.start(b, 1)
		c.pass(c.synced)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/many, "ns/tunnel")
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/many, "B/tunnel")
	b.ReportMetric(float64(c.slowest[0])/1e6, "ms/owner-step-max")
	b.ReportMetric(float64(c.slowest[1])/1e6, "ms/standby-step-max")
}

// BenchmarkIdle is a minute of two members that are synced, while nothing happens:
// heartbeats, digests, the search for orphans.
func BenchmarkIdle(b *testing.B) {
	c := newCrowd(b)
	c.start(b, 1)
	c.pass(c.synced)
	c.slowest = [2]time.Duration{}
	for b.Loop() {
		end := c.now.Add(time.Minute)
		c.pass(func() bool { return !c.now.Before(end) })
	}
	b.ReportMetric(float64(c.slowest[0])/1e6, "ms/owner-step-max")
	b.ReportMetric(float64(c.slowest[1])/1e6, "ms/standby-step-max")
}

// BenchmarkAdopt has a member die, and the other one go on with all its tunnels.
func BenchmarkAdopt(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		c := newCrowd(b)
		c.start(b, 1)
		c.pass(c.synced)
		c.nodes[0], c.slowest = nil, [2]time.Duration{}
		b.StartTimer()
		c.pass(func() bool { return c.nodes[1].Stats().Claims == many })
		b.ReportMetric(float64(c.slowest[1])/1e6, "ms/step-max")
	}
}
