package diag

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// FromTunnel makes a list entry of a tunnel as of now. The keys are left out
// unless they are asked for.
func FromTunnel(s engine.TunnelStatus, now time.Time, info offload.Info, keys bool) Tunnel {
	t := Tunnel{
		Name: s.Name, Phase1: s.Phase1, Version: s.Version, Serial: s.Serial, Index: s.Index, Dialup: s.Dialup,
		Interface: s.Interface, BoundIf: interfaceIndex(s.Interface),
		Local: s.IKE.Local, Remote: s.IKE.Remote, TunnelID: s.IKE.Remote.Addr(), TunnelID6: tunnelID6(s.Number),
		LocalID: s.IKE.LocalID.String(), RemoteID: s.IKE.RemoteID.String(), Suite: s.IKE.Suite.String(),
		IKESPIs: [2]string{s.IKE.SPIi.String(), s.IKE.SPIr.String()}, Established: s.IKE.Age,
		Role: role(s), AcceptTraffic: true, Options: options(s, info),
		IdleIn: idleSince(now, s.Activity.In), IdleOut: idleSince(now, s.Activity.Out),
		DPD: dpd(s), NATT: natt(s), Routes: s.Routes,
	}
	if !s.IKE.Encap {
		t.Local, t.Remote = netip.AddrPortFrom(t.Local.Addr(), 0), netip.AddrPortFrom(t.Remote.Addr(), 0)
	}
	if s.Standby {
		t.rest()
	}
	for _, c := range byAge(s.Children) {
		t.addChild(s, c, keys)
	}
	return t
}

// byAge puts pairs in the order of their phase 2 entries' names, and among those
// of one entry the newest first.
func byAge(children []engine.ChildStatus) []engine.ChildStatus {
	children = slices.Clone(children)
	slices.SortStableFunc(children, func(a, b engine.ChildStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(b.In.SA.Generation, a.In.SA.Generation))
	})
	return children
}

// role is whether we forward for the tunnel, and whether somebody could instead.
func role(s engine.TunnelStatus) string {
	switch {
	case s.Standby:
		return "standby"
	case s.Synced:
		return "sync-primary"
	default:
		return "primary"
	}
}

// rest takes out what only a tunnel's owner does or learns: a standby probes
// nobody, and no packet of the peer's has passed it.
func (t *Tunnel) rest() {
	t.DPD.Seqno, t.DPD.Count = 0, 0
	t.IdleIn, t.IdleOut = -1, -1
	t.Options &^= OptRemoteChanged | OptPortChanged
}

// addChild puts a pair of SAs under the proxy of its phase 2.
func (t *Tunnel) addChild(s engine.TunnelStatus, c engine.ChildStatus, keys bool) {
	t.Packets.In += c.In.Packets
	t.Packets.Out += c.Out.Packets
	t.Bytes.In += c.In.Bytes
	t.Bytes.Out += c.Out.Bytes
	if out := c.Out.SA; out.PathMTU != 0 {
		t.PathMTU = int(out.PathMTU)
	}
	var life ike.ChildStatus
	for _, ch := range s.IKE.Children {
		if ch.In == c.In.SA.ID {
			life = ch
		}
	}
	sa := fromPair(s, c, life, keys)
	i := slices.IndexFunc(t.Proxies, func(p Proxy) bool {
		return p.Name == c.Name && slices.Equal(p.Src, selectors(c.In.SA.Selectors.Local)) && slices.Equal(p.Dst, selectors(c.In.SA.Selectors.Remote))
	})
	if i < 0 {
		t.Proxies = append(t.Proxies, Proxy{
			Name: c.Name, Serial: uint64(len(t.Proxies) + 1), AddRoute: s.AddRoute, Mode: c.In.SA.Mode.String(),
			Proto: protocol(c.In.SA.Selectors), Src: selectors(c.In.SA.Selectors.Local), Dst: selectors(c.In.SA.Selectors.Remote),
		})
		i = len(t.Proxies) - 1
	}
	t.Proxies[i].SAs = append(t.Proxies[i].SAs, sa)
}

func fromPair(s engine.TunnelStatus, c engine.ChildStatus, life ike.ChildStatus, keys bool) SA {
	in, out := c.In.SA, c.Out.SA
	sa := SA{
		Options: saOptions(s, in), MTU: innerMTU(out),
		Expire: life.Soft, Soft: life.Lifetime.Soft.Time, Hard: life.Lifetime.Hard.Time, Limit: life.Lifetime.Hard.Bytes,
		SoftPassed: life.Soft == 0 && life.Lifetime.Soft.Time > 0, ReplayWindow: in.Window(),
		Seqno: max(1, out.Sequence.Next, c.Out.Counters.Sequence.Next), LastSeq: c.In.Counters.Sequence.Highest, ESN: in.Algorithms.ESN,
		Ceiling: out.Sequence.Ceiling, Dec: half(in, keys), Enc: half(out, keys),
		Packets: Traffic{In: c.In.Packets, Out: c.Out.Packets}, Bytes: Traffic{In: c.In.Bytes, Out: c.Out.Bytes},
		Rekeying: life.State == "rekeying", NPU: npu(c), Relayed: c.Out.Counters.Relayed, Drops: drops(c.In.Counters.Drops, c.Out.Counters.Drops),
	}
	if sa.Limit > 0 {
		sa.ExpireBytes = sa.Limit - min(sa.Limit, c.In.Bytes+c.Out.Bytes)
	}
	return sa
}

func half(sa ipsec.SA, keys bool) Half {
	h := Half{
		SPI: sa.ID.SPI.String(), Cipher: cipherName(sa.Algorithms.Encryption), KeyLen: sa.Encryption.Len(),
		Hash: "null", HashLen: sa.Integrity.Len(),
	}
	if sa.Algorithms.Integrity != ipsec.AuthNone {
		h.Hash = sa.Algorithms.Integrity.String()
	}
	if keys {
		h.Key, h.HashKey = hex.EncodeToString(sa.Encryption.Reveal()), hex.EncodeToString(sa.Integrity.Reveal())
	}
	return h
}

// cipherName is FortiOS's word; the key's length stands beside it.
func cipherName(e ipsec.EncryptionID) string {
	switch e {
	case ipsec.EncrAESCBC:
		return "aes"
	case ipsec.EncrAESCTR:
		return "aes-ctr"
	case ipsec.EncrAESGCM8:
		return "aes-gcm8"
	case ipsec.EncrAESGCM12:
		return "aes-gcm12"
	case ipsec.EncrAESGCM16:
		return "aes-gcm"
	case ipsec.EncrChaCha20Poly1305:
		return "chacha20poly1305"
	case ipsec.Encr3DES:
		return "3des"
	default:
		return "null"
	}
}

func npu(c engine.ChildStatus) NPU {
	in, out := c.In.Placement, c.Out.Placement
	n := NPU{
		Flag: uint8(offload.FlagOf(in, out)), Dec: uint32(in.NPU), Enc: uint32(out.NPU),
		WhyNotDec: string(in.WhyNot), WhyNotEnc: string(out.WhyNot),
	}
	if len(out.SelectorIDs) > 0 {
		n.Selector = uint32(out.SelectorIDs[0])
	}
	return n
}

func drops(all ...offload.Drops) map[string]uint64 {
	m := make(map[string]uint64)
	for _, d := range all {
		for reason, n := range map[string]uint64{
			"replayed": d.Replayed, "authentication": d.Authentication, "malformed": d.Malformed, "selector": d.Selector,
			"lifetime": d.Lifetime, "ceiling": d.Ceiling, "standby": d.Standby, "too big": d.TooBig, "queue": d.Queue,
		} {
			if n > 0 {
				m[reason] += n
			}
		}
	}
	return m
}

func options(s engine.TunnelStatus, info offload.Info) Options {
	var o Options
	if len(info.NPUs) > 0 {
		o |= OptNPU
	}
	if s.Dialup {
		o |= OptRemoteChanged | OptDialupInstance
		if s.IKE.NATRemote {
			o |= OptPortChanged
		}
	}
	if s.IKE.Fragmentation {
		o |= OptFragmentation
	}
	return o
}

func saOptions(s engine.TunnelStatus, sa ipsec.SA) SAOptions {
	o := SAOptReplay | SAOptIKE
	if sa.Encap != nil {
		o |= SAOptUDP
	}
	if sa.Algorithms.ESN {
		o |= SAOptESN
	}
	if sa.Mode == ipsec.Transport {
		o |= SAOptTransport
	} else {
		o |= SAOptTunnel
	}
	if s.Dialup {
		o |= SAOptDialup
	}
	return o
}

func dpd(s engine.TunnelStatus) DPD {
	d := DPD{
		Mode:     [...]string{ike.DPDOnIdle: "on-idle", ike.DPDOnDemand: "on-demand", ike.DPDOff: "off"}[s.IKE.DPD.Mode],
		Interval: s.DPD.Interval, Retries: s.DPD.Retries, Count: s.IKE.DPD.Unanswered,
	}
	if s.IKE.DPD.Mode != ike.DPDOff {
		d.Seqno = uint64(s.IKE.DPD.Sequence)
	}
	return d
}

func natt(s engine.TunnelStatus) NATT {
	switch {
	case !s.IKE.Encap:
		return NATT{Mode: "none"}
	case s.IKE.NATLocal:
		return NATT{Mode: "keepalive", Interval: s.Keepalive, RemotePort: s.IKE.Remote.Port()}
	default:
		return NATT{Mode: "silent", RemotePort: s.IKE.Remote.Port()}
	}
}

func selectors(tss []ipsec.TrafficSelector) []string {
	out := make([]string, len(tss))
	for i, ts := range tss {
		out[i] = ts.String()
	}
	return out
}

func protocol(s ipsec.Selectors) uint8 {
	if len(s.Remote) > 0 {
		return s.Remote[0].Proto
	}
	return 0
}

// innerMTU is the largest inner packet that leaves unfragmented, in octets: of
// the path MTU, or of the least that every path carries when it is not known,
// what remains for the inner packet after headers, padding and ICV (RFC 4303
// section 2).
func innerMTU(sa ipsec.SA) int {
	const unknown = 1280
	path := int(sa.PathMTU)
	if path == 0 {
		return unknown
	}
	header := 20
	if sa.Remote.Is6() {
		header = 40
	}
	if sa.Encap != nil {
		header += 8
	}
	const espHeader, trailer = 8, 2
	room := path - header - espHeader - sa.Algorithms.IVLen() - sa.Algorithms.ICVLen()
	block := max(4, sa.Algorithms.BlockLen())
	return room - room%block - trailer
}

func interfaceIndex(name string) int {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0
	}
	return i.Index
}

// tunnelID6 writes a tunnel's number, which is the same on all members, into the
// last four octets of an IPv6 address, on top of 10.0.0.0, as FortiOS does.
func tunnelID6(number uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint32(b[12:], 10<<24|uint32(number)&0xff_ffff)
	return netip.AddrFrom16(b)
}

func idleSince(now, at time.Time) time.Duration {
	if at.IsZero() {
		return -1
	}
	return now.Sub(at)
}

// PhaseType is the configuration's word.
func PhaseType(dialup bool) string {
	if dialup {
		return "dynamic"
	}
	return "static"
}

// FromPhase1 counts the tunnels of a connection.
func FromPhase1(c *engine.Connection, tunnels []engine.TunnelStatus) Phase1 {
	p := Phase1{Name: c.Name, Type: PhaseType(c.Dialup), LocalGW: fmt.Sprint(c.Local)}
	for _, t := range tunnels {
		if t.Phase1 != c.Name {
			continue
		}
		switch {
		case t.Standby:
			p.Standby++
			continue
		case t.IKE.State == ike.StateUp:
			p.Up++
		default:
			p.Connecting++
		}
		p.Children += len(t.Children)
	}
	return p
}
