//go:build dpdk

package dpdk

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostDevice is a TUN or TAP device of the host with a queue for each worker. One
// that somebody made before is taken over, and stays afterwards.
type hostDevice struct {
	name  string
	index int
	fds   []int
}

// openHostDevice opens queues of a device, and makes it where there is none.
func openHostDevice(nl *netlink.Handle, name string, kind uint16, queues int) (*hostDevice, error) {
	flags := kind | unix.IFF_NO_PI
	if queues > 1 {
		flags |= unix.IFF_MULTI_QUEUE
	}
	d := &hostDevice{name: name}
	for range queues {
		fd, err := openQueue(name, flags)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open %s: %w", name, explainQueue(err, kind, queues)), d.close())
		}
		d.fds = append(d.fds, fd)
	}
	link, err := nl.LinkByName(name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("find %s: %w", name, err), d.close())
	}
	d.index = link.Attrs().Index
	return d, nil
}

// explainQueue says what an operator can do about the usual reasons.
func explainQueue(err error, kind uint16, queues int) error {
	what := "tun"
	if kind == unix.IFF_TAP {
		what = "tap"
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: the plugin needs root or CAP_NET_ADMIN", err)
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("%w: is the kernel's module tun there?", err)
	case errors.Is(err, unix.EINVAL) && queues > 1:
		return fmt.Errorf("%w: the interface is there, and is no %s device with several queues (ip tuntap add ... mode %s multi_queue)", err, what, what)
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: the interface is there, and is no %s device with one queue (ip tuntap add ... mode %s)", err, what, what)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: another process has the device", err)
	default:
		return err
	}
}

// openQueue opens one queue. Reads and writes do not wait.
func openQueue(name string, flags uint16) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(flags)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func (d *hostDevice) close() error {
	var errs []error
	for _, fd := range d.fds {
		errs = append(errs, unix.Close(fd))
	}
	return errors.Join(errs...)
}

// up gives the device an MTU and, unless mac is nil, a hardware address, and lets it
// carry packets.
func (d *hostDevice) up(nl *netlink.Handle, mtu int, mac net.HardwareAddr) error {
	link, err := nl.LinkByIndex(d.index)
	if err != nil {
		return fmt.Errorf("find %s again: %w", d.name, err)
	}
	if mac != nil && link.Attrs().HardwareAddr.String() != mac.String() {
		if err := nl.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("give %s the address %v: %w", d.name, mac, err)
		}
	}
	if link.Attrs().MTU != mtu {
		if err := nl.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("give %s an mtu of %d: %w", d.name, mtu, err)
		}
	}
	if err := nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", d.name, err)
	}
	return nil
}
