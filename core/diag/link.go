package diag

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MaxLinks is how many interfaces a member shows, and another one takes of it.
const MaxLinks = 64

// Link is an interface of a member. Its place in the list of the member's
// interfaces, from 0, is what FortiOS calls phyindex.
type Link struct {
	Name string `json:"name"`
	// MAC is the Ethernet address, 00:0c:29:22:00:6b.
	MAC string `json:"mac"`
	// Up: the link has a carrier. It is printed as linkfail, 1 for up: no public
	// text says what the number means, but in FortiOS's example it is 1 on every
	// interface of four members that reach each other and carry traffic, so it
	// cannot be 1 for a link that failed.
	Up bool `json:"up"`
}

// LocalLinks lists the physical interfaces of the calling thread's network
// namespace in the kernel's order, at most MaxLinks: those of Ethernet that are no
// loopback and not made of others, and where a namespace has its interfaces from
// outside, those that stand for a card there.
func LocalLinks() ([]Link, error) {
	all, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("diag: list network interfaces: %w", err)
	}
	all = slices.DeleteFunc(all, func(l netlink.Link) bool { return !physical(l) })
	slices.SortFunc(all, func(a, b netlink.Link) int { return cmp.Compare(a.Attrs().Index, b.Attrs().Index) })
	links := make([]Link, 0, len(all))
	for _, l := range all[:min(len(all), MaxLinks)] {
		a := l.Attrs()
		links = append(links, Link{Name: a.Name, MAC: a.HardwareAddr.String(), Up: a.RawFlags&unix.IFF_LOWER_UP != 0})
	}
	return links, nil
}

func physical(l netlink.Link) bool {
	const ethernet = 6 // octets of an address
	a := l.Attrs()
	if a.Flags&net.FlagLoopback != 0 || len(a.HardwareAddr) != ethernet {
		return false
	}
	switch l.Type() {
	case "device", "veth", "netkit", "macvlan", "ipvlan":
		return true
	default: // bridge, vlan, bond, tuntap, dummy, vxlan, ...
		return false
	}
}

// ParseLinks reads the list of another member from JSON, as encoding/json writes a
// []Link. It takes MaxLinks at most, and nothing that could confuse a terminal.
func ParseLinks(b []byte) ([]Link, error) {
	var links []Link
	if err := json.Unmarshal(b, &links); err != nil {
		return nil, fmt.Errorf("diag: read the interfaces of a member: %w", err)
	}
	if len(links) > MaxLinks {
		return nil, fmt.Errorf("diag: a member has %d interfaces; at most %d are taken", len(links), MaxLinks)
	}
	for i, l := range links {
		mac, err := net.ParseMAC(l.MAC)
		if err != nil {
			return nil, fmt.Errorf("diag: read interface %d of a member: %w", i, err)
		}
		links[i].MAC = mac.String()
		bad := strings.ContainsFunc(l.Name, func(r rune) bool { return r <= ' ' || r > '~' })
		if bad || len(l.Name) >= unix.IFNAMSIZ {
			return nil, fmt.Errorf("diag: read interface %d of a member: %q is no name of one", i, l.Name)
		}
	}
	return links, nil
}
