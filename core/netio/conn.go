package netio

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

const (
	// BatchSize is how many datagrams one system call moves, and the most that
	// one call of Mux's deliver gets.
	BatchSize = 16
	// maxDatagram is more than UDP carries, so none is truncated.
	maxDatagram = 1 << 16
	// socketBuffer in octets bounds what waits for the engine in the kernel: a
	// burst of some thousand IKE_SA_INIT requests.
	socketBuffer = 4 << 20
	// maxPause is the longest rest of a reader whose socket yields only errors.
	maxPause = time.Second

	markerLen = 4
	keepalive = 0xff
)

// batcher is what ipv4.PacketConn and ipv6.PacketConn share.
type batcher interface {
	ReadBatch([]ipv4.Message, int) (int, error)
	WriteBatch([]ipv4.Message, int) (int, error)
}

// Conn is one UDP socket for IKE, bound to one local address and port. One
// goroutine may read while others write.
type Conn struct {
	local  netip.AddrPort
	natt   bool
	sock   *net.UDPConn
	batch  batcher
	n      *counters
	closed chan struct{}
	once   sync.Once // closes

	in []ipv4.Message // the reader's

	writing sync.Mutex
	out     []ipv4.Message
}

// Options of a Conn.
type Options struct {
	// NATT: IKE stands behind the non-ESP marker, as on port 4500.
	NATT bool
	// Socket options that a dataplane wants to be set (offload.Info).
	Socket []offload.SocketOption
}

// Listen opens a socket on local, which names one address, not all. Close it.
func Listen(local netip.AddrPort, o Options) (*Conn, error) {
	return listen(local, o, new(counters))
}

func listen(local netip.AddrPort, o Options, n *counters) (*Conn, error) {
	addr := local.Addr()
	if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() || addr.Is4In6() {
		return nil, fmt.Errorf("netio: listen on %v: want one address of this gateway", local)
	}
	network := "udp4"
	if addr.Is6() {
		network = "udp6"
	}
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		err := raw.Control(func(fd uintptr) { set = setOptions(int(fd), addr.Is6(), o.Socket) })
		return errors.Join(err, set)
	}}
	pc, err := config.ListenPacket(context.Background(), network, local.String())
	if err != nil {
		return nil, fmt.Errorf("netio: listen on %v: %w", local, err)
	}
	sock, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("netio: listen on %v: %T is not a UDP socket", local, pc), pc.Close())
	}
	c := &Conn{local: local, natt: o.NATT, sock: sock, n: n, closed: make(chan struct{})}
	if bound, ok := sock.LocalAddr().(*net.UDPAddr); ok {
		c.local = netip.AddrPortFrom(addr, bound.AddrPort().Port()) // port 0 was for any
	}
	c.batch = ipv4.NewPacketConn(sock)
	if addr.Is6() {
		c.batch = ipv6.NewPacketConn(sock)
	}
	return c, nil
}

// setOptions makes the choices of the package's documentation.
func setOptions(fd int, v6 bool, more []offload.SocketOption) error {
	options := []offload.SocketOption{
		{Level: unix.IPPROTO_IP, Name: unix.IP_FREEBIND, Value: 1},
		{Level: unix.IPPROTO_IP, Name: unix.IP_MTU_DISCOVER, Value: unix.IP_PMTUDISC_DONT},
	}
	if v6 {
		options = []offload.SocketOption{
			{Level: unix.IPPROTO_IPV6, Name: unix.IPV6_FREEBIND, Value: 1},
			{Level: unix.IPPROTO_IPV6, Name: unix.IPV6_MTU_DISCOVER, Value: unix.IPV6_PMTUDISC_DONT},
		}
	}
	for _, o := range append(options, more...) {
		if err := unix.SetsockoptInt(fd, o.Level, o.Name, o.Value); err != nil {
			return fmt.Errorf("socket option %d of level %d to %d: %w", o.Name, o.Level, o.Value, err)
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socketBuffer) == nil {
		return nil
	}
	// Without CAP_NET_ADMIN net.core.rmem_max is the limit.
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, socketBuffer)
}

// Local is the address and port that the socket is bound to.
func (c *Conn) Local() netip.AddrPort { return c.local }

// ReadBatch waits for IKE datagrams, fills ds from its start and returns how
// many came: it waits for the first one only. The caller owns the payloads.
//
// Keepalives, ESP packets and what is too short are dropped and counted; errors
// of the network are counted. The only error is net.ErrClosed, after Close.
func (c *Conn) ReadBatch(ds []ike.Datagram) (int, error) {
	if c.in == nil {
		c.in = make([]ipv4.Message, BatchSize)
		for i := range c.in {
			c.in[i].Buffers = [][]byte{make([]byte, maxDatagram)}
		}
	}
	pause := time.Millisecond
	for {
		n, err := c.batch.ReadBatch(c.in[:min(len(c.in), len(ds))], 0)
		if err != nil {
			if c.isClosed() {
				return 0, net.ErrClosed
			}
			c.n.receiveErrors.Add(1)
			c.rest(pause)
			pause = min(2*pause, maxPause)
			continue
		}
		pause = time.Millisecond
		if got := c.accept(ds, c.in[:n]); got > 0 || len(ds) == 0 {
			return got, nil
		}
	}
}

// rest keeps a socket in distress from taking a whole core.
func (c *Conn) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.closed:
	}
}

// accept copies the IKE messages of in to ds.
func (c *Conn) accept(ds []ike.Datagram, in []ipv4.Message) int {
	got := 0
	for i := range in {
		from, ok := in[i].Addr.(*net.UDPAddr)
		if !ok {
			c.n.receiveErrors.Add(1)
			continue
		}
		payload, ok := c.strip(in[i].Buffers[0][:in[i].N])
		if !ok {
			continue
		}
		remote := from.AddrPort()
		ds[got] = ike.Datagram{
			Local:   c.local,
			Remote:  netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()),
			Payload: bytes.Clone(payload),
		}
		got++
	}
	c.n.received.Add(uint64(got))
	return got
}

// strip tells IKE from the rest and takes the marker off.
//
// "The SPI field in the ESP header MUST NOT be a zero value." and "The Non-ESP
// Marker is 4 zero-valued bytes aligning with the SPI field of an ESP packet."
// RFC 3948 sections 2.1 and 2.2. "The receiver SHOULD ignore a received
// NAT-keepalive packet." Section 2.3.
func (c *Conn) strip(b []byte) ([]byte, bool) {
	switch {
	case c.natt && len(b) == 1 && b[0] == keepalive:
		c.n.keepalivesReceived.Add(1)
		return nil, false
	case c.natt && len(b) < markerLen, len(b) == 0:
		c.n.short.Add(1)
		return nil, false
	case !c.natt:
		return b, true
	case [markerLen]byte(b) != [markerLen]byte{}:
		c.n.esp.Add(1)
		return nil, false
	case len(b) == markerLen:
		c.n.short.Add(1)
		return nil, false
	}
	return b[markerLen:], true
}

// WriteBatch sends ds and returns how many the kernel took. It never waits:
// what does not go is dropped and counted. The caller keeps the payloads. The
// datagrams' Local is not looked at.
func (c *Conn) WriteBatch(ds []ike.Datagram) int {
	c.writing.Lock()
	defer c.writing.Unlock()
	sent := 0
	for len(ds) > 0 {
		n := min(len(ds), BatchSize)
		sent += c.write(ds[:n])
		ds = ds[n:]
	}
	c.n.sent.Add(uint64(sent))
	return sent
}

// write sends up to BatchSize datagrams.
func (c *Conn) write(ds []ike.Datagram) int {
	c.out = c.out[:0]
	for _, d := range ds {
		c.out = append(c.out, ipv4.Message{Buffers: c.frame(d), Addr: net.UDPAddrFromAddrPort(d.Remote)})
	}
	sent := 0
	for rest := c.out; len(rest) > 0; {
		n, err := c.batch.WriteBatch(rest, unix.MSG_DONTWAIT)
		if err != nil || n <= 0 { // the first one did not go
			c.n.sendErrors.Add(1)
			rest = rest[1:]
			continue
		}
		sent += n
		rest = rest[n:]
	}
	clear(c.out) // hold on to no payload
	return sent
}

// frame is what goes on the wire, payload uncopied.
func (c *Conn) frame(d ike.Datagram) [][]byte {
	switch {
	case d.Keepalive:
		return [][]byte{{keepalive}}
	case c.natt:
		return [][]byte{make([]byte, markerLen), d.Payload}
	}
	return [][]byte{d.Payload}
}

// Stats returns the counters.
func (c *Conn) Stats() Stats { return c.n.stats() }

func (c *Conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// Close closes the socket and wakes a waiting ReadBatch.
func (c *Conn) Close() error {
	var err error
	c.once.Do(func() {
		close(c.closed)
		err = c.sock.Close()
	})
	if err != nil {
		return fmt.Errorf("netio: close %v: %w", c.local, err)
	}
	return nil
}
