package offload

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
)

// MaxGroups bounds the failover groups: one per member (ipsec.MaxMembers).
const MaxGroups Group = ipsec.MaxMembers

// CheckGroup tells whether g is a group that calls may name; the error wraps
// ErrInvalid.
func CheckGroup(g Group) error {
	if g >= MaxGroups {
		return fmt.Errorf("%w: group %d, want one below %d", ErrInvalid, g, MaxGroups)
	}
	return nil
}

// CheckRole tells whether r is a role; the error wraps ErrInvalid.
func CheckRole(r Role) error {
	if r != Active && r != Standby {
		return fmt.Errorf("%w: role %d, want active or standby", ErrInvalid, uint8(r))
	}
	return nil
}

// CheckConfig tells whether c contradicts itself; the error wraps ErrInvalid and
// names the field. Whether Boot is new only the dataplane knows.
func CheckConfig(c Config) error {
	if c.Member >= ipsec.MaxMembers {
		return fmt.Errorf("%w: member %d, want one below %d", ErrInvalid, c.Member, ipsec.MaxMembers)
	}
	for i, a := range c.Addresses {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			return fmt.Errorf("%w: addresses[%d] is %v, want a unicast address", ErrInvalid, i, a)
		}
	}
	return nil
}

// CheckStats tells whether stats keep to what Stat promises; the error wraps
// ErrInvalid and names the one that does not. It is for who gets them.
func CheckStats(stats []Stat) error {
	if len(stats) > MaxStats {
		return fmt.Errorf("%w: %d stats, want at most %d", ErrInvalid, len(stats), MaxStats)
	}
	seen := make(map[string]bool, len(stats))
	for i, s := range stats {
		switch {
		case !hyphenated(s.Name):
			return fmt.Errorf("%w: stats[%d] is called %.80q, want words of lower-case letters and digits with hyphens between them", ErrInvalid, i, s.Name)
		case seen[s.Name]:
			return fmt.Errorf("%w: stats[%d] is called %s like one before", ErrInvalid, i, s.Name)
		}
		seen[s.Name] = true
	}
	return nil
}

func hyphenated(name string) bool {
	if len(name) > MaxStatName {
		return false
	}
	for word := range strings.SplitSeq(name, "-") {
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) {
			return false
		}
	}
	return true
}

// CheckSA tells whether sa contradicts itself, which is so whatever the
// dataplane can do. The error wraps ErrInvalid, or ErrUnsupported for algorithms
// and protocols that this vocabulary does not know; it names the field and holds
// no key.
//
// ID.Dst need not be one of Local and Remote: an SA keeps its name when its
// endpoints move.
func CheckSA(sa ipsec.SA) error {
	switch {
	case sa.ID.SPI < ipsec.MinSPI:
		return fmt.Errorf("%w: spi %v is reserved (RFC 4303 section 2.1)", ErrInvalid, sa.ID.SPI)
	case !sa.ID.Dst.IsValid():
		return fmt.Errorf("%w: no destination in the sa's id", ErrInvalid)
	case sa.ID.Proto != ipsec.ESP:
		return fmt.Errorf("%w: protocol %d, want esp", ErrUnsupported, uint8(sa.ID.Proto))
	case sa.Direction != ipsec.Inbound && sa.Direction != ipsec.Outbound:
		return fmt.Errorf("%w: direction %d, want in or out", ErrInvalid, uint8(sa.Direction))
	case sa.Direction == ipsec.Inbound && sa.ID.Port != 0:
		return fmt.Errorf("%w: port %d in the id of an inbound sa, whose spi is our own", ErrInvalid, sa.ID.Port)
	case sa.Mode != ipsec.Tunnel && sa.Mode != ipsec.Transport:
		return fmt.Errorf("%w: mode %d, want tunnel or transport", ErrInvalid, uint8(sa.Mode))
	case sa.Group >= ipsec.MaxMembers:
		return fmt.Errorf("%w: group %d, want one below %d", ErrInvalid, sa.Group, MaxGroups)
	case sa.Sender >= ipsec.MaxMembers:
		return fmt.Errorf("%w: sender %d, want one below %d", ErrInvalid, sa.Sender, ipsec.MaxMembers)
	case sa.Header.DF > ipsec.DFClear:
		return fmt.Errorf("%w: df policy %d, want copy, set or clear", ErrInvalid, sa.Header.DF)
	case sa.Header.DSCP > 0x3f:
		return fmt.Errorf("%w: dscp %d has more than six bits", ErrInvalid, sa.Header.DSCP)
	}
	if err := CheckEndpoint(Endpoint{Local: sa.Local, Remote: sa.Remote, Encap: sa.Encap}); err != nil {
		return err
	}
	if err := checkKeys(sa); err != nil {
		return err
	}
	if sa.Link != nil {
		return checkLink(sa)
	}
	return checkSelectors(sa.Selectors)
}

func checkLink(sa ipsec.SA) error {
	switch {
	case sa.Link.Member >= ipsec.MaxMembers:
		return fmt.Errorf("%w: link to member %d, want one below %d", ErrInvalid, sa.Link.Member, ipsec.MaxMembers)
	case sa.Link.Member == sa.Sender:
		return fmt.Errorf("%w: link of member %d to itself", ErrInvalid, sa.Sender)
	case sa.Mode != ipsec.Tunnel:
		return fmt.Errorf("%w: link in %v mode, want tunnel", ErrInvalid, sa.Mode)
	case len(sa.Selectors.Local) > 0 || len(sa.Selectors.Remote) > 0:
		return fmt.Errorf("%w: link with traffic selectors: it carries those of others", ErrInvalid)
	}
	return nil
}

// CheckChange tells whether c can be made to an SA, one of a link between members
// or another; the error wraps ErrInvalid. Whether the SA is there, and whether its
// new endpoint is one that the dataplane can serve, only the dataplane knows.
func CheckChange(c Change, link bool) error {
	if link && (c.Group != nil || c.Role != nil) {
		return fmt.Errorf("%w: an sa of a link is always active and in no group", ErrInvalid)
	}
	if c.Endpoint != nil {
		if err := CheckEndpoint(*c.Endpoint); err != nil {
			return err
		}
	}
	if c.Group != nil {
		if err := CheckGroup(*c.Group); err != nil {
			return err
		}
	}
	if c.Role != nil {
		return CheckRole(*c.Role)
	}
	return nil
}

// CheckEndpoint tells whether e contradicts itself; the error wraps ErrInvalid.
func CheckEndpoint(e Endpoint) error {
	switch {
	case !unicast(e.Local):
		return fmt.Errorf("%w: local address %v, want a unicast one", ErrInvalid, e.Local)
	case !unicast(e.Remote):
		return fmt.Errorf("%w: remote address %v, want a unicast one", ErrInvalid, e.Remote)
	case e.Local.Is4() != e.Remote.Is4():
		return fmt.Errorf("%w: outer addresses %v and %v mix families", ErrInvalid, e.Local, e.Remote)
	case e.Encap != nil && (e.Encap.LocalPort == 0 || e.Encap.RemotePort == 0):
		return fmt.Errorf("%w: udp encapsulation between ports %d and %d", ErrInvalid, e.Encap.LocalPort, e.Encap.RemotePort)
	}
	return nil
}

func unicast(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast()
}

func checkKeys(sa ipsec.SA) error {
	encryption, err := sa.Algorithms.EncryptionKeyLen()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	integrity, err := sa.Algorithms.Integrity.KeyLen()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	aead := sa.Algorithms.Encryption.AEAD()
	switch {
	case aead && integrity != 0:
		return fmt.Errorf("%w: %v has an integrity algorithm beside it", ErrInvalid, sa.Algorithms)
	case !aead && integrity == 0:
		// RFC 8221 section 4 forbids encryption without authentication.
		return fmt.Errorf("%w: %v without an integrity algorithm", ErrInvalid, sa.Algorithms)
	case sa.Encryption.Len() != encryption:
		return fmt.Errorf("%w: encryption key of %d octets, %v takes %d", ErrInvalid, sa.Encryption.Len(), sa.Algorithms, encryption)
	case sa.Integrity.Len() != integrity:
		return fmt.Errorf("%w: integrity key of %d octets, %v takes %d", ErrInvalid, sa.Integrity.Len(), sa.Algorithms, integrity)
	}
	return nil
}

func checkSelectors(s ipsec.Selectors) error {
	if len(s.Local) == 0 || len(s.Remote) == 0 {
		return fmt.Errorf("%w: no traffic selectors", ErrInvalid)
	}
	for _, side := range [...][]ipsec.TrafficSelector{s.Local, s.Remote} {
		for _, t := range side {
			if err := t.Validate(); err != nil {
				return fmt.Errorf("%w: %w", ErrInvalid, err)
			}
		}
	}
	return nil
}
