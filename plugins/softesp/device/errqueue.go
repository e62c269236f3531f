//nolint:gosec // G103: the kernel's structures are read and written in place.
package device

import (
	"errors"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PathError is what the kernel reports about a packet that it could not send
// whole, or that a router could not forward.
type PathError struct {
	// Remote is where the packet was to go; the port is 0 for raw sockets.
	Remote netip.AddrPort
	// MTU is the next hop's, in octets of IP packet; 0 when the report is about
	// something else.
	MTU int
	// Local tells that our own interface is the limit; otherwise an ICMP message
	// says so, which anybody can forge.
	Local bool
	// Quote is what the ICMP message quotes of the packet, from SPI on; it may
	// be cut or empty. It is valid until the next call.
	Quote []byte
}

// Errors reads the error queues of sockets.
type Errors struct {
	data    [128]byte
	control [512]byte
	name    unix.RawSockaddrInet6
}

// Next takes the next report from s; false means that there is none.
func (q *Errors) Next(s *Socket) (PathError, bool) {
	iov := unix.Iovec{Base: &q.data[0]}
	iov.SetLen(len(q.data))
	h := unix.Msghdr{
		Name: (*byte)(unsafe.Pointer(&q.name)), Namelen: unix.SizeofSockaddrInet6,
		Iov: &iov, Control: &q.control[0],
	}
	h.SetIovlen(1)
	h.SetControllen(len(q.control))
	n, _, e := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&h)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if e != 0 {
		if !errors.Is(e, unix.EAGAIN) {
			return PathError{}, false
		}
		// An error may be pending on the socket itself, and would make poll
		// return forever: reading it clears it.
		_, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return PathError{}, false
	}
	r := Received{from: &q.name}
	pe := PathError{Remote: r.Source(), Quote: q.data[:n]}
	pe.readControl(q.control[:h.Controllen])
	return pe, true
}

// extendedError is struct sock_extended_err (linux/errqueue.h).
type extendedError struct {
	errno                   uint32
	origin, typ, code, _pad uint8
	info, data              uint32
}

const originLocal = 1 // SO_EE_ORIGIN_LOCAL

func (p *PathError) readControl(b []byte) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(h.Len)
		if length < unix.SizeofCmsghdr || length > len(b) {
			return
		}
		value := b[unix.CmsgLen(0):length]
		isError := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR ||
			h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if isError && len(value) >= int(unsafe.Sizeof(extendedError{})) {
			e := (*extendedError)(unsafe.Pointer(&value[0]))
			p.Local = e.origin == originLocal
			if unix.Errno(e.errno) == unix.EMSGSIZE {
				p.MTU = int(e.info)
			}
		}
		b = b[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(b)):]
	}
}
