//nolint:gosec // G103: the kernel's structures are read and written in place.
package device

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/plugins/softesp/packet"
)

// FrameLen is the largest frame that a TUN queue delivers, virtio-net header
// included.
const FrameLen = packet.VnetLen + 65536

// queueLen is how many packets, or trains of them, wait in each queue until they
// are read: as many as at an Ethernet device, twice what a TUN device has by itself.
// A goroutine that has to wait for a processor for some milliseconds loses fewer.
const queueLen = 1000

// TUN is a TUN device with virtio-net headers, checksum and segmentation
// offload, and one or more queues. It goes away with Close.
type TUN struct {
	name   string
	queues []*Queue
	// UDPTrains tells that the kernel takes and gives trains of UDP datagrams
	// (USO, Linux 6.2 and later).
	UDPTrains bool
}

// OpenTUN makes the device; the caller has the namespace it shall live in.
func OpenTUN(name string, queues int) (*TUN, error) {
	if len(name) == 0 || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("device: interface name %q, want 1 to %d characters", name, unix.IFNAMSIZ-1)
	}
	t := &TUN{name: name, UDPTrains: true}
	for range queues {
		q, err := openQueue(name, queues > 1)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("device: make tun device %s: %w", name, err), t.Close())
		}
		t.queues = append(t.queues, q)
	}
	if err := t.offload(); err != nil {
		return nil, errors.Join(fmt.Errorf("device: make tun device %s: %w", name, err), t.Close())
	}
	return t, nil
}

func openQueue(name string, multi bool) (*Queue, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/net/tun", Err: err}
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	flags := uint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if multi {
		flags |= unix.IFF_MULTI_QUEUE
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, errors.Join(os.NewSyscallError("TUNSETIFF", err), unix.Close(fd))
	}
	return &Queue{fd: fd}, nil
}

// offload tells the kernel what we take: packets without checksums and trains.
func (t *TUN) offload() error {
	const (
		basic = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
		uso   = unix.TUN_F_USO4 | unix.TUN_F_USO6
	)
	fd := t.queues[0].fd
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, basic|uso) == nil {
		return nil
	}
	t.UDPTrains = false
	return os.NewSyscallError("TUNSETOFFLOAD", unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, basic))
}

// Name is the name of the interface.
func (t *TUN) Name() string { return t.name }

// Queue returns queue i.
func (t *TUN) Queue(i int) *Queue { return t.queues[i] }

// Up sets the MTU and the length of the queues, and brings the interface up.
func (t *TUN) Up(mtu int) (err error) {
	ctl, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { err = errors.Join(err, unix.Close(ctl)) }()
	req, err := unix.NewIfreq(t.name)
	if err != nil {
		return err
	}
	req.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(ctl, unix.SIOCSIFMTU, req); err != nil {
		return fmt.Errorf("device: set the mtu of %s to %d: %w", t.name, mtu, err)
	}
	req.SetUint32(queueLen)
	if err := unix.IoctlIfreq(ctl, unix.SIOCSIFTXQLEN, req); err != nil {
		return fmt.Errorf("device: set the queue length of %s to %d: %w", t.name, queueLen, err)
	}
	if err := unix.IoctlIfreq(ctl, unix.SIOCGIFFLAGS, req); err != nil {
		return fmt.Errorf("device: read the flags of %s: %w", t.name, err)
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP)
	if err := unix.IoctlIfreq(ctl, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("device: bring %s up: %w", t.name, err)
	}
	return nil
}

// Close removes the device.
func (t *TUN) Close() error {
	var errs []error
	for _, q := range t.queues {
		errs = append(errs, os.NewSyscallError("close", unix.Close(q.fd)))
	}
	t.queues = nil
	return errors.Join(errs...)
}

// Queue is one queue of a TUN device.
type Queue struct{ fd int }

// FD is the descriptor, to wait for.
func (q *Queue) FD() int { return q.fd }

// Read takes the next frame, virtio-net header first, into b. It returns 0 when
// there is none.
func (q *Queue) Read(b []byte) (int, error) {
	for {
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(q.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch e {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, os.NewSyscallError("read", e)
		}
	}
}

// Waiting tells whether there is something to read.
func (q *Queue) Waiting() bool { return waiting(q.fd) }

// FrameWriter gives frames to the kernel through a queue.
type FrameWriter struct {
	fd  int
	iov [1 + packet.MaxSegments]unix.Iovec
}

// NewWriter makes a writer; each goroutine that writes has its own.
func (q *Queue) NewWriter() *FrameWriter { return &FrameWriter{fd: q.fd} }

// Write gives the kernel one frame: head starts with the virtio-net header, the
// pieces follow it. At most packet.MaxSegments pieces.
func (w *FrameWriter) Write(head []byte, pieces [][]byte) error {
	w.iov[0].Base = &head[0]
	w.iov[0].SetLen(len(head))
	for i, p := range pieces {
		w.iov[i+1].Base = unsafe.SliceData(p)
		w.iov[i+1].SetLen(len(p))
	}
	for {
		_, _, e := unix.RawSyscall(unix.SYS_WRITEV, uintptr(w.fd), uintptr(unsafe.Pointer(&w.iov[0])), uintptr(1+len(pieces)))
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return e
		}
	}
}
