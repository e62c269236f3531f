package ike

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// IDType is IANA's "IKEv2 Identification Payload ID Types" (RFC 7296 section
// 3.5).
type IDType uint8

// The ID types. IDText is ours: a configured text that matches an FQDN, an
// RFC 822 address or a key id alike, as FortiOS's peerid does.
const (
	IDNone   IDType = 0
	IDIPv4   IDType = 1
	IDFQDN   IDType = 2
	IDRFC822 IDType = 3
	IDIPv6   IDType = 5
	IDDERDN  IDType = 9
	IDDERGN  IDType = 10
	IDKeyID  IDType = 11
	IDText   IDType = 255
)

// Identity is who a peer says it is. The zero value is nobody, and as a
// condition accepts anybody.
type Identity struct {
	Type IDType
	Data string // octets of the Identification Data field
}

// AddrIdentity is the identity of an address.
func AddrIdentity(a netip.Addr) Identity {
	t := IDIPv4
	if a.Is6() {
		t = IDIPv6
	}
	return Identity{Type: t, Data: string(a.AsSlice())}
}

// IsZero tells whether id is nobody.
func (id Identity) IsZero() bool { return id.Type == IDNone }

// Accepts tells whether a peer that claims o meets the condition id. Names of
// hosts and mail domains compare without case (RFC 7296 section 3.5 leaves the
// comparison to us; DNS names have none).
func (id Identity) Accepts(o Identity) bool {
	switch id.Type {
	case IDNone:
		return true
	case IDText:
		switch o.Type {
		case IDFQDN, IDRFC822:
			return strings.EqualFold(id.Data, o.Data)
		case IDKeyID:
			return id.Data == o.Data
		case IDIPv4, IDIPv6:
			return id.Data == o.String()
		default:
			return false
		}
	case IDFQDN, IDRFC822:
		return o.Type == id.Type && strings.EqualFold(id.Data, o.Data)
	default:
		return o == id
	}
}

// String formats id for people; what cannot be printed is hexadecimal.
func (id Identity) String() string {
	switch id.Type {
	case IDNone:
		return "any"
	case IDIPv4, IDIPv6:
		if a, ok := netip.AddrFromSlice([]byte(id.Data)); ok {
			return a.String()
		}
	case IDDERDN:
		if name, ok := nameText(id.Data); ok {
			return name
		}
	default:
	}
	if printable(id.Data) {
		return id.Data
	}
	return fmt.Sprintf("id-type-%d:%s", id.Type, hex.EncodeToString([]byte(id.Data)))
}

// nameText writes a distinguished name as operators do, the most significant part
// first: "C=CH,O=Example,CN=gw1". It is false for what is none, or holds what
// cannot be printed.
func nameText(der string) (string, bool) {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal([]byte(der), &name); err != nil || len(rest) > 0 {
		return "", false
	}
	slices.Reverse(name) // as String does
	s := name.String()
	return s, printable(s)
}

func printable(s string) bool {
	return len(s) > 0 && bytes.IndexFunc([]byte(s), func(r rune) bool { return r < ' ' || r > '~' }) < 0
}
