package softesp

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/offload"
)

// statsInterval is how often the counters are logged.
const statsInterval = time.Minute

// counters are of packets that belong to no SA, or that no SA can be blamed for.
// What happens to the packets of an SA is in offload.Counters.
type counters struct {
	// Arrived from outside.
	unknownSPI atomic.Uint64 // no inbound SA has this SPI and address
	short      atomic.Uint64 // too short for ESP
	keepalives atomic.Uint64 // NAT keepalives, which end here
	ike        atomic.Uint64 // handed to the daemon
	ikeDropped atomic.Uint64 // not handed over: no daemon, or its queue is full
	forgedICMP atomic.Uint64 // a path MTU report that quotes no packet of ours
	// Arrived at the TUN device.
	noSA      atomic.Uint64 // selected by no SA
	multicast atomic.Uint64 // multicast and link-local, which no tunnel carries
	malformed atomic.Uint64 // no IP packet
	held      atomic.Uint64 // waited for the successor of their SA
	heldLost  atomic.Uint64 // of those, and of such: waited too long, or found no room
	// Could not leave.
	tunFull   atomic.Uint64 // the kernel did not take a frame from us
	noSocket  atomic.Uint64 // the SA's local address is not configured
	sendError atomic.Uint64 // the kernel refused an outer packet
	ikeError  atomic.Uint64 // the kernel refused an IKE packet or keepalive
	// tooBigSent are ICMP messages to senders; tooBigLimited those that the rate
	// limit held back.
	tooBigSent, tooBigLimited atomic.Uint64
}

// list gives them their names.
func (c *counters) list() []offload.Stat {
	return []offload.Stat{
		{Name: "unknown-spi", Value: c.unknownSPI.Load()},
		{Name: "short", Value: c.short.Load()},
		{Name: "keepalives", Value: c.keepalives.Load()},
		{Name: "ike", Value: c.ike.Load()},
		{Name: "ike-dropped", Value: c.ikeDropped.Load()},
		{Name: "forged-icmp", Value: c.forgedICMP.Load()},
		{Name: "no-sa", Value: c.noSA.Load()},
		{Name: "multicast", Value: c.multicast.Load()},
		{Name: "malformed", Value: c.malformed.Load()},
		{Name: "held", Value: c.held.Load()},
		{Name: "held-lost", Value: c.heldLost.Load()},
		{Name: "tun-full", Value: c.tunFull.Load()},
		{Name: "no-socket", Value: c.noSocket.Load()},
		{Name: "send-error", Value: c.sendError.Load()},
		{Name: "ike-error", Value: c.ikeError.Load()},
		{Name: "too-big-sent", Value: c.tooBigSent.Load()},
		{Name: "too-big-limited", Value: c.tooBigLimited.Load()},
	}
}

// Stats returns the counters since the engine was made.
func (e *Engine) Stats(context.Context) ([]offload.Stat, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("softesp: stats: %w", err)
	}
	return e.stats.list(), nil
}

// counted gives a log the counters that are not zero.
type counted []offload.Stat

// LogValue implements slog.LogValuer.
func (c counted) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, s := range c {
		if s.Value > 0 {
			attrs = append(attrs, slog.Uint64(s.Name, s.Value))
		}
	}
	return slog.GroupValue(attrs...)
}

// logStats logs the counters whenever they have changed, until stop is closed.
func (e *Engine) logStats(stop <-chan struct{}) {
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	last := e.stats.list()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if s := e.stats.list(); !slices.Equal(s, last) {
			e.log.Info("packets outside of sas counted", "since_start", counted(s))
			last = s
		}
	}
}
