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
	// takeAt is when a batch is full, in octets of its frames: one super-packet.
	takeAt = 100 << 10
	// maxFrames bounds a batch, in frames of the TUN device or packets sent again.
	maxFrames = 128
	// maxMessages bounds a batch, in messages.
	maxMessages = 256
	// maxPacket is the longest outer payload that one inner packet can make.
	maxPacket = udpHeaderLen + 65536 + esp.MaxOverhead
)

// transmitter is a goroutine of one TUN queue: it takes packets, encrypts them into one
// piece of memory and sends them. A second one of the same queue helps when there is
// more to do than one can.
type transmitter struct {
	worker
	*outQueue
	turn
	n *network
	e *Engine
	// user is whose ciphers it takes.
	user user

	// What it takes: frames of the TUN device, one behind the other, and what is to be
	// done with them.
	frames []byte
	filled int
	jobs   []job
	super  *packet.Super // of the job that comes next
	again  []heldPacket
	now    time.Duration
	last   decision
	run    run

	// What it makes of them.
	out     []byte
	used    int
	batched []outgoing
	// messages is scratch of flush.
	messages [maxMessages]device.Message
	sender   device.Sender
}

// outQueue is what both transmitters of a TUN queue use while they take a batch.
type outQueue struct {
	order turns
	queue *device.Queue
	// back writes ICMP messages to the TUN device.
	back     *device.FrameWriter
	acquires acquireFilter
	tooBig   tooBigWriter
}

// job is a super-packet with what was decided for it: count segments leave through an
// SA, and these are their numbers and the counters of their IVs.
type job struct {
	super          packet.Super
	sa             *association
	path           *path
	socket         *device.Socket
	cipher         *esp.Cipher
	count          int
	first, counter uint64
}

// outgoing is a message with what must be known when it cannot be sent.
type outgoing struct {
	device.Message
	socket *device.Socket
	sa     *association
	path   *path
	count  int // datagrams
}

func newOutQueue(n *network, index int) *outQueue {
	return &outQueue{queue: n.tun.Queue(index), back: n.tun.Queue(index).NewWriter()}
}

func newTransmitter(n *network, u user, q *outQueue, wake *device.Wake) *transmitter {
	t := &transmitter{n: n, e: n.e, user: u, outQueue: q}
	t.turns, t.wake = &q.order, wake
	t.frames = make([]byte, takeAt+device.FrameLen)
	t.prepare()
	return t
}

// newOnward makes one without a goroutine, for the receivers of a queue, in whose turn
// it sends.
func newOnward(n *network, index int) *transmitter {
	q := newOutQueue(n, index)
	t := &transmitter{n: n, e: n.e, user: user{index, asRelay}, outQueue: q}
	t.come = true
	t.prepare()
	return t
}

func (t *transmitter) prepare() {
	t.out = make([]byte, outLen)
	t.jobs = make([]job, 0, maxFrames)
	t.batched = make([]outgoing, 0, maxMessages)
	t.super = &t.jobs[:1][0].super
	t.sockets.Store(new(socketSet))
}

// work runs until stop is set.
func (t *transmitter) work() {
	poller := device.NewPoller(t.wake, t.queue.FD())
	for !t.stop.Load() {
		if t.once() {
			continue
		}
		if err := poller.Wait(); err != nil {
			t.e.log.Error("transmitter stopped", "queue", t.user.queue, "error", err)
			return
		}
		if poller.Failed(0) {
			t.n.broken.Store(true)
			t.e.log.Error("transmitter stopped: the tun device is gone", "queue", t.user.queue)
			return
		}
	}
}

// assist runs until stop is set: whenever the first transmitter calls, it takes batches
// as long as there are some.
func (t *transmitter) assist() {
	if err := t.worker.assist(&t.order, t.once); err != nil {
		t.e.log.Error("second transmitter stopped", "queue", t.user.queue, "error", err)
	}
}

// once carries one batch; false when there was none.
func (t *transmitter) once() bool {
	t.batch.Lock()
	defer t.batch.Unlock()
	if !t.take() {
		return false
	}
	t.encrypt()
	t.wait()
	t.flush()
	t.end()
	return true
}

// take reads a batch and decides what becomes of each packet. When nobody waits to take
// the next batch, each is encrypted at once: more of a burst arrives meanwhile.
func (t *transmitter) take() bool {
	t.in.Lock()
	t.begin()
	t.now = t.e.now()
	alone := t.alone()
	frames := t.resend()
	for frames < maxFrames && t.filled < takeAt {
		n, err := t.queue.Read(t.frames[t.filled : t.filled+device.FrameLen])
		if n == 0 || err != nil {
			break
		}
		frames++
		t.filled += n
		t.packet(t.frames[t.filled-n : t.filled])
		if alone {
			t.encrypt()
		}
	}
	t.settle()
	late := frames > 0 && t.took(frames == maxFrames || t.filled >= takeAt)
	t.in.Unlock()
	t.filled = 0
	if late && t.queue.Waiting() {
		t.call()
	}
	return frames > 0
}

// packet decides what becomes of one frame of the TUN device.
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

// carry has t.super leave through an active SA, if it fits the path.
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
	t.plan(a, p, socket, count)
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

// plan gives t.super's segments their numbers and makes a job of them. What limits leave
// is sent, the rest is dropped.
func (t *transmitter) plan(a *association, p *path, socket *device.Socket, count int) {
	cipher, err := a.cipher(t.user)
	// "transport mode ESP is applied only to whole IP datagrams" RFC 4303 section 3.3.4
	if err != nil || a.Mode == ipsec.Transport && t.super.Fragmented {
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
	t.run.count(granted, t.super.Bytes(granted))
	n := len(t.jobs)
	t.jobs = t.jobs[:n+1]
	j := &t.jobs[n] // its super-packet is there
	j.sa, j.path, j.socket, j.cipher, j.count, j.first, j.counter = a, p, socket, cipher, granted, first, counter
	if n+1 < cap(t.jobs) {
		t.super = &t.jobs[:n+2][n+1].super
	}
}

// settle ends what consecutive packets of a batch have in common.
func (t *transmitter) settle() {
	t.run.settle(t.e, t.now)
	t.last.sa = nil
}

// encrypt makes messages of the jobs. Where they do not all fit, those before are sent.
func (t *transmitter) encrypt() {
	for i := range t.jobs {
		j := &t.jobs[i]
		class := packet.OuterTrafficClass(j.super.TrafficClass, j.sa.Header.HideDSCP, j.sa.Header.DSCP)
		for k := range j.count {
			if t.used+maxPacket > len(t.out) || len(t.batched) == maxMessages {
				t.wait()
				t.flush()
			}
			t.enqueue(j, class, t.seal(j, k))
		}
	}
	t.forget()
}

// forget makes room for the next jobs.
func (t *transmitter) forget() {
	clear(t.jobs)
	t.jobs = t.jobs[:0]
	t.super = &t.jobs[:1][0].super
}

// seal makes the ESP packet of segment i at the end of t.out, behind as many octets as
// the socket wants free, and returns its length with those.
func (t *transmitter) seal(j *job, i int) int {
	lead := j.socket.HeaderLen()
	b := t.out[t.used+lead:]
	payload := b[j.cipher.HeaderLen():]
	n := j.super.Segment(payload, i)
	next := uint8(packet.ProtoIPv4)
	if j.super.V6 {
		next = packet.ProtoIPv6
	}
	if j.sa.Mode == ipsec.Transport {
		from := transportHeader(&j.super.Header)
		next = j.super.TransportProto(payload)
		n = copy(payload, payload[from:n])
	}
	seq, counter := j.first+uint64(i), j.counter+uint64(i)
	return lead + j.cipher.Seal(b, n, next, j.sa.ID.SPI, seq, j.sa.iv.IV(counter))
}

// enqueue appends the n octets at the end of t.out to the batch: to the last
// message, when the kernel can cut both apart again, or as a new one.
func (t *transmitter) enqueue(j *job, class uint8, n int) {
	start := t.used
	t.used += n
	if last := len(t.batched) - 1; last >= 0 && t.batched[last].extend(j, class, n) {
		return
	}
	j.socket.PutHeader(t.out[start:start+n], j.path.to)
	t.batched = append(t.batched, outgoing{
		Message: device.Message{Data: t.out[start : start+n], Segment: n, TrafficClass: class, To: j.path.to},
		socket:  j.socket, sa: j.sa, path: j.path, count: 1,
	})
}

// extend makes the n octets behind o part of it. All datagrams of a train have
// one length, but the last may be shorter.
func (o *outgoing) extend(j *job, class uint8, n int) bool {
	if o.sa != j.sa || o.path != j.path || o.socket != j.socket || o.TrafficClass != class ||
		!j.socket.Trains() || n > o.Segment || len(o.Data) != o.count*o.Segment ||
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
		t.e.held.keep(a, t.super, from, to, t.now)
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
