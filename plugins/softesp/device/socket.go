package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Kind of a socket.
type Kind uint8

// The kinds.
const (
	// UDP carries ESP in UDP, and IKE behind a non-ESP marker (RFC 3948).
	UDP Kind = iota
	// Raw carries IP protocol 50.
	Raw
)

const udpHeaderLen = 8

// bufferSize of a socket in octets, each way: some milliseconds at 10 Gbit/s.
const bufferSize = 16 << 20

// SocketConfig says which socket to open.
type SocketConfig struct {
	Local netip.Addr
	Kind  Kind
	Port  uint16 // UDP only
	// Whole tells that packets leave with DF, respectively unfragmented: too
	// long ones come back as EMSGSIZE, and ICMP reports about them in Errors.
	// These sockets receive, too. The others send only, and the kernel fragments
	// what they send.
	Whole bool
	// Queue is which of Queues the socket serves; arriving packets are spread
	// over them by SPI.
	Queue, Queues int
	// Mark is the firewall mark of outgoing packets, 0 for none.
	Mark uint32
}

// Socket sends and receives outer packets of one local address. Several
// goroutines may send and one receive at the same time.
type Socket struct {
	SocketConfig
	fd int
	// gso tells that the kernel takes trains of datagrams.
	gso bool
}

// OpenSocket opens and binds a socket. The address need not exist yet: a shared
// address comes and goes with the role of a gateway.
//
// The UDP sockets that receive on one address form a group that the kernel
// spreads packets over; what ICMP says about packets of one may show at any of
// them. A sending socket would be part of it, so that one is a raw socket of
// protocol UDP: Message.Data starts with room for the UDP header then
// (HeaderLen).
func OpenSocket(c SocketConfig) (_ *Socket, err error) {
	family, typ, proto := unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ESP
	if c.Local.Is6() {
		family = unix.AF_INET6
	}
	switch {
	case c.Kind == UDP && c.Whole:
		typ, proto = unix.SOCK_DGRAM, 0
	case c.Kind == UDP:
		proto = unix.IPPROTO_UDP
	}
	fd, err := unix.Socket(family, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		return nil, fmt.Errorf("device: open %v: %w", c, err)
	}
	s := &Socket{SocketConfig: c, fd: fd}
	if err := s.setUp(); err != nil {
		return nil, errors.Join(fmt.Errorf("device: open %v: %w", c, err), s.Close())
	}
	return s, nil
}

// String names the socket for people.
func (c SocketConfig) String() string {
	if c.Kind == Raw {
		return fmt.Sprintf("raw esp socket on %v", c.Local)
	}
	return fmt.Sprintf("udp socket on %v", netip.AddrPortFrom(c.Local, c.Port))
}

func (s *Socket) setUp() error {
	if !s.datagrams() {
		if err := s.filter(); err != nil { // first: packets arrive from the start
			return err
		}
	}
	for _, o := range s.options() {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("set %s: %w", o.what, err)
		}
	}
	s.setBuffers()
	if s.datagrams() {
		// Without them the kernel is too old: slower, but right.
		s.gso = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0) == nil
		_ = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	}
	if err := unix.Bind(s.fd, s.sockaddr()); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if s.datagrams() {
		return s.steer()
	}
	return nil
}

// datagrams tells whether s is a UDP socket, not a raw one.
func (s *Socket) datagrams() bool { return s.Kind == UDP && s.Whole }

// HeaderLen is the octets before the payload that the sender of a message leaves
// free: for the UDP header where the kernel does not write it.
func (s *Socket) HeaderLen() int {
	if s.Kind == UDP && !s.Whole {
		return udpHeaderLen
	}
	return 0
}

// PutHeader writes the UDP header into the first HeaderLen octets of message.
// Its checksum is zero in IPv4 ("SHOULD be transmitted as a zero value", RFC
// 3948 section 2.1); in IPv6 the kernel computes it.
func (s *Socket) PutHeader(message []byte, to *Destination) {
	if s.HeaderLen() == 0 {
		return
	}
	binary.BigEndian.PutUint16(message, s.Port)
	binary.BigEndian.PutUint16(message[2:], to.addr.Port())
	binary.BigEndian.PutUint16(message[4:], uint16(len(message)))
	message[6], message[7] = 0, 0
}

type option struct {
	level, name, value int
	what               string
}

func (s *Socket) options() []option {
	var opts []option
	if s.Local.Is6() {
		opts = s.options6()
	} else {
		opts = s.options4()
	}
	if s.datagrams() {
		opts = append(opts, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT"})
		if s.Local.Is6() {
			opts = append(opts, option{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY"})
		}
	} else if s.Kind == UDP && s.Local.Is6() {
		opts = append(opts, option{unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, 6, "IPV6_CHECKSUM"})
	}
	if s.Mark != 0 {
		opts = append(opts, option{unix.SOL_SOCKET, unix.SO_MARK, int(s.Mark), "SO_MARK"})
	}
	return opts
}

// options4 asks for DF without the kernel's own path MTU (IP_PMTUDISC_PROBE): the
// path MTU of each SA is ours to keep (RFC 4301 section 8.2). An address need not be
// here: a member that takes over sends what the last one still gets, before the address
// has moved (IP_TRANSPARENT; IP_FREEBIND lets a socket be bound only).
func (s *Socket) options4() []option {
	df := unix.IP_PMTUDISC_DONT
	if s.Whole {
		df = unix.IP_PMTUDISC_PROBE
	}
	return []option{
		{unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1, "IP_TRANSPARENT"},
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, df, "IP_MTU_DISCOVER"},
		{unix.IPPROTO_IP, unix.IP_RECVERR, asInt(s.Whole), "IP_RECVERR"},
		{unix.IPPROTO_IP, unix.IP_RECVTOS, 1, "IP_RECVTOS"},
	}
}

func (s *Socket) options6() []option {
	df := unix.IPV6_PMTUDISC_DONT
	if s.Whole {
		df = unix.IPV6_PMTUDISC_PROBE
	}
	return []option{
		{unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT"},
		{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, df, "IPV6_MTU_DISCOVER"},
		{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, asInt(s.Whole), "IPV6_DONTFRAG"},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, asInt(s.Whole), "IPV6_RECVERR"},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1, "IPV6_RECVTCLASS"},
	}
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// setBuffers asks for bufferSize; who may not exceed the system's limit gets
// that.
func (s *Socket) setBuffers() {
	for _, o := range [...][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o[0], bufferSize) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o[1], bufferSize)
		}
	}
}

func (s *Socket) sockaddr() unix.Sockaddr {
	port := 0
	if s.datagrams() {
		port = int(s.Port)
	}
	if s.Local.Is4() {
		return &unix.SockaddrInet4{Port: port, Addr: s.Local.As4()}
	}
	return &unix.SockaddrInet6{Port: port, Addr: s.Local.As16()}
}

// Waiting tells whether there is something to receive.
func (s *Socket) Waiting() bool { return waiting(s.fd) }

// FD is the descriptor, to wait for.
func (s *Socket) FD() int { return s.fd }

// Close closes the socket; nobody may use it any more.
func (s *Socket) Close() error { return os.NewSyscallError("close", unix.Close(s.fd)) }
