package device

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Wake interrupts a Poller from another goroutine.
type Wake struct{ fd int }

// NewWake makes one; Close frees it.
func NewWake() (*Wake, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return &Wake{fd: fd}, nil
}

// Signal makes the current or next Wait return. Any goroutine may call it.
func (w *Wake) Signal() {
	one := [8]byte{1}
	// EAGAIN means that the counter is full: a signal is pending already.
	_, _ = unix.Write(w.fd, one[:])
}

// clear takes a pending signal.
func (w *Wake) clear() {
	var b [8]byte
	_, _ = unix.Read(w.fd, b[:])
}

// Close frees w.
func (w *Wake) Close() error { return os.NewSyscallError("close", unix.Close(w.fd)) }

// Poller waits for a fixed set of descriptors.
type Poller struct {
	wake *Wake
	fds  []unix.PollFd // the last is that of wake
}

// NewPoller waits for descriptors to become readable, and for wake.
func NewPoller(wake *Wake, fds ...int) *Poller {
	p := &Poller{wake: wake}
	for _, fd := range append(fds, wake.fd) {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return p
}

// Wait blocks until a descriptor is ready or wake is signalled.
func (p *Poller) Wait() error {
	for {
		_, err := unix.Poll(p.fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("device: wait for packets: %w", err)
		}
		if p.fds[len(p.fds)-1].Revents != 0 {
			p.wake.clear()
		}
		return nil
	}
}

// Readable tells whether descriptor i had something to read when Wait returned.
func (p *Poller) Readable(i int) bool { return p.fds[i].Revents&unix.POLLIN != 0 }

// Failed tells whether descriptor i had something in its error queue then.
func (p *Poller) Failed(i int) bool { return p.fds[i].Revents&unix.POLLERR != 0 }

// waiting tells, without waiting itself, whether there is something to read.
func waiting(fd int) bool {
	p, at := unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}, unix.Timespec{}
	//nolint:gosec // G103: the kernel fills it in.
	n, _, e := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&at)), 0, 0, 0)
	return e == 0 && n == 1
}
