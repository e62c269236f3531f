package softesp

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// statsInterval is how often the counters are logged.
const statsInterval = time.Minute

// Stats counts packets that belong to no SA, or that no SA can be blamed for.
// What happens to the packets of an SA is in offload.Counters.
type Stats struct {
	// Arrived from outside.
	UnknownSPI uint64 // no inbound SA has this SPI and address
	Short      uint64 // too short for ESP
	Keepalives uint64 // NAT keepalives, which end here
	IKE        uint64 // handed to the daemon
	IKEDropped uint64 // not handed over: no daemon, or its queue is full
	ForgedICMP uint64 // a path MTU report that quotes no packet of ours
	// Arrived at the TUN device.
	NoSA      uint64 // selected by no SA
	Multicast uint64 // multicast and link-local, which no tunnel carries
	Malformed uint64 // no IP packet
	// Could not leave.
	TUNFull   uint64 // the kernel did not take a frame from us
	NoSocket  uint64 // the SA's local address is not configured
	SendError uint64 // the kernel refused an outer packet
	IKEError  uint64 // the kernel refused an IKE packet or keepalive
	// TooBigSent are ICMP messages to senders; TooBigLimited those that the
	// rate limit held back.
	TooBigSent, TooBigLimited uint64
}

// counters is Stats in the making.
type counters struct {
	unknownSPI, short, keepalives, ike, ikeDropped, forgedICMP atomic.Uint64
	noSA, multicast, malformed                                 atomic.Uint64
	tunFull, noSocket, sendError, ikeError                     atomic.Uint64
	tooBigSent, tooBigLimited                                  atomic.Uint64
}

// Stats returns the counters since the engine was made.
func (e *Engine) Stats() Stats {
	c := &e.stats
	return Stats{
		UnknownSPI: c.unknownSPI.Load(), Short: c.short.Load(), Keepalives: c.keepalives.Load(),
		IKE: c.ike.Load(), IKEDropped: c.ikeDropped.Load(), ForgedICMP: c.forgedICMP.Load(),
		NoSA: c.noSA.Load(), Multicast: c.multicast.Load(), Malformed: c.malformed.Load(),
		TUNFull: c.tunFull.Load(), NoSocket: c.noSocket.Load(), SendError: c.sendError.Load(), IKEError: c.ikeError.Load(),
		TooBigSent: c.tooBigSent.Load(), TooBigLimited: c.tooBigLimited.Load(),
	}
}

// LogValue gives a log the counters that are not zero.
func (s Stats) LogValue() slog.Value {
	var attrs []slog.Attr
	for _, c := range []struct {
		name string
		n    uint64
	}{
		{"unknown-spi", s.UnknownSPI},
		{"short", s.Short},
		{"keepalives", s.Keepalives},
		{"ike", s.IKE},
		{"ike-dropped", s.IKEDropped},
		{"forged-icmp", s.ForgedICMP},
		{"no-sa", s.NoSA},
		{"multicast", s.Multicast},
		{"malformed", s.Malformed},
		{"tun-full", s.TUNFull},
		{"no-socket", s.NoSocket},
		{"send-error", s.SendError},
		{"ike-error", s.IKEError},
		{"too-big-sent", s.TooBigSent},
		{"too-big-limited", s.TooBigLimited},
	} {
		if c.n > 0 {
			attrs = append(attrs, slog.Uint64(c.name, c.n))
		}
	}
	return slog.GroupValue(attrs...)
}

// logStats logs the counters whenever they have changed, until stop is closed.
func (e *Engine) logStats(stop <-chan struct{}) {
	tick := time.NewTicker(statsInterval)
	defer tick.Stop()
	last := e.Stats()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if s := e.Stats(); s != last {
			e.log.Info("packets outside of sas counted", "since_start", s)
			last = s
		}
	}
}
