package cert

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
)

const scheme = "evergate"

// Name is who a member is: its standalone-group-id and its group-member-id.
type Name struct {
	Group  uint8
	Member ipsec.MemberID
}

// String formats n as in a certificate: "evergate:group/1/member/2".
func (n Name) String() string {
	return fmt.Sprintf("%s:group/%d/member/%d", scheme, n.Group, n.Member)
}

func (n Name) uri() *url.URL { return opaque(fmt.Sprintf("group/%d/member/%d", n.Group, n.Member)) }

func (n Name) check() error {
	if n.Member >= ipsec.MaxMembers {
		return fmt.Errorf("member id %d is above %d", n.Member, ipsec.MaxMembers-1)
	}
	return nil
}

// groupURI names the group that an Authority was made for.
func groupURI(group uint8) *url.URL { return opaque(fmt.Sprintf("group/%d", group)) }

func opaque(s string) *url.URL { return &url.URL{Scheme: scheme, Opaque: s} }

// ParseName reads what Name.String writes, and nothing else: no leading zeros
// or signs, so that one member has one name.
func ParseName(s string) (Name, error) {
	var n Name
	fields := strings.Split(strings.TrimPrefix(s, scheme+":"), "/")
	if len(fields) != 4 || fields[0] != "group" || fields[2] != "member" {
		return Name{}, fmt.Errorf("cert: %q is not of the form %s:group/G/member/M", s, scheme)
	}
	group, err := strconv.ParseUint(fields[1], 10, 8)
	if err != nil {
		return Name{}, fmt.Errorf("cert: %q: group id is not 0 to 255", s)
	}
	member, err := strconv.ParseUint(fields[3], 10, 8)
	if err != nil || member >= ipsec.MaxMembers {
		return Name{}, fmt.Errorf("cert: %q: member id is not 0 to %d", s, ipsec.MaxMembers-1)
	}
	n = Name{Group: uint8(group), Member: ipsec.MemberID(member)}
	if n.String() != s {
		return Name{}, fmt.Errorf("cert: %q is not written as %q", s, n)
	}
	return n, nil
}

// nameIn finds the one name among the URIs of a certificate. URIs of others,
// such as SPIFFE's, may stand beside it.
func nameIn(uris []*url.URL) (Name, error) {
	var found *Name
	for _, u := range uris {
		if u.Scheme != scheme {
			continue
		}
		n, err := ParseName(u.String())
		if err != nil {
			return Name{}, err
		}
		if found != nil {
			return Name{}, fmt.Errorf("cert: it names two members, %v and %v", *found, n)
		}
		found = &n
	}
	if found == nil {
		return Name{}, errors.New("cert: it names no member (no URI " + scheme + ":group/G/member/M)")
	}
	return *found, nil
}
