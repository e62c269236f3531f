package softesp

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/device"
	"github.com/evergate/evergate/plugins/softesp/esp"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

const (
	// outLen is the memory for packets under way, in octets.
	outLen = 256 << 10
	// flushAt is when a batch is sent: one super-packet with its overhead.
	flushAt = 48 << 10
	// maxFrames bounds a batch, in frames of the TUN device.
	maxFrames = 128
	// maxMessages bounds a batch, in messages.
	maxMessages = 256
	// maxPacket is the longest outer payload that one inner packet can make.
	maxPacket = udpHeaderLen + 65536 + esp.MaxOverhead
)

// transmitter is the goroutine of one TUN queue: it reads packets, encrypts them
// into one piece of memory and sends them, without handing them to anybody.
type transmitter struct {
	worker
	n     *network
	e     *Engine
	index int
	// slot is the place of its ciphers in an SA.
	slot  int
	queue *device.Queue // nil for one that carries on what a receiver gives it
	// back writes ICMP messages to the TUN device.
	back *device.FrameWriter
	// again is scratch of resend.
	again  []heldPacket
	sender device.Sender

	frame   []byte
	super   packet.Super
	out     []byte
	used    int
	batched []outgoing
	// messages is scratch of flush.
	messages [maxMessages]device.Message
	now      time.Duration
	last     decision
	run      run
	acquires acquireFilter
	tooBig   tooBigWriter
}

// outgoing is a message with what must be known when it cannot be sent.
type outgoing struct {
	device.Message
	socket *device.Socket
	sa     *association
	path   *path
	count  int // datagrams
}

func newTransmitter(n *network, index int, wake *device.Wake) *transmitter {
	t := newOnward(n, index)
	t.slot, t.queue, t.wake = index, n.tun.Queue(index), wake
	t.frame = make([]byte, device.FrameLen)
	return t
}

// newOnward makes one without a goroutine, for the receiver of a queue.
func newOnward(n *network, index int) *transmitter {
	t := &transmitter{
		n: n, e: n.e, index: index, slot: maxQueues + index, back: n.tun.Queue(index).NewWriter(),
		out:     make([]byte, outLen),
		batched: make([]outgoing, 0, maxMessages),
	}
	t.sockets.Store(new(socketSet))
	return t
}

// work runs until stop is set.
func (t *transmitter) work() {
	poller := device.NewPoller(t.wake, t.queue.FD())
	for !t.stop.Load() {
		if t.once() {
			continue
		}
		if err := poller.Wait(); err != nil {
			t.e.log.Error("transmitter stopped", "queue", t.index, "error", err)
			return
		}
		if poller.Failed(0) {
			t.n.broken.Store(true)
			t.e.log.Error("transmitter stopped: the tun device is gone", "queue", t.index)
			return
		}
	}
}

// once carries one batch; false when there was none.
func (t *transmitter) once() bool {
	t.batch.Lock()
	defer t.batch.Unlock()
	t.now = t.e.now()
	frames := t.resend()
	for frames < maxFrames && t.used < flushAt {
		n, err := t.queue.Read(t.frame)
		if n == 0 || err != nil {
			break
		}
		frames++
		t.packet(t.frame[:n])
	}
	t.flush()
	return frames > 0
}

// packet carries one frame of the TUN device: finds its SA, and encrypts it.
func (t *transmitter) packet(frame []byte) {
	if !t.super.Parse(frame) {
		t.e.stats.malformed.Add(1)
		return
	}
	t.forward()
}

// forward sends t.super by the SA that selects it.
func (t *transmitter) forward() {
	h := &t.super.Header
	if h.Dst.IsMulticast() || h.Dst.IsLinkLocalUnicast() || h.Src.IsUnspecified() {
		t.e.stats.multicast.Add(1)
		return
	}
	a := t.find(h)
	if a == nil {
		t.e.stats.noSA.Add(1)
		if t.acquires.fresh(h, t.now) {
			t.e.events.add(acquire(h))
		}
		return
	}
	if !a.active() && !t.e.knock(a) {
		link := t.e.links.find(a.group.Load().id)
		if link == nil {
			a.drop(dropStandby, t.super.Count())
			return
		}
		a.relayed.Add(uint64(t.super.Count()))
		a = link
	}
	t.carry(a)
}

// find returns the SA for a packet, nil for none.
func (t *transmitter) find(h *packet.Header) *association {
	if !t.last.holds(h) {
		t.last = decision{header: *h, sa: t.e.outbound.find(h)}
	}
	return t.last.sa
}

// carry encrypts t.super with an active SA, if it fits the path.
func (t *transmitter) carry(a *association) {
	count := t.super.Count()
	p := a.path.Load()
	whole, fits := t.fit(a, p)
	if !fits {
		a.drop(dropTooBig, count)
		t.answerTooBig(a, p)
		return
	}
	socket := t.sockets.Load().find(p, whole)
	if socket == nil {
		t.e.stats.noSocket.Add(1)
		a.drop(dropQueue, count)
		return
	}
	t.encrypt(a, p, socket, count)
}

// fit decides whether the packets of t.super leave whole, and whether they may
// leave at all (RFC 4301 section 8.1). IPv6 promises 1280 octets to everyone, so
// where a path with the overhead of the tunnel has less, the outer packet is
// fragmented (RFC 2473 section 7.1).
func (t *transmitter) fit(a *association, p *path) (whole, fits bool) {
	h := &t.super.Header
	size := t.super.Largest()
	if a.Mode == ipsec.Transport {
		size -= transportHeader(h)
	}
	switch a.Header.DF {
	case ipsec.DFSet:
		whole = true
	case ipsec.DFClear:
		whole = false
	default:
		whole = h.DF
	}
	if !whole {
		return false, true
	}
	if size > a.room(p) && a.mtu.age(t.now) {
		t.e.events.add(offload.MTUChanged{ID: a.ID, MTU: uint16(a.mtu.known())})
	}
	if size <= a.room(p) {
		return true, true
	}
	return false, h.V6 && size <= packet.MinIPv6MTU
}

// encrypt makes ESP packets of t.super's segments. What limits leave is sent,
// the rest is dropped.
func (t *transmitter) encrypt(a *association, p *path, socket *device.Socket, count int) {
	cipher, err := a.cipher(t.slot)
	if err != nil {
		a.drop(dropMalformed, count)
		return
	}
	if t.run.sa != a {
		t.run.settle(t.e, t.now)
		t.run.sa = a
	}
	allowed := a.allowance(count, t.super.Largest(), t.run.packets, t.run.bytes)
	a.drop(dropLifetime, count-allowed)
	first, got := a.out.reserve(uint64(allowed))
	granted := int(got)
	if granted < allowed {
		t.ceiling(a, granted, allowed)
	}
	if granted == 0 {
		return
	}
	counter, ok := a.out.counters(got)
	if !ok {
		a.drop(dropCeiling, granted)
		t.e.tellExhausted(a)
		return
	}
	class := packet.OuterTrafficClass(t.super.TrafficClass, a.Header.HideDSCP, a.Header.DSCP)
	sent := 0
	for i := range granted {
		if t.used+maxPacket > len(t.out) || len(t.batched) == maxMessages {
			t.flush()
		}
		n, ok := t.seal(a, cipher, socket.HeaderLen(), i, first+uint64(i), counter+uint64(i))
		if !ok {
			a.drop(dropMalformed, 1)
			continue
		}
		t.enqueue(a, p, socket, class, n)
		sent++
	}
	t.run.count(sent, t.super.Bytes(sent))
}

// seal makes the ESP packet of segment i at the end of t.out, behind lead free
// octets, and returns its length with those. False means that transport mode
// cannot carry the segment.
func (t *transmitter) seal(a *association, c *esp.Cipher, lead, i int, seq, counter uint64) (int, bool) {
	b := t.out[t.used+lead:]
	payload := b[c.HeaderLen():]
	n := t.super.Segment(payload, i)
	next := uint8(packet.ProtoIPv4)
	if t.super.V6 {
		next = packet.ProtoIPv6
	}
	if a.Mode == ipsec.Transport {
		// "transport mode ESP is applied only to whole IP datagrams" RFC 4303
		// section 3.3.4
		if t.super.Fragmented {
			return 0, false
		}
		from := transportHeader(&t.super.Header)
		next = t.super.TransportProto(payload)
		n = copy(payload, payload[from:n])
	}
	return lead + c.Seal(b, n, next, a.ID.SPI, seq, a.iv.IV(counter)), true
}

// enqueue appends the n octets at the end of t.out to the batch: to the last
// message, when the kernel can cut both apart again, or as a new one.
func (t *transmitter) enqueue(a *association, p *path, socket *device.Socket, class uint8, n int) {
	start := t.used
	t.used += n
	if last := len(t.batched) - 1; last >= 0 && t.batched[last].extend(a, p, socket, class, n) {
		return
	}
	socket.PutHeader(t.out[start:start+n], p.to)
	t.batched = append(t.batched, outgoing{
		Message: device.Message{Data: t.out[start : start+n], Segment: n, TrafficClass: class, To: p.to},
		socket:  socket, sa: a, path: p, count: 1,
	})
}

// extend makes the n octets behind o part of it. All datagrams of a train have
// one length, but the last may be shorter.
func (o *outgoing) extend(a *association, p *path, socket *device.Socket, class uint8, n int) bool {
	if o.sa != a || o.path != p || o.socket != socket || o.TrafficClass != class ||
		!socket.Trains() || n > o.Segment || len(o.Data) != o.count*o.Segment ||
		o.count == device.MaxTrain || len(o.Data)+n > device.MaxTrainLen {
		return false
	}
	o.Data = o.Data[:len(o.Data)+n]
	o.count++
	return true
}

// ceiling deals with the segments of t.super, from one to the one before another, that
// no sequence number is left for: they wait for a successor, where only that can send
// them, or are dropped.
func (t *transmitter) ceiling(a *association, from, to int) {
	if a.Link == nil && a.out.spent() {
		t.e.held.keep(a, &t.super, from, to, t.now)
	} else {
		a.drop(dropCeiling, to-from)
	}
	t.e.tellExhausted(a)
}

// tellExhausted reports, once per lease, that nothing is left of it.
func (e *Engine) tellExhausted(a *association) {
	if a.out.exhausted() {
		e.events.add(offload.LeaseLow{ID: a.ID, Next: a.out.next.Load(), Exhausted: true})
	}
}
