package rig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
)

// Seen is one IPv4 packet that passed an interface.
type Seen struct {
	// At is the kernel's clock when the packet came in, or was handed to the
	// interface. All namespaces have one clock.
	At  time.Time
	Out bool
	// Packet begins with the IP header and is cut after snapLength octets.
	Packet []byte
}

// snapLength holds the headers that a measurement asks for.
const snapLength = 64

// Src and Dst are the packet's addresses, Proto its protocol.
func (s Seen) Src() netip.Addr { return netip.AddrFrom4([4]byte(s.Packet[12:])) }

// Dst is above.
func (s Seen) Dst() netip.Addr { return netip.AddrFrom4([4]byte(s.Packet[16:])) }

// Proto is above.
func (s Seen) Proto() uint8 { return s.Packet[9] }

// Payload is what follows the IP header.
func (s Seen) Payload() []byte { return s.Packet[int(s.Packet[0]&0xf)*4:] }

// Tap records the packets of an interface. It costs those packets a copy of
// their first octets, no more.
type Tap struct {
	file *os.File
	done chan struct{}

	mu   sync.Mutex
	seen []Seen
	err  error
}

// NewTap begins to record what passes an interface, both ways. Close it.
func NewTap(i *netlab.Interface) (*Tap, error) {
	var fd int
	err := i.Namespace().Do(func() (err error) {
		fd, err = openTap(i.Index())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("rig: tap %v: %w", i, err)
	}
	t := &Tap{file: os.NewFile(uintptr(fd), "tap of "+i.String()), done: make(chan struct{})}
	go t.read()
	return t, nil
}

func openTap(index int) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL), Ifindex: index}),
	)
	if err != nil {
		return 0, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// networkOrder is how the kernel wants the protocols of a link.
func networkOrder(protocol uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
}

// tapBuffer takes what comes while nobody reads.
const tapBuffer = 64 << 20

// read records until the socket is closed.
func (t *Tap) read() {
	defer close(t.done)
	conn, err := t.file.SyscallConn()
	if err != nil {
		t.err = err
		return
	}
	b, control := make([]byte, snapLength), make([]byte, 128)
	for {
		var s Seen
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			s, failed = receive(int(fd), b, control)
			return !errors.Is(failed, unix.EAGAIN)
		})
		if err != nil {
			return // closed
		}
		t.mu.Lock()
		if failed != nil {
			t.err = failed
		} else if len(s.Packet) > 20 {
			t.seen = append(t.seen, s)
		}
		t.mu.Unlock()
	}
}

func receive(fd int, b, control []byte) (Seen, error) {
	n, nc, _, from, err := unix.Recvmsg(fd, b, control, 0)
	if err != nil {
		return Seen{}, err
	}
	link, ok := from.(*unix.SockaddrLinklayer)
	if !ok || link.Protocol != networkOrder(unix.ETH_P_IP) {
		return Seen{}, nil
	}
	at, err := stamp(control[:nc])
	return Seen{At: at, Out: link.Pkttype == unix.PACKET_OUTGOING, Packet: append([]byte(nil), b[:n]...)}, err
}

// stamp finds the kernel's time stamp.
func stamp(control []byte) (time.Time, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Time{}, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= int(unsafe.Sizeof(unix.Timespec{})) {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:]))), nil
		}
	}
	return time.Time{}, errors.New("a packet has no time stamp")
}

// Seen returns what has been recorded so far.
func (t *Tap) Seen() []Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen[:len(t.seen):len(t.seen)]
}

// Close ends the recording. The error is what went wrong meanwhile.
func (t *Tap) Close() error {
	t.file.Close()
	<-t.done
	if t.err != nil {
		return fmt.Errorf("rig: %s: %w", t.file.Name(), t.err)
	}
	return nil
}
