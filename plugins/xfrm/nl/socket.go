package nl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// receiveBuffer is what the kernel keeps for a reader that is busy; more shows as
// an overrun.
const receiveBuffer = 8 << 20

// sendBuffer bounds a batch of requests.
const sendBuffer = 1 << 20

// A Socket is a netlink socket. Wait may run beside the other methods, which are
// for one goroutine at a time.
type Socket struct {
	nl     *netlink.Conn
	raw    syscall.RawConn
	buffer []byte
}

// Open opens a Socket of a netlink family in the network namespace of the calling
// thread.
func Open(family int) (*Socket, error) {
	conn, err := netlink.Dial(family, nil)
	if err != nil {
		return nil, fmt.Errorf("nl: open a socket of netlink family %d: %w", family, err)
	}
	s := &Socket{nl: conn, buffer: make([]byte, 1<<17)}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("nl: prepare a socket of netlink family %d: %w", family, err), conn.Close())
	}
	return s, nil
}

func (s *Socket) prepare() (err error) {
	if s.raw, err = s.nl.SyscallConn(); err != nil {
		return err
	}
	failed := s.raw.Control(func(fd uintptr) {
		err = errors.Join(
			enlarge(int(fd), unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer),
			enlarge(int(fd), unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer),
		)
	})
	return errors.Join(failed, err)
}

// enlarge sets a buffer beyond the system's limit where that is allowed.
func enlarge(fd, force, option, size int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size)
}

// Join makes the socket hear a multicast group.
func (s *Socket) Join(group uint32) error { return s.nl.JoinGroup(group) }

// Leave undoes Join.
func (s *Socket) Leave(group uint32) error { return s.nl.LeaveGroup(group) }

// Close ends the Socket, and Wait with an error.
func (s *Socket) Close() error { return s.nl.Close() }

// Wait returns when there may be something to read, an overrun included, or with
// an error after Close.
func (s *Socket) Wait() error {
	return s.raw.Read(func(fd uintptr) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n > 0
	})
}

// Read gives all messages that are there to handle, which may keep them, and tells
// whether others were lost before the last of them.
func (s *Socket) Read(handle func(netlink.Message)) (overrun bool, err error) {
	for {
		n, err := s.receive()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return overrun, nil
		case errors.Is(err, unix.ENOBUFS):
			overrun = true
		case err != nil:
			return overrun, fmt.Errorf("nl: read: %w", err)
		default:
			split(s.buffer[:n], handle)
		}
	}
}

// Exchange sends requests at once, as one transaction where the subsystem knows
// any, and returns all messages that answer them, those of errors and of success
// included. It fails when one of the requests did, with the kernel's first error.
func (s *Socket) Exchange(requests ...netlink.Message) ([]netlink.Message, error) {
	if _, err := s.nl.SendMessages(requests); err != nil {
		return nil, fmt.Errorf("nl: send: %w", err)
	}
	var answers []netlink.Message
	var first error
	overrun, err := s.Read(func(m netlink.Message) {
		answers = append(answers, m)
		if errno := errnoOf(m); errno != 0 && first == nil {
			first = errno
		}
	})
	switch {
	case err != nil:
		return nil, err
	case overrun:
		return nil, errors.New("nl: the kernel's answers were lost")
	default:
		return answers, first
	}
}

// errnoOf is the error that a message reports; 0 for none.
func errnoOf(m netlink.Message) syscall.Errno {
	if m.Header.Type != netlink.Error && m.Header.Type != netlink.Done || len(m.Data) < 4 {
		return 0
	}
	return syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
}

// receive reads one datagram. It goes past the lock of readers, which Wait holds.
func (s *Socket) receive() (n int, err error) {
	failed := s.raw.Control(func(fd uintptr) {
		for {
			n, _, err = unix.Recvfrom(int(fd), s.buffer, unix.MSG_DONTWAIT)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	return n, errors.Join(failed, err)
}

// split gives the messages of a datagram to handle. What does not look like one
// ends it.
func split(b []byte, handle func(netlink.Message)) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return
		}
		aligned := (length + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1)
		own := make([]byte, aligned)
		copy(own, b[:length])
		var m netlink.Message
		if err := m.UnmarshalBinary(own); err != nil {
			return
		}
		handle(m)
		b = b[min(len(b), aligned):]
	}
}
