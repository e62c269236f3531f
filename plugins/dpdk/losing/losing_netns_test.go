//go:build dpdk

package losing_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
	"github.com/evergate/evergate/plugins/dpdk/losing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

var (
	local, remote = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	inner, behind = netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.19.0.1")
)

// gateway has one outbound SA, to a port that drops what it sends.
type gateway struct {
	*dpdk.Engine
	sa  ipsec.SAID
	tun *net.UDPConn
}

func newGateway(t *testing.T, cryptodev string) *gateway {
	t.Helper()
	ns := netlab.New(t).Namespace("gateway")
	ns.Loopback(inner.String() + "/32")
	g := &gateway{Engine: dpdk.New(dpdk.Options{Version: "test", EAL: new(dpdk.EAL)})}
	err := ns.Do(func() error {
		_, err := g.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{local}, Settings: map[string]string{
			"ports": "net_null0,no-rx=1", "buffers": "2048", "max-sas": "64", "cryptodevs": cryptodev,
		}})
		return err
	})
	if err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
	for _, args := range [][]string{
		{"address", "add", local.String() + "/24", "dev", "evgx0"},
		{"neighbour", "add", remote.String(), "lladdr", "02:00:00:00:00:01", "dev", "evgx0"},
		{"route", "add", behind.String(), "dev", "evg0", "src", inner.String()},
	} {
		if out, err := ns.Output(exec.CommandContext(t.Context(), "ip", args...)); err != nil {
			t.Fatalf("ip %v failed: %v: %s", args, err, out)
		}
	}
	g.install(t)
	err = ns.Do(func() (err error) {
		g.tun, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(behind, 9)))
		return err
	})
	if err != nil {
		t.Fatalf("There is no way to the other side: %v.", err)
	}
	return g
}

func (g *gateway) install(t *testing.T) {
	t.Helper()
	everything := []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	sa := ipsec.SA{
		ID: ipsec.SAID{SPI: 0x1000, Dst: remote, Proto: ipsec.ESP}, Direction: ipsec.Outbound, Tunnel: 1, Generation: 1,
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA2_256_128},
		Encryption: ipsec.NewKey(make([]byte, 16)), Integrity: ipsec.NewKey(make([]byte, 32)),
		Local: local, Remote: remote, Selectors: ipsec.Selectors{Local: everything, Remote: everything},
		Sequence: ipsec.Sequence{Ceiling: 1<<32 - 1},
	}
	if placed, err := g.Install(t.Context(), offload.NewEpoch(1, 1), offload.Active, sa); err != nil || placed[0].Err != nil {
		t.Fatalf("The SA should be installed, got %+v, %v.", placed, err)
	}
	g.sa = sa.ID
}

// send has the SA deal with one packet more, and returns what it counts then.
func (g *gateway) send(ctx context.Context) (now offload.Counters, err error) {
	before, err := g.count(ctx)
	if err != nil {
		return now, err
	}
	if _, err := g.tun.Write([]byte("inner")); err != nil {
		return now, err
	}
	err = netlab.Poll(ctx, patience, func() error {
		if now, err = g.count(ctx); err == nil && now.Packets == before.Packets && now.Drops == before.Drops {
			err = errors.New("the packet is still under way")
		}
		return err
	})
	return now, err
}

func (g *gateway) count(ctx context.Context) (offload.Counters, error) {
	for c, err := range g.Export(ctx, offload.AllGroups) {
		if err != nil || c.ID == g.sa {
			return c, err
		}
	}
	return offload.Counters{}, fmt.Errorf("%v is not installed", g.sa)
}

func (g *gateway) lost(t *testing.T) uint64 {
	t.Helper()
	stats, err := g.Stats(t.Context())
	for _, s := range stats {
		if s.Name == "cipher-lost" {
			return s.Value
		}
	}
	t.Fatalf("There is no statistic of what was lost: %v, %v.", stats, err)
	return 0
}

// TestCryptodevThatLosesAPacket: nobody waits for it for ever, it is counted, and
// packets pass again when the device has rested. That Close has nothing to say tells
// that what came late was dealt with.
func TestCryptodevThatLosesAPacket(t *testing.T) { // B7
	g := newGateway(t, "crypto_openssl")
	device, err := losing.Start("crypto_openssl", 1)
	if err != nil {
		t.Fatalf("The device cannot be made to lose anything: %v.", err)
	}
	c, err := g.send(t.Context())
	if want := (offload.Drops{Queue: 1}); err != nil || c.Packets != 0 || c.Drops != want {
		t.Errorf("The packet that was lost should be one dropped for a queue, got %d packets, %+v, %v.", c.Packets, c.Drops, err)
	}
	if lost := g.lost(t); lost != 1 {
		t.Errorf("One packet should be said to be lost, got %d.", lost)
	}
	device.Relent()
	err = netlab.Poll(t.Context(), patience, func() error {
		c, err := g.send(t.Context())
		if err == nil && c.Packets == 0 {
			err = errors.New("all packets were dropped")
		}
		return err
	})
	if err != nil {
		t.Errorf("Packets should pass again: %v.", err)
	}
	if lost := g.lost(t); lost != 1 {
		t.Errorf("No more packets should be said to be lost, got %d.", lost)
	}
	device.Stop()
	if err := errors.Join(g.tun.Close(), g.Close()); err != nil {
		t.Errorf("The dataplane did not end cleanly: %v.", err)
	}
}
