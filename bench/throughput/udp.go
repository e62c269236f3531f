package throughput

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

const (
	// headers of an IPv4 packet with UDP in it.
	headers = 28
	// stamp is what a datagram begins with: when it was sent, in nanoseconds, its
	// flow, and its number within that.
	stamp = 8 + 4 + 8
	// sendBatch is how many datagrams a sender gives to the kernel at once.
	sendBatch = 32
	// paceEvery is how often a sender with a rate sends, at most.
	paceEvery = 200 * time.Microsecond
	// mostLate is how much of its time a sender with a rate makes up for. What it did not
	// send before, because it had no processor, would be a flood.
	mostLate = 10 * time.Millisecond
)

// stream is what a UDP test sends.
type stream struct {
	// sizes of the IP packets in octets, in turns.
	sizes []int
	// rate in bits of IP packets per second, of one size, 0 for as much as goes.
	rate float64
	// flows is to how many clients, burst datagrams to each in a row.
	flows, burst int
}

// probes are sent beside what is no datagrams itself, to see how late a packet is that
// has to wait for all others.
func probes() stream {
	const size, perSecond = 64, 1000
	return stream{sizes: []int{size}, rate: perSecond * size * 8, flows: 1, burst: 1}
}

// udp sends a stream.
func (p *pair) udp(ctx context.Context, s stream, length time.Duration) (f Figures, err error) {
	c, err := p.begin(s)
	if err != nil {
		return f, err
	}
	w, err := p.watch(ctx, length, c.receiver.octets.Load)
	c.end(ctx)
	if err != nil {
		return f, err
	}
	f = w.figures()
	c.late(&f)
	got := c.receiver.packets.Load()
	f.Packets = f.Bits / 8 / (float64(c.receiver.octets.Load()) / float64(got))
	f.Lost = 1 - float64(got)/float64(c.sender.sent)
	f.Disordered = float64(c.receiver.disordered) / float64(got)
	f.Offered = float64(c.sender.sent) / c.sent.Seconds()
	return f, nil
}

// course is a stream under way.
type course struct {
	receiver           *udpReceiver
	sender             *udpSender
	receiving, sending sync.WaitGroup
	sent               time.Duration // how long it was sent, when it has ended
}

// begin sends a stream until its end is asked for.
func (p *pair) begin(s stream) (*course, error) {
	in, err := p.client.ns.ListenUDP(fmt.Sprintf("0.0.0.0:%d", testPort))
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	c := &course{receiver: &udpReceiver{conn: in, base: time.Now(), newest: make([]uint64, s.flows)}}
	if err := c.receiver.enlarge(); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	out, err := p.gateway.ns.ListenUDP(senderAddr + ":0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the sender: %w", err), in.Close())
	}
	c.sender = newUDPSender(out, s, c.receiver.base)
	c.receiving.Go(c.receiver.run)
	c.sending.Go(c.sender.run)
	return c, nil
}

// end stops it and waits for what is under way.
func (c *course) end(ctx context.Context) {
	c.sent = time.Since(c.sender.began)
	c.sender.conn.Close()
	c.sending.Wait()
	c.receiver.drain(ctx, c.sender.sent)
	c.receiver.conn.Close()
	c.receiving.Wait()
}

// late notes how late datagrams were, when it has ended.
func (c *course) late(f *Figures) {
	of := c.receiver.late.quantile
	f.P50, f.P90, f.P99, f.P999 = of(0.5), of(0.9), of(0.99), of(0.999)
}

// udpSender sends until its socket is closed.
type udpSender struct {
	stream
	conn  *ipv4.PacketConn
	began time.Time
	ms    []ipv4.Message
	to    []*net.UDPAddr
	seq   []uint64
	sent  uint64 // read when run has ended
}

func newUDPSender(conn *net.UDPConn, s stream, began time.Time) *udpSender {
	t := &udpSender{stream: s, conn: ipv4.NewPacketConn(conn), began: began, seq: make([]uint64, s.flows)}
	for i := range s.flows {
		t.to = append(t.to, net.UDPAddrFromAddrPort(netip.AddrPortFrom(clientAddr(i), testPort)))
	}
	for range sendBatch {
		t.ms = append(t.ms, ipv4.Message{Buffers: [][]byte{make([]byte, 1<<16)}})
	}
	return t
}

func (t *udpSender) run() {
	if t.rate == 0 {
		for t.send(sendBatch) {
		}
		return
	}
	p := pacer{rate: t.rate / 8 / float64(t.sizes[0])}
	every := max(paceEvery, time.Duration(float64(time.Second)/p.rate))
	for {
		pause(every)
		for n := p.due(time.Since(t.began)); n > 0; n -= sendBatch {
			if !t.send(min(n, sendBatch)) {
				return
			}
		}
	}
}

// pacer keeps a rate, in datagrams per second.
type pacer struct {
	rate, sent float64
}

// due is how many datagrams are to be sent now, so long after the first.
func (p *pacer) due(after time.Duration) int {
	due := after.Seconds() * p.rate
	p.sent = max(p.sent, due-mostLate.Seconds()*p.rate)
	n := int(due - p.sent)
	p.sent += float64(n)
	return n
}

// pause sleeps. A timer of Go's is a millisecond late while the process has
// nothing else to do, and in time while it has: the rate would be that of the receiver,
// which a contestant that delivers in trains wakes up less often.
func pause(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // a signal ends it early, and no harm is done
}

// send sends n datagrams; false when the socket is closed.
func (t *udpSender) send(n int) bool {
	for i := range n {
		t.fill(&t.ms[i])
	}
	for ms := t.ms[:n]; len(ms) > 0; {
		sent, err := t.conn.WriteBatch(ms, 0)
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EMSGSIZE) {
			return false
		}
		ms = ms[max(sent, 1):]
	}
	return true
}

// fill makes the next datagram.
func (t *udpSender) fill(m *ipv4.Message) {
	flow := int(t.sent/uint64(t.burst)) % t.flows
	size := t.sizes[t.sent%uint64(len(t.sizes))]
	b := m.Buffers[0][:size-headers]
	binary.BigEndian.PutUint64(b, uint64(time.Since(t.began)))
	binary.BigEndian.PutUint32(b[8:], uint32(flow))
	t.seq[flow]++
	binary.BigEndian.PutUint64(b[12:], t.seq[flow])
	m.Buffers[0], m.Addr = b, t.to[flow]
	t.sent++
}
