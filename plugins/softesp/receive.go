package softesp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload/ikesock"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// minESP is SPI and sequence number.
const minESP = 8

// receiver is a goroutine of one queue of the outer sockets: it takes packets, decrypts
// them where they lie, joins them and gives them to the TUN device. A second one of the
// same queue helps when there is more to do than one can.
type receiver struct {
	worker
	*inQueue
	turn
	n *network
	e *Engine
	// user is whose ciphers it takes.
	user user
	// memory and errors hold one batch.
	memory *device.Receiver
	errors device.Errors

	now  time.Duration
	from arrival
	seen seen
	// opened are the packets of the batch that were decrypted, ike those for the daemon.
	opened []opened
	ike    []ikesock.Datagram
}

// inQueue is what both receivers of a queue use, each in its turn.
type inQueue struct {
	order  turns
	stats  *counters
	writer *device.FrameWriter
	joiner *packet.Coalescer
	// onward sends what arrives over links.
	onward *transmitter
	header packet.Header
	run    run
	// admitted is the flow of the last packet that the selectors of its SA let in.
	admitted decision
	// rebuilt is where packets of transport mode are put together.
	rebuilt [packet.IPv6HeaderLen + 65536]byte
	// busy is the socket, of socketSet.all, that has more than the first one can take.
	busy atomic.Int64
}

// arrival is what is known of a received packet besides its octets.
type arrival struct {
	socket *device.Socket
	train  *device.Received
	class  uint8
}

// seen is the right edge of the window of an SA as it was when the SA's first packet of
// a row came up. What lies right of it was not received before the row, so the window is
// left to whoever marks numbers in it meanwhile.
type seen struct {
	sa      *association
	highest uint64
}

// opened is a packet that was found authentic.
type opened struct {
	sa      *association
	payload []byte
	seq     uint64
	from    arrival
	next    uint8
	// malformed: its padding makes no sense.
	malformed bool
}

// maxOpened bounds what is decrypted before it is given away, in packets: as many as the
// trains of a batch have, in Linux.
const maxOpened = 2048

func newInQueue(n *network, index int) *inQueue {
	q := &inQueue{stats: &n.e.stats, writer: n.tun.Queue(index).NewWriter(), onward: newOnward(n, index)}
	q.joiner = packet.NewCoalescer(q)
	q.joiner.UDP = n.tun.UDPTrains
	return q
}

func newReceiver(n *network, u user, q *inQueue, wake *device.Wake) *receiver {
	r := &receiver{
		n: n, e: n.e, user: u, inQueue: q,
		memory: device.NewReceiver(),
		opened: make([]opened, 0, maxOpened),
		ike:    make([]ikesock.Datagram, 0, ikeBatch),
	}
	r.turns, r.wake = &q.order, wake
	r.sockets.Store(new(socketSet))
	return r
}

// work runs until stop is set.
func (r *receiver) work() {
	for !r.stop.Load() {
		set := r.sockets.Load()
		fds := make([]int, len(set.all))
		for i, s := range set.all {
			fds[i] = s.FD()
		}
		if err := r.serve(set, device.NewPoller(r.wake, fds...)); err != nil {
			r.e.log.Error("receiver stopped", "queue", r.user.queue, "error", err)
			return
		}
	}
}

// serve receives until the sockets are others, or stop is set.
func (r *receiver) serve(set *socketSet, poller *device.Poller) error {
	for !r.stop.Load() {
		if err := poller.Wait(); err != nil {
			return err
		}
		for i, s := range set.all {
			if poller.Failed(i) {
				r.readErrors(set, s)
			}
			if poller.Readable(i) {
				r.once(set, i)
			}
		}
		if r.sockets.Load() != set {
			return nil
		}
	}
	return nil
}

// assist runs until stop is set: whenever the first receiver calls, it takes batches of
// the socket that is busy, as long as there are some.
func (r *receiver) assist() {
	err := r.worker.assist(&r.order, func() bool {
		set, busy := r.sockets.Load(), int(r.busy.Load())
		return busy < len(set.all) && r.once(set, busy)
	})
	if err != nil {
		r.e.log.Error("second receiver stopped", "queue", r.user.queue, "error", err)
	}
}

// once carries one batch of a socket; false when there was none, or when the sockets
// have changed, so that this one may be closed.
func (r *receiver) once(set *socketSet, socket int) bool {
	r.batch.Lock()
	defer r.batch.Unlock()
	if r.sockets.Load() != set || !r.take(set, socket) {
		return false
	}
	r.wait()
	r.deliver()
	r.run.settle(r.e, r.now)
	r.joiner.Flush()
	r.onward.settle()
	r.onward.encrypt()
	r.onward.flush()
	r.handOver()
	r.admitted.sa, r.seen.sa = nil, nil
	r.end()
	return true
}

// take receives a batch and decrypts it; false when there was none.
func (r *receiver) take(set *socketSet, socket int) bool {
	s := set.all[socket]
	r.in.Lock()
	r.begin()
	r.now = r.e.now()
	got := r.memory.Receive(s)
	late := len(got) > 0 && r.took(r.memory.Full())
	r.in.Unlock()
	if late && s.Waiting() {
		r.busy.Store(int64(socket))
		r.call()
	}
	for i := range got {
		r.from = arrival{socket: s, train: &got[i], class: got[i].TrafficClass}
		if s.Kind == device.Raw {
			r.raw(got[i].Data)
		} else {
			r.udp(&got[i])
		}
	}
	return len(got) > 0
}

// udp splits a train of datagrams, and tells IKE from ESP (RFC 3948 section 2).
func (r *receiver) udp(g *device.Received) {
	for data := g.Data; len(data) > 0; {
		n := min(g.Segment, len(data))
		d := data[:n:n]
		data = data[n:]
		switch {
		case n == 1 && d[0] == keepalive:
			r.e.stats.keepalives.Add(1)
		case n > markerLen && binary.BigEndian.Uint32(d) == 0:
			r.toDaemon(d[markerLen:])
		default:
			r.esp(d)
		}
	}
}

// raw takes off the IP header, which raw IPv4 sockets deliver.
func (r *receiver) raw(d []byte) {
	if r.from.socket.Local.Is4() {
		if len(d) < packet.IPv4HeaderLen || len(d) < int(d[0]&0xf)*4 {
			r.e.stats.short.Add(1)
			return
		}
		r.from.class = d[1]
		d = d[int(d[0]&0xf)*4:]
	}
	r.esp(d)
}

// toDaemon puts an IKE message into the batch for the daemon.
func (r *receiver) toDaemon(message []byte) {
	if len(r.ike) == cap(r.ike) {
		r.wait()
		r.handOver()
	}
	r.ike = append(r.ike, ikesock.Datagram{
		Local:   netip.AddrPortFrom(r.from.socket.Local, nattPort),
		Remote:  r.from.train.Source(),
		Payload: message,
	})
}

func (r *receiver) handOver() {
	if len(r.ike) == 0 {
		return
	}
	n := r.n.ike.Load().deliver(r.ike)
	r.e.stats.ike.Add(uint64(n))
	r.e.stats.ikeDropped.Add(uint64(len(r.ike) - n))
	r.ike = r.ike[:0]
}

// esp finds the SA of an ESP packet and decrypts the packet, in the order of RFC 4303
// section 3.4. A packet that its limits or the window refuse for sure goes no further;
// what they make of it is decided in its turn.
func (r *receiver) esp(p []byte) {
	if len(p) < minESP {
		r.e.stats.short.Add(1)
		return
	}
	a := r.e.inbound.find(ipsec.SPI(binary.BigEndian.Uint32(p)), r.from.socket.Local)
	if a == nil {
		r.e.stats.unknownSPI.Add(1)
		return
	}
	if a.allowance(1, 0, 0, 0) == 0 {
		a.drop(dropLifetime, 1)
		return
	}
	if r.seen.sa != a {
		r.seen = seen{a, a.window.Highest()}
	}
	seq, ok := a.window.InferFrom(r.seen.highest, binary.BigEndian.Uint32(p[4:]), a.Algorithms.ESN)
	if !ok || seq <= r.seen.highest && !a.window.Fresh(seq) {
		a.drop(dropReplayed, 1)
		return
	}
	r.open(a, p, seq)
}

// open decrypts a packet with a plausible number, and keeps it when it is authentic.
func (r *receiver) open(a *association, p []byte, seq uint64) {
	cipher, err := a.cipher(r.user)
	if err != nil {
		a.drop(dropMalformed, 1)
		return
	}
	payload, next, err := cipher.Open(p, seq)
	switch {
	case err == nil, errors.Is(err, esp.ErrPadding):
	case errors.Is(err, esp.ErrAuthentication):
		a.drop(dropAuthentication, 1)
		return
	default: // not known to be authentic
		a.drop(dropMalformed, 1)
		return
	}
	if len(r.opened) == cap(r.opened) {
		r.wait()
		r.deliver()
	}
	r.opened = append(r.opened, opened{sa: a, payload: payload, seq: seq, from: r.from, next: next, malformed: err != nil})
}

// deliver carries what was opened on, in the order in which it arrived.
func (r *receiver) deliver() {
	for i := range r.opened {
		r.accept(&r.opened[i])
	}
	clear(r.opened)
	r.opened = r.opened[:0]
}

// accept takes an authentic packet. Only such a one moves the window, wakes a standby
// or moves the peer.
func (r *receiver) accept(o *opened) {
	a := o.sa
	if r.run.sa != a {
		r.run.settle(r.e, r.now)
		r.run.sa = a
	}
	if a.allowance(1, 0, r.run.packets, r.run.bytes) == 0 {
		a.drop(dropLifetime, 1)
		return
	}
	newest := o.seq > a.window.Highest()
	if !a.window.Accept(o.seq) {
		a.drop(dropReplayed, 1)
		return
	}
	if o.malformed {
		a.drop(dropMalformed, 1)
		return
	}
	r.from = o.from
	if newest && r.from.socket.Kind == device.UDP {
		r.checkSource(a)
	}
	if !a.active() {
		r.e.knock(a)
	}
	if a.Mode == ipsec.Transport {
		r.transport(a, o.payload, o.next)
	} else {
		r.tunnel(a, o.payload, o.next)
	}
}

// tunnel delivers an inner packet. Its TTL is left alone: the kernel that
// forwards it from the TUN device decrements it (RFC 4301 section 5.1.2.1).
func (r *receiver) tunnel(a *association, payload []byte, next uint8) {
	h := &r.header
	switch {
	case next == packet.ProtoNone:
		r.run.count(1, 0) // a dummy packet (RFC 4303 section 2.6)
		return
	case next != packet.ProtoIPv4 && next != packet.ProtoIPv6, !h.Parse(payload), h.V6 != (next == packet.ProtoIPv6):
		a.drop(dropMalformed, 1)
		return
	case a.Link == nil && !r.admits(a, h):
		a.drop(dropSelector, 1)
		return
	}
	ecn, ok := packet.InnerECN(h.TrafficClass, r.from.class)
	if !ok {
		a.drop(dropMalformed, 1)
		return
	}
	if ecn != h.TrafficClass&3 {
		packet.SetECN(payload, ecn)
	}
	payload = payload[:h.Len] // without padding for traffic flow confidentiality
	if a.Link != nil {
		r.relay(a, payload)
		return
	}
	r.run.count(1, h.Len)
	r.joiner.Add(payload, h)
}

// transport puts the IP header before a payload and delivers the packet. It comes
// from the SA's peer, whatever a NAT made of its address: the selectors say so.
func (r *receiver) transport(a *association, payload []byte, next uint8) {
	if next == packet.ProtoNone {
		r.run.count(1, 0)
		return
	}
	p := a.path.Load()
	n := packet.TransportHeaderLen(p.local)
	whole := r.rebuilt[:n+copy(r.rebuilt[n:], payload)]
	packet.WriteTransport(whole, p.remote.Addr(), p.local, next, r.from.class, len(payload))
	h := &r.header
	switch {
	case !h.Parse(whole):
		a.drop(dropMalformed, 1)
		return
	case !r.admits(a, h):
		a.drop(dropSelector, 1)
		return
	}
	if p.kind == device.UDP {
		packet.FixTransportChecksum(whole, h)
	}
	r.run.count(1, h.Len)
	r.joiner.Add(whole, h)
	r.joiner.Flush() // before rebuilt is used again
}

// admits tells whether a packet may come through a (RFC 4301 section 5.2).
func (r *receiver) admits(a *association, h *packet.Header) bool {
	if r.admitted.sa == a && r.admitted.holds(h) {
		return true
	}
	if !a.selectsIn(h) {
		return false
	}
	r.admitted = decision{header: *h, sa: a}
	return true
}

// WritePacket gives the TUN device what the joiner made.
func (q *inQueue) WritePacket(head []byte, pieces [][]byte) {
	if err := q.writer.Write(head, pieces); err != nil {
		q.stats.tunFull.Add(uint64(len(pieces)))
	}
}
