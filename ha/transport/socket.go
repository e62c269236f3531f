package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// network opens the sockets of a Mesh.
type network interface {
	listen(ctx context.Context, local netip.AddrPort) (net.Listener, error)
	// dial leaves from the given address, any port.
	dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error)
	datagrams(ctx context.Context, local netip.AddrPort) (datagrams, error)
}

// datagrams is a UDP socket.
type datagrams interface {
	// send does not block: what the kernel cannot take at once is an error.
	send(b []byte, to netip.AddrPort) error
	// receive waits for one datagram; net.ErrClosed ends it.
	receive(b []byte) (int, netip.AddrPort, error)
	Close() error
}

const (
	// networkControl is the class of routing protocols, CS6, as a traffic class
	// octet (RFC 4594 section 3.1).
	networkControl = 0xc0
	// notSent is how much unsent data the kernel may hold, in octets: what an
	// urgent frame must wait for.
	notSent = 128 << 10
	// beatBuffer in octets holds the heartbeats of 15 members for many seconds.
	beatBuffer = 1 << 20
)

// kernel is the network of this host.
type kernel struct{ device string }

func (k kernel) listen(ctx context.Context, local netip.AddrPort) (net.Listener, error) {
	c := net.ListenConfig{Control: k.control, KeepAlive: -1} // pings do it
	return c.Listen(ctx, "tcp", local.String())
}

func (k kernel) dial(ctx context.Context, from netip.Addr, to netip.AddrPort) (net.Conn, error) {
	d := net.Dialer{
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)),
		Control:   k.control,
		KeepAlive: -1,
	}
	return d.DialContext(ctx, "tcp", to.String())
}

func (k kernel) datagrams(ctx context.Context, local netip.AddrPort) (datagrams, error) {
	c := net.ListenConfig{Control: k.control}
	pc, err := c.ListenPacket(ctx, "udp", local.String())
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a UDP socket"), pc.Close())
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = conn.SetReadBuffer(beatBuffer)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &udp{conn, raw}, nil
}

// control sets what must be set before an address is bound. IP_FREEBIND lets
// us start before the interface has its address.
func (k kernel) control(network, _ string, raw syscall.RawConn) error {
	var errs []error
	err := raw.Control(func(f uintptr) {
		fd := int(f)
		set := func(level, option, value int) {
			errs = append(errs, unix.SetsockoptInt(fd, level, option, value))
		}
		switch network {
		case "tcp6", "udp6":
			set(unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
			set(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, networkControl)
		default:
			set(unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
			set(unix.IPPROTO_IP, unix.IP_TOS, networkControl)
		}
		if network[:3] == "tcp" {
			set(unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
		}
		if k.device != "" {
			errs = append(errs, unix.BindToDevice(fd, k.device))
		}
	})
	return errors.Join(err, errors.Join(errs...))
}

type udp struct {
	*net.UDPConn
	raw syscall.RawConn
}

func (u *udp) send(b []byte, to netip.AddrPort) error {
	var sent error
	err := u.raw.Write(func(fd uintptr) bool {
		sent = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, sockaddr(to))
		return true // whatever it was: a late heartbeat is worth less than none
	})
	return errors.Join(err, sent)
}

func (u *udp) receive(b []byte) (int, netip.AddrPort, error) { return u.ReadFromUDPAddrPort(b) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// stalling is a connection on which every read and write has its own deadline.
type stalling struct {
	net.Conn
	limit time.Duration
}

func (c stalling) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

func (c stalling) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
