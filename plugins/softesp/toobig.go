package softesp

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

const (
	// tooBigRate is how many ICMP messages a second a queue sends, and
	// tooBigBurst how many at once.
	//
	// "an IPv6 node MUST limit the rate of ICMPv6 error messages it
	// originates." RFC 4443 section 2.4(f).
	tooBigRate  = 1000
	tooBigBurst = 100
)

// tooBigWriter holds what sending ICMP messages needs.
type tooBigWriter struct {
	message [packet.VnetLen + packet.MaxTooBig]byte
	segment [65536]byte
	pieces  [1][]byte
	tokens  float64
	last    time.Duration
}

// allow takes a token of the rate limit.
func (w *tooBigWriter) allow(now time.Duration) bool {
	w.tokens = min(tooBigBurst, w.tokens+(now-w.last).Seconds()*tooBigRate)
	if w.last == 0 {
		w.tokens = tooBigBurst
	}
	w.last = now
	if w.tokens < 1 {
		return false
	}
	w.tokens--
	return true
}

// answerTooBig tells the sender of t.super what fits into the SA. Of a train it
// quotes the first segment, as if it had come alone.
func (t *transmitter) answerTooBig(a *association, p *path) {
	w := &t.tooBig
	mtu := a.room(p)
	h := t.super.Header
	if a.Mode == ipsec.Transport {
		mtu += transportHeader(&h)
	}
	if h.V6 {
		mtu = max(mtu, packet.MinIPv6MTU)
	}
	n := t.super.Segment(w.segment[:], 0)
	h.Len = n
	length := packet.TooBig(w.message[packet.VnetLen:], w.segment[:n], &h, mtu)
	if length == 0 {
		return
	}
	if !w.allow(t.now) {
		t.e.stats.tooBigLimited.Add(1)
		return
	}
	clear(w.message[:packet.VnetLen])
	w.pieces[0] = w.message[packet.VnetLen : packet.VnetLen+length]
	if err := t.back.Write(w.message[:packet.VnetLen], w.pieces[:]); err != nil {
		t.e.stats.tunFull.Add(1)
		return
	}
	t.e.stats.tooBigSent.Add(1)
}

// transportHeader is the octets of a packet that transport mode does not protect.
func transportHeader(h *packet.Header) int {
	if h.V6 {
		return packet.IPv6HeaderLen
	}
	return h.L4
}
