package xfrm

import (
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// mappingAge is how long the kernel waits before it tells again where the packets of a
// peer come from.
const mappingAge = time.Second

// reqIDs of ours have these upper eight bits, by which a later process knows its
// states and policies. Other programs count from 1 or take random numbers, and are
// told apart by the gate's notes besides.
const (
	ourReqIDs  = 0x45000000
	serialBits = 24
	serialMask = 1<<serialBits - 1
)

// acquireReqID is that of the template that no state ever has.
const acquireReqID = ourReqIDs

func ours(reqID uint32) bool { return reqID&^serialMask == ourReqIDs }

// plan makes the kernel's form of an SA, without sequence state and limits. Errors
// wrap offload.ErrUnsupported.
func (s settings) plan(sa ipsec.SA, reqID uint32) (xfrmnl.State, error) {
	if err := s.supports(sa); err != nil {
		return xfrmnl.State{}, err
	}
	st := xfrmnl.State{
		SPI: sa.ID.SPI, Dst: sa.Remote, Src: sa.Local, Proto: ipsec.ESP, Mode: xfrmnl.ModeTransport,
		ReqID: reqID, IfID: s.ifID, Lifetime: xfrmnl.NoLimits(),
	}
	window := uint32(0)
	if sa.Direction == ipsec.Inbound {
		st.Dst, st.Src = sa.Local, sa.Remote
		window = sa.Window()
	} else {
		// By this mark the routes of outer packets go past those into the tunnel.
		st.OutputMark = xfrmnl.Mark{Value: offload.OuterMark, Mask: 1<<32 - 1}
	}
	st.Replay = xfrmnl.NewReplay(window)
	if sa.Mode == ipsec.Tunnel {
		st.Mode = xfrmnl.ModeTunnel
		st.Flags |= xfrmnl.FlagAnyFamily
	}
	if sa.Header.DF == ipsec.DFClear {
		st.Flags |= xfrmnl.FlagNoPMTUDisc
	}
	if sa.Header.HideDSCP {
		st.Extra |= xfrmnl.ExtraNoDSCP
	}
	st.Encap = encapOf(sa.Encap, sa.Direction)
	st.MappingAge = mappingAgeOf(st.Encap, sa.Direction)
	return st, setAlgorithms(&st, sa.Algorithms, sa.Encryption, sa.Integrity)
}

// supports tells what of a good SA the kernel has not.
func (s settings) supports(sa ipsec.SA) error {
	switch {
	case sa.Mode == ipsec.Transport && s.link != "":
		// A packet of the host's own that is routed into the interface would find
		// its way there again when it is encrypted.
		return fmt.Errorf("%w: transport mode over interface %s; setting interface: none has it", offload.ErrUnsupported, s.link)
	case sa.Header.DF == ipsec.DFSet:
		return fmt.Errorf("%w: the kernel copies or clears DF, and does not set it", offload.ErrUnsupported)
	case sa.Header.HideDSCP && sa.Header.DSCP != 0:
		return fmt.Errorf("%w: the kernel hides DSCP behind 0 only, not behind %d", offload.ErrUnsupported, sa.Header.DSCP)
	}
	return checkEncap(sa.Encap)
}

// checkEncap refuses UDP ports of ours that the daemon has no socket for.
func checkEncap(c *ipsec.Encap) error {
	if c != nil && c.LocalPort != nattPort {
		return fmt.Errorf("%w: udp encapsulation from port %d, it is always %d", offload.ErrUnsupported, c.LocalPort, nattPort)
	}
	return nil
}

// encapOf are the ports of a packet of the SA.
func encapOf(c *ipsec.Encap, d ipsec.Direction) *xfrmnl.Encap {
	switch {
	case c == nil:
		return nil
	case d == ipsec.Inbound:
		return &xfrmnl.Encap{SrcPort: c.RemotePort, DstPort: c.LocalPort}
	default:
		return &xfrmnl.Encap{SrcPort: c.LocalPort, DstPort: c.RemotePort}
	}
}

// mappingAgeOf is State.MappingAge: inbound SAs in UDP have one.
func mappingAgeOf(c *xfrmnl.Encap, d ipsec.Direction) uint32 {
	if c == nil || d != ipsec.Inbound {
		return 0
	}
	return uint32(mappingAge / time.Second)
}

// maxSelectors bounds the policies of one SA in one direction.
const maxSelectors = 256

// selectorsOf splits traffic selectors into those of policies: prefixes, and ports
// under masks. Ours are the source outbound and the destination inbound.
func selectorsOf(s ipsec.Selectors, d ipsec.Direction) ([]xfrmnl.Selector, error) {
	var out []xfrmnl.Selector
	for _, local := range s.Local {
		for _, remote := range s.Remote {
			if local.Is6() != remote.Is6() || local.Proto != 0 && remote.Proto != 0 && local.Proto != remote.Proto {
				continue // no packet is both
			}
			pairs, err := pair(local, remote, d)
			if err != nil {
				return nil, err
			}
			if out = append(out, pairs...); len(out) > maxSelectors {
				return nil, fmt.Errorf("%w: traffic selectors that take more than %d policies", offload.ErrUnsupported, maxSelectors)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: traffic selectors that no packet meets", offload.ErrUnsupported)
	}
	return out, nil
}

// pair is all that one local and one remote selector select.
func pair(local, remote ipsec.TrafficSelector, d ipsec.Direction) ([]xfrmnl.Selector, error) {
	proto := max(local.Proto, remote.Proto)
	localPorts, remotePorts, err := portsOf(local, remote, proto)
	if err != nil {
		return nil, err
	}
	var out []xfrmnl.Selector
	for _, l := range local.Prefixes() {
		for _, r := range remote.Prefixes() {
			for _, lp := range localPorts {
				for _, rp := range remotePorts {
					s := xfrmnl.Selector{Src: l, Dst: r, Proto: proto, SrcPort: lp, DstPort: rp}
					if d == ipsec.Inbound && icmp(proto) {
						// Type and code stay in their places whatever the direction.
						s.Src, s.Dst = r, l
					} else if d == ipsec.Inbound {
						s = xfrmnl.Selector{Src: r, Dst: l, Proto: proto, SrcPort: rp, DstPort: lp}
					}
					if out = append(out, s); len(out) > maxSelectors {
						return nil, fmt.Errorf("%w: traffic selectors that take more than %d policies", offload.ErrUnsupported, maxSelectors)
					}
				}
			}
		}
	}
	return out, nil
}

func icmp(proto uint8) bool { return proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6 }

// portsOf are the ports of both sides under masks. For ICMP the kernel has the type
// in the place of the source port and the code in that of the destination port;
// ours stand together, type in the upper octet (RFC 4301 section 4.4.1.1).
func portsOf(local, remote ipsec.TrafficSelector, proto uint8) (src, dst []xfrmnl.Port, err error) {
	if local.Opaque() || remote.Opaque() {
		return nil, nil, fmt.Errorf("%w: OPAQUE ports in a traffic selector", offload.ErrUnsupported)
	}
	if !icmp(proto) {
		return maskedPorts(local.PortMin, local.PortMax), maskedPorts(remote.PortMin, remote.PortMax), nil
	}
	low, high := max(local.PortMin, remote.PortMin), min(local.PortMax, remote.PortMax)
	switch {
	case low == 0 && high == 65535:
		return maskedPorts(0, 65535), maskedPorts(0, 65535), nil
	case low>>8 == high>>8 && low&0xff == 0 && high&0xff == 0xff:
		return maskedPorts(low>>8, low>>8), maskedPorts(0, 65535), nil
	case low == high:
		return maskedPorts(low>>8, low>>8), maskedPorts(low&0xff, low&0xff), nil
	default:
		return nil, nil, fmt.Errorf("%w: a range of ICMP types or codes, %d to %d, in a traffic selector", offload.ErrUnsupported, low, high)
	}
}

// maskedPorts splits a range into the fewest values under masks.
func maskedPorts(low, high uint16) []xfrmnl.Port {
	var out []xfrmnl.Port
	for at, end := uint32(low), uint32(high); at <= end; {
		size := uint32(1) << 16
		if at != 0 {
			size = 1 << bits.TrailingZeros32(at)
		}
		for at+size-1 > end {
			size /= 2
		}
		p := xfrmnl.Port{Value: uint16(at), Mask: ^uint16(size - 1)}
		if size == 1<<16 {
			p = xfrmnl.Port{}
		}
		out = append(out, p)
		at += size
	}
	return out
}

// priorityOf orders policies: the longest remote prefix first, then the longest
// local one, then those with a protocol and ports.
func priorityOf(s xfrmnl.Selector, d xfrmnl.Direction) uint32 {
	remote, local := s.Dst, s.Src
	if d != xfrmnl.Out {
		remote, local = local, remote
	}
	p := uint32(1000) + uint32(missing(remote))<<11 + uint32(missing(local))<<3
	if s.Proto == 0 {
		p += 4
	}
	for _, port := range []xfrmnl.Port{s.SrcPort, s.DstPort} {
		if port.Mask == 0 {
			p++
		}
	}
	return p
}

// missing is how many bits a prefix leaves open.
func missing(p netip.Prefix) int { return p.Addr().BitLen() - p.Bits() }
