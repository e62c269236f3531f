package address

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// announce tells everybody around of all addresses.
func (m *Mover) announce() {
	for _, a := range m.cfg.Addresses {
		if err := m.announceOne(a); err != nil {
			m.cfg.Log.Warn("address was not announced", "address", a.Prefix.Addr(), "interface", a.Interface, "error", err)
			continue
		}
		m.note(func(s *Status) { s.Announced++ })
	}
}

func (m *Mover) announceOne(a Address) error {
	link, err := m.nl.LinkByName(m.deviceName(a.Interface))
	if err != nil {
		return err
	}
	mac := link.Attrs().HardwareAddr
	if len(mac) != 6 || link.Attrs().Flags&net.FlagLoopback != 0 {
		return nil // nobody around
	}
	to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6}
	packet := arpAnnouncement(mac, a.Prefix.Addr())
	to.Protocol, to.Addr = network16(unix.ETH_P_ARP), [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	if a.Prefix.Addr().Is6() {
		packet = neighbourAdvertisement(mac, a.Prefix.Addr())
		to.Protocol, to.Addr = network16(unix.ETH_P_IPV6), [8]byte{0x33, 0x33, 0, 0, 0, 1} // RFC 2464 section 7
	}
	if err := unix.Sendto(m.packet, packet, 0, to); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// network16 is n as the kernel wants it where it asks for network order.
func network16(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// arpAnnouncement says that an address is at mac.
//
// "ARP Announcements [...] are identical to the ARP Probe described above, except
// that now the sender and target IP addresses are both set to the host's newly
// selected IPv4 address." RFC 5227 section 2.3. They are requests, as RFC 826 has
// every host note the sender of a request, and some do not note that of a reply.
func arpAnnouncement(mac net.HardwareAddr, a netip.Addr) []byte {
	ip := a.AsSlice()
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, their lengths, request
	b = append(append(b, mac...), ip...)
	return append(append(b, 0, 0, 0, 0, 0, 0), ip...)
}

// neighbourAdvertisement says that an address is at mac, to all nodes.
//
// "a node MAY send up to MAX_NEIGHBOR_ADVERTISEMENT unsolicited Neighbor
// Advertisement messages to the all-nodes multicast address. [...] the Override
// flag [...] set to one", RFC 4861 section 7.2.6. The Router flag is set, because
// hosts drop a router from their list that advertises itself without.
func neighbourAdvertisement(mac net.HardwareAddr, a netip.Addr) []byte {
	const router, override = 0x80, 0x20
	src, dst := a.As16(), netip.MustParseAddr("ff02::1").As16()
	icmp := []byte{136, 0, 0, 0, router | override, 0, 0, 0}
	icmp = append(append(icmp, src[:]...), 2, 1) // Target Link-Layer Address, one unit of 8 octets
	icmp = append(icmp, mac...)

	b := []byte{0x60, 0, 0, 0, 0, byte(len(icmp)), unix.IPPROTO_ICMPV6, 255}
	b = append(append(append(b, src[:]...), dst[:]...), icmp...)
	pseudo := binary.BigEndian.AppendUint32(append([]byte(nil), b[8:40]...), uint32(len(icmp)))
	sum := checksum(append(append(pseudo, 0, 0, 0, unix.IPPROTO_ICMPV6), icmp...))
	binary.BigEndian.PutUint16(b[42:], sum)
	return b
}

// checksum is the one of RFC 1071, of an even number of octets.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
