package witness

import (
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// gracefulShutdown is the community 65535:0 of RFC 8326 section 5.
const gracefulShutdown = 0xffff0000

// weight is how a preference looks in BGP. An external neighbor compares MEDs
// (RFC 4271 section 9.1.2.2) and gets no local preference; an internal one
// looks at the local preference first.
type weight struct{ med, localPref uint32 }

func (p preference) weight() weight {
	switch p {
	case first:
		return weight{med: 0, localPref: 100}
	case second:
		return weight{med: 100, localPref: 50}
	default:
		// "[...] the LOCAL_PREF attribute of the paths SHOULD be set to a low
		// value. [...] The RECOMMENDED value is 0." RFC 8326 section 3.2, of
		// routers that honor the community. The MED is for those that do not.
		return weight{med: 10_000, localPref: 0}
	}
}

// paths returns routes in the library's words.
func (s *speaker) paths(routes []route) ([]*apiutil.Path, error) {
	paths := make([]*apiutil.Path, 0, len(routes))
	for _, r := range routes {
		p, err := s.path(r)
		if err != nil {
			return nil, fmt.Errorf("encode %v: %w", r.prefix, err)
		}
		paths = append(paths, p)
	}
	return paths, nil
}

func (s *speaker) path(r route) (*apiutil.Path, error) {
	nlri, err := bgp.NewIPAddrPrefix(r.prefix)
	if err != nil {
		return nil, err
	}
	w := r.preference.weight()
	p := &apiutil.Path{Nlri: nlri, Attrs: []bgp.PathAttributeInterface{
		bgp.NewPathAttributeOrigin(bgp.BGP_ORIGIN_ATTR_TYPE_IGP),
		bgp.NewPathAttributeMultiExitDisc(w.med),
		bgp.NewPathAttributeLocalPref(w.localPref),
	}}
	if r.preference == lastResort {
		p.Attrs = append(p.Attrs, bgp.NewPathAttributeCommunities([]uint32{gracefulShutdown}))
	}
	var hop bgp.PathAttributeInterface
	if r.prefix.Addr().Is4() {
		p.Family = bgp.RF_IPv4_UC
		hop, err = bgp.NewPathAttributeNextHop(orSelf(s.cfg.NextHop4, netip.IPv4Unspecified()))
	} else {
		p.Family = bgp.RF_IPv6_UC
		hop, err = bgp.NewPathAttributeMpReachNLRI(p.Family, []bgp.PathNLRI{{NLRI: nlri}}, orSelf(s.cfg.NextHop6, netip.IPv6Unspecified()))
	}
	p.Attrs = append(p.Attrs, hop)
	return p, err
}

// orSelf returns the configured next hop, or the unspecified address: for that
// the library puts in its own address of each session.
func orSelf(configured, unspecified netip.Addr) netip.Addr {
	if configured.IsValid() {
		return configured
	}
	return unspecified
}
