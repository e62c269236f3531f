package examplenpu

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// An IV of AES-GCM has four bits of the sender, 24 of the boot and 36 that count
// all packets of the boot, whatever their SA (invariant I1).
const (
	bootShift   = 36
	senderShift = 60
	maxBoot     = 1<<24 - 1
	maxIVs      = 1<<bootShift - 1
)

// maxAcquires bounds the flows that are remembered as reported.
const maxAcquires = 256

// acquireAgain is after how long an equal Acquire is not merged any more.
const acquireAgain = time.Second

// outgoing is an ESP packet for the network.
type outgoing struct {
	local, remote netip.Addr
	encap         *ipsec.Encap // nil for protocol 50
	class         byte         // DSCP and ECN of the outer header
	packet        []byte       // ours again when the call returns
}

// fromHost deals with a packet that the host routes to the tunnels.
func (e *Engine) fromHost(b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.configured {
		return
	}
	packet, f, ok := parse(b)
	if !ok {
		e.stats.malformed.Add(1)
		return
	}
	s := e.table.policy.find(f)
	if s == nil {
		e.acquire(f)
		return
	}
	if s.role == offload.Standby {
		e.notice(s)
	}
	if s.role == offload.Active {
		e.send(s, packet)
		return
	}
	link := e.table.linkTo(offload.Group(s.Group))
	if link == nil {
		s.drops.Standby++
		return
	}
	s.relayed++
	e.send(link, packet)
}

// acquire asks the daemon for an SA, once a second for a flow.
func (e *Engine) acquire(f flow) {
	e.stats.acquired.Add(1)
	now := time.Now()
	if at, known := e.acquires[f]; known && now.Sub(at) < acquireAgain {
		return
	}
	if len(e.acquires) >= maxAcquires {
		clear(e.acquires)
	}
	e.acquires[f] = now
	local, remote := f.selectors()
	e.events.push(offload.Acquire{Local: local, Remote: remote})
}

// send encrypts a packet under an active SA and hands it to the network.
func (e *Engine) send(s *sa, packet []byte) {
	if s.reached(s.Lifetime.Hard) {
		s.drops.Lifetime++
		return
	}
	seq, ok := e.number(s)
	if !ok {
		s.drops.Ceiling++
		return
	}
	var room [16]byte
	iv := room[:s.cipher.ivLen()]
	if s.cipher.aead == nil {
		// "The IV MUST be chosen at random". RFC 3602 section 3. Read never fails.
		_, _ = rand.Read(iv)
	} else {
		e.ivs++
		binary.BigEndian.PutUint64(iv, uint64(s.Sender)<<senderShift|uint64(e.boot)<<bootShift|e.ivs)
	}
	next, class := byte(protoIPv4), trafficClass(packet)
	if packet[0]>>4 == 6 {
		next = protoIPv6
	}
	if s.Header.HideDSCP {
		class = s.Header.DSCP<<2 | class&ce
	}
	e.packet = s.cipher.seal(e.packet[:0], s.ID.SPI, seq, iv, packet, next)
	if err := e.host.send(outgoing{s.Local, s.Remote, s.Encap, class, e.packet}); err != nil {
		e.stats.unsent.Add(1)
	}
	e.carried(s, len(packet))
}

// number takes the next sequence number of s, if there is one left: of the lease
// (invariant I2), and of the IVs that one boot has.
func (e *Engine) number(s *sa) (uint64, bool) {
	if s.left() == 0 {
		if !s.lease.empty {
			s.lease.empty = true
			e.events.push(offload.LeaseLow{ID: s.ID, Next: s.next, Exhausted: true})
		}
		return 0, false
	}
	if s.cipher.aead != nil && e.ivs >= maxIVs {
		return 0, false
	}
	seq := s.next
	s.next++
	if s.ceiling != 0 && !s.lease.low && s.left() < (s.lease.size+1)/2 {
		s.lease.low = true
		e.events.push(offload.LeaseLow{ID: s.ID, Next: s.next})
	}
	return seq, true
}

// fromNetwork deals with an ESP packet, which it decrypts in place. from has a
// port when the packet came in UDP.
func (e *Engine) fromNetwork(b []byte, from netip.AddrPort, class byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case !e.configured:
		return
	case len(b) < headerLen:
		e.stats.malformed.Add(1)
		return
	}
	s := e.table.bySPI[ipsec.SPI(binary.BigEndian.Uint32(b))]
	if s == nil {
		e.stats.unknownSPI.Add(1)
		return
	}
	payload, next, ok := e.open(s, b)
	if !ok {
		return
	}
	e.follow(s, from)
	if s.role == offload.Standby {
		e.notice(s)
	}
	if next == protoNoNext { // a dummy packet (RFC 4303 section 2.6)
		return
	}
	packet, f, ok := parse(payload)
	if !ok || (next != protoIPv4 && next != protoIPv6) || (next == protoIPv6) != f.dst.Is6() {
		s.drops.Malformed++
		return
	}
	if s.Link != nil {
		e.onward(s, packet, f)
		return
	}
	if !f.arrivesBy(s.Selectors) {
		s.drops.Selector++ // RFC 4301 section 5.2, step 4
		return
	}
	if !mergeECN(packet, class) {
		s.drops.Malformed++
		return
	}
	if err := e.host.deliver(packet); err != nil {
		e.stats.unwanted.Add(1)
	}
	e.carried(s, len(packet))
}

// open checks and decrypts a packet of s, and marks its number as received. The
// window is asked before the ICV costs anything, and marked after it was right.
func (e *Engine) open(s *sa, b []byte) (payload []byte, next byte, ok bool) {
	if s.reached(s.Lifetime.Hard) {
		s.drops.Lifetime++
		return nil, 0, false
	}
	seq := uint64(binary.BigEndian.Uint32(b[4:]))
	if s.Algorithms.ESN {
		seq = s.window.infer(uint32(seq))
	}
	if s.window.received(seq) {
		s.drops.Replayed++
		return nil, 0, false
	}
	payload, next, err := s.cipher.open(b, seq)
	switch {
	case errors.Is(err, errIntegrity):
		s.drops.Authentication++
		return nil, 0, false
	case err != nil:
		s.drops.Malformed++
		return nil, 0, false
	}
	s.window.mark(seq)
	return payload, next, true
}

// follow reports a peer whose NAT has changed its mind (RFC 7296 section 2.23).
// The daemon answers with an Update of the endpoints.
func (e *Engine) follow(s *sa, from netip.AddrPort) {
	if s.Encap == nil || from == netip.AddrPortFrom(s.Remote, s.Encap.RemotePort) || from == s.seenAt {
		return
	}
	s.seenAt = from
	e.events.push(offload.PeerMoved{ID: s.ID, Remote: from})
}

// onward deals with what arrived over a link as with a packet from our own host,
// except that it is never put on a link again.
func (e *Engine) onward(link *sa, packet []byte, f flow) {
	s := e.table.policy.find(f)
	if s == nil {
		link.drops.Selector++
		return
	}
	if s.role == offload.Standby {
		e.notice(s)
	}
	if s.role == offload.Standby {
		link.drops.Standby++
		return
	}
	e.carried(link, len(packet))
	e.send(s, packet)
}

// carried counts a packet, reports the limits that it reached, and lets the SA
// move into the NPU.
func (e *Engine) carried(s *sa, octets int) {
	s.last = time.Now()
	s.packets++
	s.bytes += uint64(octets)
	if !s.soft && s.reached(s.Lifetime.Soft) {
		s.soft = true
		e.events.push(offload.Expired{ID: s.ID})
	}
	if !s.hard && s.reached(s.Lifetime.Hard) {
		s.hard = true
		e.events.push(offload.Expired{ID: s.ID, Hard: true})
	}
	if s.slot.npu == 0 {
		e.place(s)
	}
}
