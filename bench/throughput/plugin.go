package throughput

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/vishvananda/netlink"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netio"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// nattPort is that of ESP in UDP (RFC 3948).
const nattPort = 4500

// variant is a plugin with so many pairs of SAs, in UDP or not.
type variant struct {
	path  string
	label string // tells it from others of the same name
	sas   int
	encap bool
	few   bool // makes those tests only in which the number of SAs matters
}

// name of a variant of a plugin that calls itself so.
func (v variant) name(plugin string) string {
	s := "evergate " + plugin
	if v.label != "" {
		s += " (" + v.label + ")"
	}
	if !v.encap {
		s += ", protocol 50"
	}
	if v.sas > 1 {
		s += fmt.Sprintf(", %d SAs", v.sas)
	}
	return s
}

// openPlugin starts a plugin at both ends and installs its SAs. The mtu is as newPair
// has it.
func openPlugin(tb netlab.TB, o Options, v variant, mtu int) (*pair, error) {
	algorithms, err := algorithmsOf(o.Proposal)
	if err != nil {
		return nil, err
	}
	gateway, client, err := newSAs(algorithms, v.sas, v.encap)
	if err != nil {
		return nil, err
	}
	p := newPair(tb, "", mtu)
	info, err := p.gateway.startPlugin(tb, o, v.path, gatewayOuter, clientsNet, gateway)
	if err == nil {
		_, err = p.client.startPlugin(tb, o, v.path, clientOuter, senderAddr+"/32", client)
	}
	if err == nil && mtu > 0 && info.PlaintextInterface != "" {
		err = errors.Join(p.gateway.setMTU(info.PlaintextInterface, mtu), p.client.setMTU(info.PlaintextInterface, mtu))
	}
	p.sas, p.name, p.version, p.few = v.sas, v.name(info.Name), info.Version, v.few
	return p, err
}

// setMTU sets that of a device of e.
func (e *end) setMTU(device string, mtu int) error {
	err := e.ns.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(link, mtu)
	})
	if err != nil {
		return fmt.Errorf("throughput: set the mtu of %s: %w", device, err)
	}
	return nil
}

// algorithmsOf reads the one choice of a proposal.
func algorithmsOf(proposal string) (ipsec.Algorithms, error) {
	parsed, err := ipsec.ParseESPProposal(proposal)
	if err != nil {
		return ipsec.Algorithms{}, fmt.Errorf("throughput: %w", err)
	}
	var a ipsec.Algorithms
	for _, t := range parsed.OfType(ipsec.TypeEncryption) {
		a.Encryption, a.KeyBits = ipsec.EncryptionID(t.ID), t.KeyBits
	}
	for _, t := range parsed.OfType(ipsec.TypeIntegrity) {
		a.Integrity = ipsec.IntegrityID(t.ID)
	}
	return a, nil
}

// newSAs makes n pairs of SAs as each end has them.
func newSAs(a ipsec.Algorithms, n int, encap bool) (gateway, client []ipsec.SA, err error) {
	for i := range n {
		down, err1 := newSA(a, i, ipsec.Outbound, encap)
		up, err2 := newSA(a, i, ipsec.Inbound, encap)
		if err := errors.Join(err1, err2); err != nil {
			return nil, nil, err
		}
		down.Pair, up.Pair = up.ID.SPI, down.ID.SPI
		gateway = append(gateway, up, down)
		client = append(client, mirrored(down), mirrored(up))
	}
	return gateway, client, nil
}

// newSA makes an SA of pair i as the gateway has it, with keys of its own.
func newSA(a ipsec.Algorithms, i int, d ipsec.Direction, encap bool) (ipsec.SA, error) {
	encryption, err1 := a.EncryptionKeyLen()
	integrity, err2 := a.Integrity.KeyLen()
	if err := errors.Join(err1, err2); err != nil {
		return ipsec.SA{}, fmt.Errorf("throughput: %w", err)
	}
	keys := make([]byte, encryption+integrity)
	if _, err := rand.Read(keys); err != nil {
		return ipsec.SA{}, fmt.Errorf("throughput: draw keys: %w", err)
	}
	sa := ipsec.SA{
		Direction: d, Tunnel: ipsec.TunnelID(i + 1), Generation: 1,
		Algorithms: a, Encryption: ipsec.NewKey(keys[:encryption:encryption]), Integrity: ipsec.NewKey(keys[encryption:]),
		Local: netip.MustParseAddr(gatewayOuter), Remote: netip.MustParseAddr(clientOuter),
		Selectors: ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix(senderAddr + "/32"))},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(clientAddr(i), 32))},
		},
	}
	// The SPIs of each direction follow one another: each queue gets its share.
	const firstSPI, firstInbound = 0x1000, 0x1000_0000
	sa.ID = ipsec.SAID{SPI: ipsec.SPI(firstSPI + i), Dst: sa.Remote, Proto: ipsec.ESP}
	if d == ipsec.Inbound {
		sa.ID.SPI, sa.ID.Dst = ipsec.SPI(firstInbound+i), sa.Local
	}
	if encap {
		sa.Encap = &ipsec.Encap{LocalPort: nattPort, RemotePort: nattPort}
	}
	return sa, nil
}

// mirrored is an SA as the other end has it.
func mirrored(sa ipsec.SA) ipsec.SA {
	sa.Local, sa.Remote = sa.Remote, sa.Local
	sa.Selectors.Local, sa.Selectors.Remote = sa.Selectors.Remote, sa.Selectors.Local
	if sa.Direction == ipsec.Inbound {
		sa.Direction = ipsec.Outbound
	} else {
		sa.Direction = ipsec.Inbound
	}
	return sa
}

// startPlugin starts a plugin in e, gives it its SAs and leads the traffic to it.
func (e *end) startPlugin(tb netlab.TB, o Options, path, outer, behind string, sas []ipsec.SA) (offload.Info, error) {
	ctx := tb.Context()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path) // Kill comes first and asks
	process := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: pluginrpc.Handshake(), Plugins: pluginrpc.Plugins(nil), Cmd: cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, AutoMTLS: true, StartTimeout: startLimit,
		Logger: hclog.New(&hclog.LoggerOptions{Name: "plugin", Level: hclog.Warn, Output: lines{tb}}),
	})
	tb.Cleanup(process.Kill)
	var engine *pluginrpc.Client
	err := e.ns.Do(func() (err error) {
		engine, err = pluginrpc.Dispense(process)
		return err
	})
	if err != nil {
		return offload.Info{}, fmt.Errorf("throughput: start %s: %w", path, err)
	}
	if e.pid, err = strconv.Atoi(process.ID()); err != nil {
		return offload.Info{}, fmt.Errorf("throughput: find the process of %s: %w", path, err)
	}
	config := offload.Config{Boot: 1, Addresses: []netip.Addr{netip.MustParseAddr(outer)}, Settings: o.Settings}
	info, err := engine.Configure(ctx, config)
	if err != nil {
		return info, unable{err}
	}
	if err := e.openNATT(tb, info, outer); err != nil {
		return info, err
	}
	if err := install(ctx, engine, sas); err != nil {
		return info, err
	}
	return info, e.lead(info.PlaintextInterface, behind)
}

// unable is a plugin that takes no configuration on this machine.
type unable struct{ reason error }

func (u unable) Error() string { return "throughput: configure the plugin: " + u.reason.Error() }

func (u unable) Unwrap() error { return u.reason }

// lines gives a log to a TB.
type lines struct{ tb netlab.TB }

// Write takes a line.
func (l lines) Write(b []byte) (int, error) {
	l.tb.Logf("%s", b)
	return len(b), nil
}

// install gives a plugin its SAs.
func install(ctx context.Context, engine *pluginrpc.Client, sas []ipsec.SA) error {
	placements, err := engine.Install(ctx, 0, offload.Active, sas...)
	if err != nil {
		return fmt.Errorf("throughput: install %d SAs: %w", len(sas), err)
	}
	for _, p := range placements {
		if p.Err != nil {
			return fmt.Errorf("throughput: install %v: %w", p.ID, p.Err)
		}
	}
	return nil
}

// openNATT opens the daemon's socket of port 4500 where the dataplane wants one.
func (e *end) openNATT(tb netlab.TB, info offload.Info, outer string) error {
	if info.OwnsNATT {
		return nil
	}
	return e.ns.Do(func() error {
		conn, err := netio.Listen(netip.AddrPortFrom(netip.MustParseAddr(outer), nattPort), netio.Options{NATT: true, Socket: info.SocketOptions})
		if err != nil {
			return fmt.Errorf("throughput: open port %d: %w", nattPort, err)
		}
		tb.Cleanup(func() { conn.Close() })
		return nil
	})
}

// lead routes a network through an interface; an empty name means that policies
// take the packets from wherever they are routed to.
func (e *end) lead(device, network string) error {
	if device == "" {
		device = "wan"
	}
	_, dst, err := net.ParseCIDR(network)
	if err != nil {
		return fmt.Errorf("throughput: %w", err)
	}
	err = e.ns.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{
			LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK, Src: e.inner(),
		})
	})
	if err != nil {
		return fmt.Errorf("throughput: route %s to %s: %w", network, device, err)
	}
	return nil
}

// inner is the address that answers come from.
func (e *end) inner() net.IP {
	if e.ns.Name() == "gateway" {
		return net.ParseIP(senderAddr)
	}
	return clientAddr(0).AsSlice()
}
