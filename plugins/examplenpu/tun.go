package examplenpu

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// tun is a TUN device: what the host routes to it can be read from file, and
// what is written there arrives at the host.
type tun struct {
	name string
	file *os.File
}

// openTUN makes the device, which goes away when it is closed.
func openTUN(name string) (*tun, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("make tun device %s: %w", name, err)
	}
	// Not os.OpenFile: the poller must not see the file before TUNSETIFF.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make tun device %s: open /dev/net/tun: %w", name, err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("make tun device %s: %w", name, err), unix.Close(fd))
	}
	return &tun{name, os.NewFile(uintptr(fd), "/dev/net/tun")}, nil
}

// up sets the MTU and brings the device up, or leaves it up.
func (t *tun) up(mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("bring up %s: %w", t.name, err)
	}
	request, err := unix.NewIfreq(t.name)
	if err == nil {
		request.SetUint32(uint32(mtu))
		err = unix.IoctlIfreq(fd, unix.SIOCSIFMTU, request)
	}
	if err == nil {
		request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("bring up %s: %w", t.name, err)
	}
	return nil
}

func (t *tun) close() error { return t.file.Close() }
