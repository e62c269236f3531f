package address

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// put adds an address for its lifetime, or renews it.
func (m *Mover) put(a Address) error {
	link, err := m.device(a.Interface)
	if err != nil {
		return err
	}
	addr := kernelAddr(a)
	addr.ValidLft, addr.PreferedLft = lifetime, lifetime
	return m.nl.AddrReplace(link, addr)
}

// take removes an address that may be there.
func (m *Mover) take(a Address) error {
	link, err := m.nl.LinkByName(m.deviceName(a.Interface))
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); none {
		return nil
	}
	if err != nil {
		return err
	}
	err = m.nl.AddrDel(link, kernelAddr(a))
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

func kernelAddr(a Address) *netlink.Addr {
	bits := a.Prefix.Addr().BitLen()
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(a.Prefix.Bits(), bits)}}
	if a.Prefix.Addr().Is6() {
		// The last holder may have it still, for as long as its lifetime; we must not
		// wait for that, nor give in.
		addr.Flags = unix.IFA_F_NODAD
	}
	return addr
}

// interfaces are those of the addresses, each once, in their order.
func (m *Mover) interfaces() []string {
	var out []string
	for _, a := range m.cfg.Addresses {
		if !slices.Contains(out, a.Interface) {
			out = append(out, a.Interface)
		}
	}
	return out
}

// deviceName is the interface that has the addresses of another one.
func (m *Mover) deviceName(of string) string {
	if !m.cfg.VirtualMAC {
		return of
	}
	return fmt.Sprintf("evgmac%d", slices.Index(m.interfaces(), of))
}

// virtualMAC is the hardware address for the addresses of an interface: a locally
// administered one, which no manufacturer gives away.
func (m *Mover) virtualMAC(of string) net.HardwareAddr {
	return net.HardwareAddr{0x02, 'E', 'G', 0, m.cfg.Unit, byte(slices.Index(m.interfaces(), of))}
}

// device returns the interface that has the addresses of another one, making it
// where it is missing.
func (m *Mover) device(of string) (netlink.Link, error) {
	name := m.deviceName(of)
	link, err := m.nl.LinkByName(name)
	if _, none := errors.AsType[netlink.LinkNotFoundError](err); err == nil || !none || !m.cfg.VirtualMAC {
		return link, err
	}
	parent, err := m.nl.LinkByName(of)
	if err != nil {
		return nil, err
	}
	made := &netlink.Macvlan{
		LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: parent.Attrs().Index, HardwareAddr: m.virtualMAC(of)},
		Mode:      netlink.MACVLAN_MODE_BRIDGE,
	}
	if err := m.nl.LinkAdd(made); err != nil {
		return nil, fmt.Errorf("make %s for the virtual hardware address: %w", name, err)
	}
	if err := m.settle(of, name); err != nil {
		return nil, err
	}
	if err := m.nl.LinkSetUp(made); err != nil {
		return nil, fmt.Errorf("bring up %s: %w", name, err)
	}
	return m.nl.LinkByName(name)
}

// settle makes two interfaces of one network get along: each answers for its own
// addresses only, packets may come in by one and leave by the other, and the
// virtual one, whose twin is at another member, has no address of its own making.
func (m *Mover) settle(parent, virtual string) error {
	var errs []error
	for _, s := range []struct{ iface, key, value string }{
		{parent, "ipv4/conf/%s/arp_ignore", "1"},
		{virtual, "ipv4/conf/%s/arp_ignore", "1"},
		{parent, "ipv4/conf/%s/arp_announce", "2"},
		{virtual, "ipv4/conf/%s/rp_filter", "2"},
		{virtual, "ipv6/conf/%s/addr_gen_mode", "1"},
	} {
		path := filepath.Join("/proc/sys/net", fmt.Sprintf(s.key, s.iface))
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("set %s to %s: %w", path, s.value, err))
		}
	}
	return errors.Join(errs...)
}

// removeDevices removes the interfaces that device makes.
func (m *Mover) removeDevices() (errs []error) {
	if !m.cfg.VirtualMAC {
		return nil
	}
	for _, of := range m.interfaces() {
		link, err := m.nl.LinkByName(m.deviceName(of))
		if err != nil {
			continue // it is not there
		}
		if err := m.nl.LinkDel(link); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", m.deviceName(of), err))
		}
	}
	return errs
}
