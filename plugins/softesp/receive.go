package softesp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload/ikesock"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// minESP is SPI and sequence number.
const minESP = 8

// receiver is the goroutine of one queue of the outer sockets: it takes packets,
// decrypts them where they lie, joins them and gives them to the TUN device,
// without handing them to anybody.
type receiver struct {
	worker
	n     *network
	e     *Engine
	index int
	// memory, errors and joiner hold one batch.
	memory *device.Receiver
	errors device.Errors
	writer *device.FrameWriter
	joiner *packet.Coalescer
	// onward sends what arrives over links.
	onward *transmitter

	now    time.Duration
	header packet.Header
	from   arrival
	ike    []ikesock.Datagram
	run    run
	// admitted is the flow of the last packet that the selectors of its SA let in.
	admitted decision
	// rebuilt is where packets of transport mode are put together.
	rebuilt [packet.IPv6HeaderLen + 65536]byte
}

// arrival is what is known of a received packet besides its octets.
type arrival struct {
	socket *device.Socket
	train  *device.Received
	class  uint8
}

func newReceiver(n *network, index int, wake *device.Wake) *receiver {
	r := &receiver{
		n: n, e: n.e, index: index,
		memory: device.NewReceiver(),
		writer: n.tun.Queue(index).NewWriter(),
		onward: newOnward(n, index),
		ike:    make([]ikesock.Datagram, 0, ikeBatch),
	}
	r.joiner = packet.NewCoalescer(r)
	r.joiner.UDP = n.tun.UDPTrains
	r.wake = wake
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
			r.e.log.Error("receiver stopped", "queue", r.index, "error", err)
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
			if !poller.Readable(i) {
				continue
			}
			if !r.once(set, s) {
				return nil
			}
		}
		if r.sockets.Load() != set {
			return nil
		}
	}
	return nil
}

// once takes one batch from s; false when the sockets have changed, so that s
// may be closed.
func (r *receiver) once(set *socketSet, s *device.Socket) bool {
	r.batch.Lock()
	defer r.batch.Unlock()
	if r.sockets.Load() != set {
		return false
	}
	r.now, r.admitted.sa = r.e.now(), nil
	got := r.memory.Receive(s)
	for i := range got {
		r.from = arrival{socket: s, train: &got[i], class: got[i].TrafficClass}
		if s.Kind == device.Raw {
			r.raw(got[i].Data)
		} else {
			r.udp(&got[i])
		}
	}
	r.run.settle(r.e, r.now)
	r.joiner.Flush()
	r.onward.flush()
	r.handOver()
	return true
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

// esp finds the SA of an ESP packet and carries the packet through it, in the
// order of RFC 4303 section 3.4.
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
	if r.run.sa != a {
		r.run.settle(r.e, r.now)
		r.run.sa = a
	}
	if a.allowance(1, 0, r.run.packets, r.run.bytes) == 0 {
		a.drop(dropLifetime, 1)
		return
	}
	seq, ok := a.window.Infer(binary.BigEndian.Uint32(p[4:]), a.Algorithms.ESN)
	if !ok || !a.window.Fresh(seq) {
		a.drop(dropReplayed, 1)
		return
	}
	r.open(a, p, seq)
}

// open decrypts a packet with a plausible number. Only what is authentic moves
// the window, wakes a standby or moves the peer.
func (r *receiver) open(a *association, p []byte, seq uint64) {
	cipher, err := a.cipher(r.index)
	if err != nil {
		a.drop(dropMalformed, 1)
		return
	}
	payload, next, err := cipher.Open(p, seq)
	if err != nil && !errors.Is(err, esp.ErrPadding) { // not known to be authentic
		reason := dropMalformed
		if errors.Is(err, esp.ErrAuthentication) {
			reason = dropAuthentication
		}
		a.drop(reason, 1)
		return
	}
	newest := seq > a.window.Highest()
	if !a.window.Accept(seq) {
		a.drop(dropReplayed, 1)
		return
	}
	if err != nil {
		a.drop(dropMalformed, 1)
		return
	}
	if newest && r.from.socket.Kind == device.UDP {
		r.checkSource(a)
	}
	if !a.active() {
		r.e.knock(a)
	}
	if a.Mode == ipsec.Transport {
		r.transport(a, payload, next)
	} else {
		r.tunnel(a, payload, next)
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
func (r *receiver) WritePacket(head []byte, pieces [][]byte) {
	if err := r.writer.Write(head, pieces); err != nil {
		r.e.stats.tunFull.Add(uint64(len(pieces)))
	}
}
