package xfrm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/offload"
)

// nattPort is where ESP in UDP arrives (RFC 3948).
const nattPort = 4500

// nattOptions are those that the daemon sets on its sockets of that port: the kernel then
// takes ESP out of what arrives there, and our own sockets may be bound beside them.
func nattOptions() []offload.SocketOption {
	return []offload.SocketOption{
		{Level: unix.SOL_SOCKET, Name: unix.SO_REUSEADDR, Value: 1},
		{Level: unix.IPPROTO_UDP, Name: unix.UDP_ENCAP, Value: unix.UDP_ENCAP_ESPINUDP},
	}
}

// standIn opens sockets by which ESP in UDP arrives while the daemon is not there. They
// are bound to no address, so all goes to the daemon's as long as there are any. IKE that
// comes to them finds no reader: they have no room for more than a message.
func standIn() (sockets []net.PacketConn, err error) {
	var failed []error
	for _, network := range []string{"udp4", "udp6"} {
		config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
			var set error
			err := raw.Control(func(fd uintptr) {
				for _, o := range append(nattOptions(), offload.SocketOption{Level: unix.SOL_SOCKET, Name: unix.SO_RCVBUF, Value: 1}) {
					set = errors.Join(set, unix.SetsockoptInt(int(fd), o.Level, o.Name, o.Value))
				}
			})
			return errors.Join(err, set)
		}}
		c, err := config.ListenPacket(context.Background(), network, ":"+strconv.Itoa(nattPort))
		if err != nil {
			failed = append(failed, fmt.Errorf("stand in for the daemon's socket: %w", err))
			continue
		}
		sockets = append(sockets, c)
	}
	return sockets, errors.Join(failed...)
}
