package ikesock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// bufferSize of the sending side in octets, with the kernel's bookkeeping. It
// bounds what waits for a slow reader: some thousand short messages.
const bufferSize = 1 << 20

// Stats counts the datagrams of one end since it was made.
type Stats struct {
	Received, Sent uint64
	// Malformed frames came from the other side and were dropped.
	Malformed uint64
	// DroppedFull were not sent because the other side reads too slowly,
	// DroppedGone because there is no other side, DroppedInvalid because they
	// make no frame.
	DroppedFull, DroppedGone, DroppedInvalid uint64
}

// counters is Stats in the making.
type counters struct {
	received, sent, malformed, full, gone, invalid atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		Received: c.received.Load(), Sent: c.sent.Load(), Malformed: c.malformed.Load(),
		DroppedFull: c.full.Load(), DroppedGone: c.gone.Load(), DroppedInvalid: c.invalid.Load(),
	}
}

// Conn is one end of a connection between daemon and dataplane. One goroutine
// may read while others write.
type Conn struct {
	sock *net.UnixConn
	raw  syscall.RawConn
	n    *counters

	reading sync.Mutex
	in      []byte

	writing sync.Mutex
	out     []byte
}

// Dial connects a dataplane to the daemon that listens on path
// (offload.Config.IKESocket). It replaces the connection that the daemon had.
func Dial(ctx context.Context, path string) (*Conn, error) {
	var d net.Dialer
	sock, err := d.DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, fmt.Errorf("ikesock: connect to the daemon at %s: %w", path, err)
	}
	c, err := newConn(sock, new(counters))
	if err != nil {
		return nil, fmt.Errorf("ikesock: connect to the daemon at %s: %w", path, err)
	}
	return c, nil
}

// newConn owns sock, also when it fails.
func newConn(sock net.Conn, n *counters) (*Conn, error) {
	uc, ok := sock.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("ikesock: %T is not a unix socket", sock), sock.Close())
	}
	raw, err := uc.SyscallConn()
	if err == nil {
		err = setSendBuffer(raw)
	}
	if err != nil {
		return nil, errors.Join(err, uc.Close())
	}
	return &Conn{sock: uc, raw: raw, n: n}, nil
}

// setSendBuffer asks for bufferSize; net.core.wmem_max may give less to those
// who may not override it.
func setSendBuffer(raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, bufferSize) != nil {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, bufferSize)
		}
	})
	return errors.Join(err, set)
}

// ReadBatch waits for datagrams, fills ds from its start and returns how many
// came: it waits for the first one only. The error is io.EOF when the other side is gone, net.ErrClosed after Close.
//
// Payloads are copied into the Payload that each element of ds has, when it is
// large enough: a caller that keeps one sets it to nil before the next call.
// Malformed frames are counted and skipped.
func (c *Conn) ReadBatch(ds []Datagram) (int, error) {
	if len(ds) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.in == nil {
		c.in = make([]byte, maxFrame+1)
	}
	var n int
	var failed error
	err := c.raw.Read(func(fd uintptr) bool {
		n, failed = c.readReady(int(fd), ds)
		return n > 0 || failed != nil
	})
	switch {
	case n > 0: // an end shows again on the next call
		c.n.received.Add(uint64(n))
		return n, nil
	case err != nil:
		return 0, err
	default:
		return 0, failed
	}
}

// readReady reads what is there without waiting. One system call per frame is
// cheap beside what an IKE message costs.
func (c *Conn) readReady(fd int, ds []Datagram) (int, error) {
	n := 0
	for n < len(ds) {
		size, err := unix.Read(fd, c.in)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.ECONNRESET), err == nil && size == 0:
			return n, io.EOF
		case err != nil:
			return n, fmt.Errorf("ikesock: read: %w", err)
		}
		d, err := ParseFrame(c.in[:size]) // one octet longer than a frame may be: a longer one fails here
		if err != nil {
			c.n.malformed.Add(1)
			continue
		}
		d.Payload = append(ds[n].Payload[:0], d.Payload...)
		ds[n] = d
		n++
	}
	return n, nil
}

// WriteBatch hands ds to the other side and returns how many it took. It never
// waits: the others are dropped and counted. The caller keeps the payloads.
func (c *Conn) WriteBatch(ds []Datagram) int {
	c.writing.Lock()
	defer c.writing.Unlock()
	sent, tried := 0, 0
	err := c.raw.Write(func(fd uintptr) bool {
		for _, d := range ds {
			if c.send(int(fd), d) {
				sent++
			}
			tried++
		}
		return true
	})
	if err != nil {
		c.n.gone.Add(uint64(len(ds) - tried))
	}
	c.n.sent.Add(uint64(sent))
	return sent
}

func (c *Conn) send(fd int, d Datagram) bool {
	frame, err := AppendFrame(c.out[:0], d)
	c.out = frame
	if err != nil {
		c.n.invalid.Add(1)
		return false
	}
	for {
		err = unix.Send(fd, frame, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		switch {
		case err == nil:
			return true
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			c.n.full.Add(1)
			return false
		default:
			c.n.gone.Add(1)
			return false
		}
	}
}

// Stats returns the counters.
func (c *Conn) Stats() Stats { return c.n.stats() }

// Close ends the connection and wakes a waiting ReadBatch.
func (c *Conn) Close() error {
	if err := c.sock.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("ikesock: close: %w", err)
	}
	return nil
}
