package examplenpu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload"
)

// sockets are those of one of our addresses.
type sockets struct {
	local netip.AddrPort
	udp   *net.UDPConn
	esp   *net.IPConn
	v6    bool

	// sending guards the traffic classes that the sockets have now: the kernel
	// takes them per socket, and they change rarely.
	sending            sync.Mutex
	udpClass, espClass byte
}

// openSockets binds UDP port 4500 and protocol 50. The address need not be there
// yet: it may come with a failover.
func openSockets(ctx context.Context, a netip.Addr) (*sockets, error) {
	s := &sockets{local: netip.AddrPortFrom(a, nattPort), v6: a.Is6()}
	prepared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error { return s.prepare(c) }}
	udp, err := prepared.ListenPacket(ctx, "udp", s.local.String())
	if err != nil {
		return nil, fmt.Errorf("open a socket for udp port %d: %w", nattPort, err)
	}
	esp, err := prepared.ListenPacket(ctx, "ip:50", a.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a socket for esp: %w", err), udp.Close())
	}
	var isUDP, isIP bool
	s.udp, isUDP = udp.(*net.UDPConn)
	s.esp, isIP = esp.(*net.IPConn)
	if !isUDP || !isIP {
		return nil, errors.Join(fmt.Errorf("open sockets on %v: got %T and %T", a, udp, esp), udp.Close(), esp.Close())
	}
	return s, nil
}

// prepare sets what must be set before a socket is bound. Outer packets have no
// DF: routers may fragment what does not fit.
func (s *sockets) prepare(c syscall.RawConn) error {
	level, options := unix.IPPROTO_IP, []int{unix.IP_FREEBIND, 1, unix.IP_RECVTOS, 1, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT}
	if s.v6 {
		level, options = unix.IPPROTO_IPV6, []int{unix.IPV6_FREEBIND, 1, unix.IPV6_RECVTCLASS, 1, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT}
	}
	var set error
	err := c.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, offload.OuterMark)
		for i := 0; i < len(options) && set == nil; i += 2 {
			set = unix.SetsockoptInt(int(fd), level, options[i], options[i+1])
		}
	})
	return errors.Join(err, set)
}

func (s *sockets) close() error { return errors.Join(s.udp.Close(), s.esp.Close()) }

func (s *sockets) sendUDP(b []byte, to netip.AddrPort, class byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.classify(s.udp, &s.udpClass, class); err != nil {
		return err
	}
	_, err := s.udp.WriteToUDPAddrPort(b, to)
	return err
}

func (s *sockets) sendESP(b []byte, to netip.Addr, class byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	if err := s.classify(s.esp, &s.espClass, class); err != nil {
		return err
	}
	_, err := s.esp.WriteToIP(b, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// classify makes class that of the packets that leave from now on.
func (s *sockets) classify(of syscall.Conn, now *byte, class byte) error {
	if *now == class {
		return nil
	}
	level, option := unix.IPPROTO_IP, unix.IP_TOS
	if s.v6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	raw, err := of.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, int(class)) })
	if err = errors.Join(err, set); err == nil {
		*now = class
	}
	return err
}

// controlLen is room for the one control message that we ask for.
const controlLen = 64

func (s *sockets) receiveUDP(b []byte) (datagram []byte, from netip.AddrPort, class byte, err error) {
	var control [controlLen]byte
	n, c, _, from, err := s.udp.ReadMsgUDPAddrPort(b, control[:])
	if err != nil {
		return nil, netip.AddrPort{}, 0, err
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), classOf(control[:c]), nil
}

// receiveESP returns a packet without its IP header, which raw sockets of IPv4
// show and those of IPv6 do not.
func (s *sockets) receiveESP(b []byte) (packet []byte, from netip.Addr, class byte, err error) {
	var control [controlLen]byte
	n, c, _, source, err := s.esp.ReadMsgIP(b, control[:])
	if err != nil {
		return nil, netip.Addr{}, 0, err
	}
	from, _ = netip.AddrFromSlice(source.IP)
	packet, class = b[:n], classOf(control[:c])
	if !s.v6 && n >= 20 {
		packet = b[min(int(b[0]&0xf)*4, n):n]
	}
	return packet, from.Unmap(), class, nil
}

// classOf finds the traffic class among control messages; without one it is 0.
func classOf(control []byte) byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS && len(m.Data) >= 1:
			return m.Data[0]
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_TCLASS && len(m.Data) >= 4:
			return byte(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}

// closedByUs tells whether a read ended because the other side, or we, closed.
func closedByUs(err error) bool {
	return errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF)
}
