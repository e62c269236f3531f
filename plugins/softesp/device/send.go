//nolint:gosec // G103: the kernel's structures are read and written in place.
package device

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// sendSlots is how many messages one system call sends.
	sendSlots = 64
	// sendControlLen has room for a segment size and a traffic class.
	sendControlLen = 48
	// MaxTrain is the longest train, in datagrams (UDP_MAX_SEGMENTS of older
	// kernels).
	MaxTrain = 64
	// MaxTrainLen is the longest train in octets: a UDP datagram over IPv4.
	MaxTrainLen = 65535 - 20 - 8
	// sendPatience is how long a full socket buffer holds up its queue before
	// packets are dropped.
	sendPatience = 10 * time.Millisecond
)

// Destination is an outer address in the form in which the kernel wants it. It
// does not change.
type Destination struct {
	addr netip.AddrPort
	// name has the port, bare has none, as raw sockets want it.
	name, bare *byte
	size       uint32
	v6         bool
}

// NewDestination prepares a; the port is 0 for raw sockets.
func NewDestination(a netip.AddrPort) *Destination {
	d := &Destination{addr: a, v6: a.Addr().Is6(), size: unix.SizeofSockaddrInet4}
	if d.v6 {
		d.size = unix.SizeofSockaddrInet6
	}
	d.name, d.bare = sockaddr(a), sockaddr(netip.AddrPortFrom(a.Addr(), 0))
	return d
}

func sockaddr(a netip.AddrPort) *byte {
	if a.Addr().Is6() {
		sa := &unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: htons(a.Port()), Addr: a.Addr().As16()}
		return (*byte)(unsafe.Pointer(sa))
	}
	sa := &unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(a.Port()), Addr: a.Addr().As4()}
	return (*byte)(unsafe.Pointer(sa))
}

// AddrPort is the address.
func (d *Destination) AddrPort() netip.AddrPort { return d.addr }

// Message is a datagram, or a train of them, to send.
type Message struct {
	// Data has Socket.HeaderLen octets before the payload.
	Data []byte
	// Segment is the length of each datagram of a train, the last may be
	// shorter; 0, or at least the length of Data, for a single one.
	Segment      int
	TrafficClass uint8
	To           *Destination
}

func (m *Message) train() bool { return m.Segment > 0 && m.Segment < len(m.Data) }

// Sender sends batches.
type Sender struct {
	headers [sendSlots]mmsghdr
	iovs    [sendSlots]unix.Iovec
	control [sendSlots][sendControlLen]byte
}

// Send sends ms over s. It returns how many it sent and why it stopped before
// the next one. When the socket's buffer is full it waits a little.
func (d *Sender) Send(s *Socket, ms []Message) (int, error) {
	sent := 0
	for sent < len(ms) {
		n, err := d.sendSome(s, ms[sent:min(len(ms), sent+sendSlots)])
		sent += n
		if errors.Is(err, unix.EAGAIN) {
			err = s.waitWritable()
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

func (d *Sender) sendSome(s *Socket, ms []Message) (int, error) {
	for i := range ms {
		d.fill(i, s, &ms[i])
	}
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&d.headers[0])), uintptr(len(ms)),
			unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, e
		}
	}
}

// fill prepares slot i for m over s.
func (d *Sender) fill(i int, s *Socket, m *Message) {
	d.iovs[i].Base = unsafe.SliceData(m.Data)
	d.iovs[i].SetLen(len(m.Data))
	h := &d.headers[i].Msghdr
	h.Name, h.Namelen = m.To.bare, m.To.size
	if s.datagrams() {
		h.Name = m.To.name
	}
	h.Iov = &d.iovs[i]
	h.SetIovlen(1)
	c := d.control[i][:0]
	if m.train() {
		c = appendControl(c, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(c[unix.CmsgLen(0):], uint16(m.Segment))
	}
	if m.TrafficClass != 0 {
		start := len(c)
		if m.To.v6 {
			c = appendControl(c, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 4)
		} else {
			c = appendControl(c, unix.IPPROTO_IP, unix.IP_TOS, 4)
		}
		binary.NativeEndian.PutUint32(c[start+unix.CmsgLen(0):], uint32(m.TrafficClass))
	}
	h.Control = nil
	h.SetControllen(len(c))
	if len(c) > 0 {
		h.Control = &c[0]
	}
}

// appendControl appends the header of a control message and n octets of room.
func appendControl(b []byte, level, typ int32, n int) []byte {
	start := len(b)
	b = b[:start+unix.CmsgSpace(n)]
	clear(b[start:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[start]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	return b
}

// waitWritable waits for room in the socket's buffer, for sendPatience at most.
func (s *Socket) waitWritable() error {
	fds := [1]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds[:], int(sendPatience.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return unix.EAGAIN
		default:
			return nil
		}
	}
}

// Trains tells whether the socket takes trains.
func (s *Socket) Trains() bool { return s.gso }

// htons turns a port into network byte order in memory; it is its own inverse.
func htons(p uint16) uint16 { return ntohs(p) }
