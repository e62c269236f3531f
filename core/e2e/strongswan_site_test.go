package e2e_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
	"github.com/evergate/evergate/core/netlab/vici"
)

const (
	// limit bounds waits that take milliseconds on an idle machine.
	limit  = 60 * time.Second
	secret = "correct horse battery staple"
)

// entry is an entry of phase1 or phase2 in the YAML: its keys and their values.
type entry map[string]string

// with returns the entry with other values for some keys, "" for none.
func (e entry) with(over entry) entry {
	e = maps.Clone(e)
	for key, value := range over {
		if value == "" {
			delete(e, key)
			continue
		}
		e[key] = value
	}
	return e
}

func (e entry) String() string {
	lines := make([]string, 0, len(e))
	for _, key := range slices.Sorted(maps.Keys(e)) {
		lines = append(lines, key+": "+e[key])
	}
	return "  - " + strings.Join(lines, "\n    ") + "\n"
}

// config is a configuration of these entries. The log says everything.
func config(phase1, phase2 []entry) string {
	var b strings.Builder
	b.WriteString("log: {level: debug}\nphase1:\n")
	for _, e := range phase1 {
		b.WriteString(e.String())
	}
	b.WriteString("phase2:\n")
	for _, e := range phase2 {
		b.WriteString(e.String())
	}
	return b.String()
}

// server1 is the phase 1 of a dialup server named vpn1 that client dials in to.
func server1() entry {
	return entry{
		"name": "vpn1", "type": "dynamic", "interface": "port2", "local-gw": gateway.GatewayAddr,
		"proposal": "[aes128-sha256]", "dhgrp": "[31]", "localid": "gw.example", "psksecret": `"` + secret + `"`,
	}
}

// server2 is the phase 2 that goes with server1.
func server2() entry {
	return entry{"name": "vpn1", "phase1name": "vpn1", "proposal": "[aes128gcm]"}
}

// client is a connection that fits server1 and server2, with one child named net
// from the client's network to the server's.
func client() strongswan.Connection {
	return strongswan.Connection{
		Name: "home", RemoteAddrs: []string{gateway.GatewayAddr}, Proposals: []string{"aes128-sha256-x25519"},
		Local:  strongswan.Auth{ID: strongswan.FQDN("client.example")},
		Remote: strongswan.Auth{ID: strongswan.FQDN("gw.example")},
		PSK:    secret,
		Children: []strongswan.Child{{
			Name: "net", LocalTS: []string{gateway.ClientNet}, RemoteTS: []string{gateway.ServerNet}, Proposals: []string{"aes128gcm16"},
		}},
	}
}

// ends are a gateway and a client, one of them Evergate and the other strongSwan,
// and what is between and behind them.
type ends struct {
	t *testing.T
	*gateway.Site
	evergate *gateway.Daemon
	charon   *strongswan.Daemon
	name     string // of the tunnel at Evergate; charon's is home, its child net
}

// dialIn starts Evergate as the gateway and charon as the client, which has not
// dialled yet.
func dialIn(t *testing.T, config string, settings strongswan.Settings, connections ...strongswan.Connection) *ends {
	t.Helper()
	d := &ends{t: t, Site: gateway.NewSite(netlab.New(t)), name: "vpn1_0"}
	d.evergate = startGateway(d.Gateway, config)
	d.charon = strongswan.Start(d.Client, settings)
	d.charon.Load(connections...)
	return d
}

// static1 is the phase 1 of a client named office that dials in to responder.
func static1() entry {
	return entry{
		"name": "office", "type": "static", "interface": "wan", "local-gw": gateway.ClientAddr, "remote-gw": gateway.GatewayAddr,
		"proposal": "[aes128-sha256]", "dhgrp": "[31]", "localid": "client.example", "peertype": "one", "peerid": "gw.example",
		"psksecret": `"` + secret + `"`, "add-route": "enable",
	}
}

// static2 is the phase 2 that goes with static1.
func static2() entry {
	return entry{
		"name": "office", "phase1name": "office", "proposal": "[aes128gcm]",
		"src-subnet": gateway.ClientNet, "dst-subnet": gateway.ServerNet, "auto-negotiate": "enable",
	}
}

// responder is charon's side of static1 and static2.
func responder() strongswan.Connection {
	c := client()
	c.LocalAddrs, c.RemoteAddrs = []string{gateway.GatewayAddr}, nil
	c.Local, c.Remote = c.Remote, c.Local
	c.Children[0].LocalTS, c.Children[0].RemoteTS = c.Children[0].RemoteTS, c.Children[0].LocalTS
	return c
}

// dialOut starts charon as the gateway, and then Evergate as the client.
func dialOut(t *testing.T, config string, settings strongswan.Settings, connections ...strongswan.Connection) *ends {
	t.Helper()
	d := &ends{t: t, Site: gateway.NewSite(netlab.New(t)), name: "office"}
	d.charon = strongswan.Start(d.Gateway, settings)
	d.charon.Load(connections...)
	d.evergate = startGateway(d.Client, config)
	return d
}

// connect is dialIn with server1, server2 and client, and has the tunnel up.
func connect(t *testing.T) *ends {
	t.Helper()
	d := dialIn(t, config([]entry{server1()}, []entry{server2()}), strongswan.Settings{}, client())
	d.up("net")
	return d
}

// within returns d for a subtest, which ends in the place of its parent when
// something fails.
func (d *ends) within(t *testing.T) *ends {
	sub := *d
	sub.t = t
	return &sub
}

// up has the client bring up a child.
func (d *ends) up(child string) {
	d.t.Helper()
	if err := d.charon.Initiate(child); err != nil {
		d.t.Fatalf("the client does not get its tunnel: %v\nthe gateway's log ends:\n%s", err, d.evergate.Log().Tail(20))
	}
}

// ping sends three echo requests from the client's network to the server.
func (d *ends) ping() {
	d.t.Helper()
	d.pingTo(gateway.ServerHost, gateway.ClientHost)
}

func (d *ends) pingTo(to, from string) {
	d.t.Helper()
	if err := pings(d.Client, to, from); err != nil {
		d.t.Fatalf("through the tunnel: %v\nthe gateway's tunnel is %+v", err, d.evergate.Tunnels(""))
	}
}

// pings returns nil when three echo requests in a row are answered.
func pings(ns *netlab.Namespace, to, from string) error {
	return ns.Echo(ns.Lab().TB().Context(), to, from, 3)
}

// stream starts a numbered stream from the client's network to the server.
func (d *ends) stream() *netlab.Streaming {
	d.t.Helper()
	return netlab.Stream{From: d.Client, Source: gateway.ClientHost, To: d.Server, Dest: gateway.ServerHost}.Start(d.t)
}

// wantGone waits until the gateway has nothing of the tunnel any more. C13: its
// routes are gone when it is.
func (d *ends) wantGone(name string) {
	d.t.Helper()
	d.evergate.WaitGone(name, limit)
	if d.Gateway.HasRoute(gateway.ClientNet) {
		d.t.Errorf("tunnel %s is gone, its route to %s is not", name, gateway.ClientNet)
	}
}

// wantPackets waits until each pair of SAs of a tunnel is listed with n packets in
// each direction. A packet may be answered before it is counted.
func (d *ends) wantPackets(name string, n uint64) {
	d.t.Helper()
	netlab.Eventually(d.t, limit, fmt.Sprintf("%s has carried %d packets each way", name, n), func() error {
		for _, p := range d.evergate.Tunnel(name).Proxies {
			for _, sa := range p.SAs {
				if sa.Packets.In != n || sa.Packets.Out != n {
					return fmt.Errorf("%s has carried %+v", p.Name, sa.Packets)
				}
			}
		}
		return nil
	})
}

// pair returns the only pair of SAs of a tunnel.
func pair(t *testing.T, tunnel diag.Tunnel) diag.SA {
	t.Helper()
	if len(tunnel.Proxies) != 1 || len(tunnel.Proxies[0].SAs) != 1 {
		t.Fatalf("tunnel %s has the phase 2 entries %+v, want one with one pair of SAs", tunnel.Name, tunnel.Proxies)
	}
	return tunnel.Proxies[0].SAs[0]
}

// unload names a connection for charon to forget.
func unload(connection string) vici.Message {
	var m vici.Message
	m.Set("name", connection)
	return m
}

// hexSPI writes an SPI as the tunnel list does.
func hexSPI(spi uint32) string { return fmt.Sprintf("%08x", spi) }

// spiOf reads an SPI of the tunnel list into the octets of a packet.
func spiOf(t *testing.T, s string) []byte {
	t.Helper()
	octets, err := hex.DecodeString(s)
	if err != nil || len(octets) != 4 {
		t.Fatalf("the tunnel list has the SPI %q", s)
	}
	return octets
}
