//nolint:gosec // G103: the kernel's structures are read and written in place.
package device

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// receiveSlots is how many datagrams, or trains of them, one call takes at most, and
	// leastSlots how many where they are large: no more than about batchLen octets, so
	// that they are still in the processor's cache when they are worked on.
	receiveSlots = 32
	leastSlots   = 8
	batchLen     = 512 << 10
	// slotLen is the largest train.
	slotLen = 65536
	// slotSlack is room behind a datagram.
	slotSlack = 64
	// controlLen has room for a traffic class and a segment size.
	controlLen = 96
)

// mmsghdr is struct mmsghdr of the kernel on 64-bit machines.
type mmsghdr struct {
	unix.Msghdr
	n uint32
	_ uint32
}

// Received is a datagram, or a train of them that came from one sender.
type Received struct {
	Data []byte
	// Segment is the length of each datagram in Data, the last one may be
	// shorter.
	Segment int
	// TrafficClass of the outer header; 0 for raw IPv4, whose header is in Data.
	TrafficClass uint8
	from         *unix.RawSockaddrInet6
}

// Source is where the datagram came from; the port is 0 for raw sockets. The zero
// Received came from nowhere.
func (r *Received) Source() netip.AddrPort {
	if r.from == nil {
		return netip.AddrPort{}
	}
	if r.from.Family == unix.AF_INET {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(r.from))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), ntohs(in.Port))
	}
	return netip.AddrPortFrom(netip.AddrFrom16(r.from.Addr), ntohs(r.from.Port))
}

// Receiver takes batches from sockets into memory of its own.
type Receiver struct {
	headers [receiveSlots]mmsghdr
	iovs    [receiveSlots]unix.Iovec
	names   [receiveSlots]unix.RawSockaddrInet6
	control [receiveSlots][controlLen]byte
	memory  []byte
	out     [receiveSlots]Received
	// slots is how many the next call takes, and full tells that the last one took as
	// many as it could.
	slots int
	full  bool
}

// NewReceiver makes one; it holds two MiB.
func NewReceiver() *Receiver {
	r := &Receiver{slots: receiveSlots, memory: make([]byte, receiveSlots*(slotLen+slotSlack))}
	for i := range r.headers {
		r.iovs[i].Base = &r.memory[i*(slotLen+slotSlack)]
		r.iovs[i].SetLen(slotLen)
		r.headers[i].Name = (*byte)(unsafe.Pointer(&r.names[i]))
		r.headers[i].Iov = &r.iovs[i]
		r.headers[i].SetIovlen(1)
		r.headers[i].Control = &r.control[i][0]
	}
	return r
}

// Receive takes what waits at s, without waiting itself. The result is valid
// until the next call; the data may be changed.
func (r *Receiver) Receive(s *Socket) []Received {
	for i := range r.slots {
		r.headers[i].Namelen = unix.SizeofSockaddrInet6
		r.headers[i].SetControllen(controlLen)
	}
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&r.headers[0])),
		uintptr(r.slots), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		r.full = false
		return nil // nothing there, or an error that the error queue explains
	}
	octets := 0
	for i := range int(n) {
		octets += int(r.headers[i].n)
		start := i * (slotLen + slotSlack)
		length := int(r.headers[i].n)
		r.out[i] = Received{Data: r.memory[start : start+length : start+slotLen+slotSlack], Segment: length, from: &r.names[i]}
		r.out[i].readControl(r.control[i][:r.headers[i].Controllen])
	}
	r.full = int(n) == r.slots
	r.slots = min(max(batchLen*int(n)/max(octets, 1), leastSlots), receiveSlots)
	return r.out[:n]
}

// Full tells that the last call found as much as it could take: there may be more.
func (r *Receiver) Full() bool { return r.full }

// readControl takes segment size and traffic class from the control messages.
func (r *Received) readControl(b []byte) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(b) {
			return
		}
		value := b[unix.CmsgLen(0):length]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(value) >= 4:
			if n := int(binary.NativeEndian.Uint32(value)); n > 0 {
				r.Segment = n
			}
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(value) >= 1:
			r.TrafficClass = value[0]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(value) >= 4:
			r.TrafficClass = uint8(binary.NativeEndian.Uint32(value))
		}
		b = b[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(b)):]
	}
}

// ntohs turns a port that lies in memory in network byte order.
func ntohs(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}
