package diag

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// neverIdle is what FortiOS prints for an SA that no packet has used: 2^32
// hundredths of a second.
const neverIdle = 42949672

const rule = "------------------------------------------------------"

// WriteTunnels prints the tunnel list. name is the one that was asked for, empty
// for all. No tunnel leaves the header line alone (F10, F22).
func WriteTunnels(w io.Writer, name string, tunnels []Tunnel) error {
	b := bufio.NewWriter(w)
	if name == "" {
		fmt.Fprintln(b, "list all ipsec tunnel in vd 0")
	} else {
		fmt.Fprintln(b, "list ipsec tunnel by names in vd 0")
	}
	for _, t := range tunnels {
		fmt.Fprintln(b, rule)
		t.write(b)
	}
	return b.Flush()
}

func (t *Tunnel) write(w io.Writer) {
	fmt.Fprintf(w, "name=%s ver=%d serial=%x %s->%s tun_id=%v tun_id6=%s dst_mtu=%d dpd-link=on weight=1\n",
		t.Name, t.Version, t.Serial, endpoint(t.Local), endpoint(t.Remote), t.TunnelID, embedded(t.TunnelID6), t.PathMTU)
	fmt.Fprintf(w, "bound_if=%d lgwy=static/1 tun=intf/0 mode=%s encap=none/%d options[%04x]=%s  run_state=0 role=%s accept_traffic=%d overlay_id=0\n\n",
		t.BoundIf, t.mode(), uint32(t.Options), uint32(t.Options), t.Options, t.Role, bit(t.AcceptTraffic))
	if t.Dialup {
		fmt.Fprintf(w, "parent=%s index=%d\n", t.Phase1, t.Index)
	}
	fmt.Fprintf(w, "proxyid_num=%d child_num=0 refcnt=%d ilast=%d olast=%d ad=/0\n",
		len(t.Proxies), t.references(), idle(t.IdleIn), idle(t.IdleOut))
	fmt.Fprintf(w, "stat: rxp=%d txp=%d rxb=%d txb=%d\n", t.Packets.In, t.Packets.Out, t.Bytes.In, t.Bytes.Out)
	fmt.Fprintf(w, "dpd: mode=%s on=%d idle=%dms retry=%d count=%d seqno=%d\n",
		t.DPD.Mode, bit(t.DPD.Mode != "off"), t.DPD.Interval.Milliseconds(), t.DPD.Retries, t.DPD.Count, t.DPD.Seqno)
	draft := 0
	if t.NATT.Mode != "none" {
		draft = 32 // what FortiOS prints for RFC 3947
	}
	fmt.Fprintf(w, "natt: mode=%s draft=%d interval=%d remote_port=%d\n",
		t.NATT.Mode, draft, int(t.NATT.Interval.Seconds()), t.NATT.RemotePort)
	fmt.Fprintln(w, "fec: egress=0 ingress=0")
	for i := range t.Proxies {
		t.Proxies[i].write(w, t)
	}
}

func (t *Tunnel) mode() string {
	if t.Dialup {
		return "dial_inst/3"
	}
	return "auto/1"
}

// references counts what holds the tunnel: itself, its IKE SA, its proxies and
// the two directions of their SAs.
func (t *Tunnel) references() int {
	n := 2
	for _, p := range t.Proxies {
		n += 2 + 2*len(p.SAs)
	}
	return n
}

func (p *Proxy) write(w io.Writer, t *Tunnel) {
	route := ""
	if p.AddRoute {
		route = " add-route"
	}
	if p.Mode == "transport" {
		route = " transport-mode" + route
	}
	fmt.Fprintf(w, "proxyid=%s proto=%d sa=%d ref=%d serial=%d%s\n", p.Name, p.Proto, len(p.SAs), 1+len(p.SAs), p.Serial, route)
	for _, s := range p.Src {
		fmt.Fprintf(w, "  src: %s\n", s)
	}
	for _, s := range p.Dst {
		fmt.Fprintf(w, "  dst: %s\n", s)
	}
	for i := range p.SAs {
		p.SAs[i].write(w, t)
	}
}

func (s *SA) write(w io.Writer, t *Tunnel) {
	fmt.Fprintf(w, "  SA:  ref=3 options=%x type=00 soft=%d mtu=%d expire=%d/%dB replaywin=%d\n",
		uint32(s.Options), bit(s.SoftPassed), s.MTU, int(s.Expire.Seconds()), s.ExpireBytes, s.ReplayWindow)
	fmt.Fprintf(w, "       seqno=%x esn=%d replaywin_lastseq=%08x qat=0 rekey=%d hash_search_len=1\n",
		s.Seqno, bit(s.ESN), s.LastSeq, bit(s.Rekeying))
	kind := 0
	if s.Hard > 0 {
		kind |= 1
	}
	if s.Limit > 0 {
		kind |= 2
	}
	fmt.Fprintf(w, "  life: type=%02x bytes=%d/%d timeout=%d/%d\n",
		kind, s.Bytes.In+s.Bytes.Out, s.Limit, int(s.Soft.Seconds()), int(s.Hard.Seconds()))
	s.Dec.write(w, "dec")
	s.Enc.write(w, "enc")
	fmt.Fprintf(w, "  dec:pkts/bytes=%d/%d, enc:pkts/bytes=%d/%d\n", s.Packets.In, s.Bytes.In, s.Packets.Out, s.Bytes.Out)
	fmt.Fprintf(w, "  npu_flag=%02x npu_rgwy=%v npu_lgwy=%v npu_selid=%x dec_npuid=%d enc_npuid=%d\n",
		s.NPU.Flag, t.Remote.Addr(), t.Local.Addr(), s.NPU.Selector, s.NPU.Dec, s.NPU.Enc)
	if s.Relayed > 0 { // FortiOS has no such line
		fmt.Fprintf(w, "  link: relayed=%d\n", s.Relayed)
	}
}

func (h *Half) write(w io.Writer, direction string) {
	fmt.Fprintf(w, "  %s: spi=%s esp=%s key=%d %s\n", direction, h.SPI, h.Cipher, h.KeyLen, hidden(h.Key, h.KeyLen))
	fmt.Fprintf(w, "       ah=%s key=%d %s\n", h.Hash, h.HashLen, hidden(h.HashKey, h.HashLen))
}

func hidden(key string, length int) string {
	if key == "" && length > 0 {
		return "[hidden]"
	}
	return key
}

// String are the names of the bits that FortiOS names.
func (o Options) String() string {
	var words []string
	for _, n := range []struct {
		bit  Options
		name string
	}{{OptNPU, "npu"}, {OptCreateDev, "create_dev"}, {OptRemoteChanged, "rgwy-chg"}, {OptPortChanged, "rport-chg"}, {OptFragmentation, "frag-rfc"}} {
		if o&n.bit != 0 {
			words = append(words, n.name)
		}
	}
	return strings.Join(words, " ")
}

// endpoint prints an address and port as "192.0.2.1:0"; IPv6 without brackets,
// as FortiOS does.
func endpoint(ap netip.AddrPort) string { return fmt.Sprintf("%v:%d", ap.Addr(), ap.Port()) }

// embedded prints ::a00:f as ::10.0.0.15.
func embedded(a netip.Addr) string {
	if !a.Is6() {
		return "::"
	}
	b := a.As16()
	for _, o := range b[:12] {
		if o != 0 {
			return a.String()
		}
	}
	return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
}

func idle(d time.Duration) int64 {
	if d < 0 {
		return neverIdle
	}
	return int64(d.Seconds())
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
