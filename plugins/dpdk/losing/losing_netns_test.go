//go:build dpdk

package losing_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
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

// process has what a process starts once.
var process = new(dpdk.EAL)

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
	g := &gateway{Engine: dpdk.New(dpdk.Options{Version: "test", EAL: process})}
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
	g.install(t, 0x1000)
	err = ns.Do(func() (err error) {
		g.tun, err = net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(behind, 9)))
		return err
	})
	if err != nil {
		t.Fatalf("There is no way to the other side: %v.", err)
	}
	return g
}

// install gives the gateway an SA, and remove takes it away.
func (g *gateway) install(t *testing.T, spi ipsec.SPI) {
	t.Helper()
	everything := []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	sa := ipsec.SA{
		ID: ipsec.SAID{SPI: spi, Dst: remote, Proto: ipsec.ESP}, Direction: ipsec.Outbound, Tunnel: 1, Generation: 1,
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

func (g *gateway) remove(t *testing.T) {
	t.Helper()
	if gone, err := g.Delete(t.Context(), offload.NewEpoch(1, 1), g.sa); err != nil || len(gone) != 1 {
		t.Fatalf("The SA should be deleted, got %+v, %v.", gone, err)
	}
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

// lose has the gateway's device keep one packet of its SA.
func (g *gateway) lose(t *testing.T) *losing.Device {
	t.Helper()
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
	return device
}

// TestCryptodevThatLosesAPacket: nobody waits for it for ever, it is counted, and
// packets pass again when the device has rested. The device finds the packet and its
// session as they were when it is late, though the SA is gone. That Close has nothing to
// say tells that what came late was dealt with.
func TestCryptodevThatLosesAPacket(t *testing.T) { // B7
	g := newGateway(t, "crypto_openssl")
	device := g.lose(t)
	g.remove(t)
	g.install(t, 0x1001)
	device.Relent()
	err := netlab.Poll(t.Context(), patience, func() error {
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
	if err := errors.Join(g.tun.Close(), g.Close()); err != nil {
		t.Errorf("The dataplane did not end cleanly: %v.", err)
	}
	if undone := device.Stop(); undone != 0 {
		t.Error("The device should have done late what it had kept.")
	}
}

// TestCryptodevThatIsLateForClose: what comes when nobody has packets for the device any
// more is dealt with at the end.
func TestCryptodevThatIsLateForClose(t *testing.T) { // B7
	g := newGateway(t, "crypto_openssl")
	device := g.lose(t)
	g.remove(t)
	device.Relent()
	if err := errors.Join(g.tun.Close(), g.Close()); err != nil {
		t.Errorf("The dataplane did not end cleanly: %v.", err)
	}
	if undone := device.Stop(); undone != 0 {
		t.Error("The device should have done late what it had kept.")
	}
}

// TestCryptodevThatKeepsAPacket: what never comes back is left to the device, with the
// session of an SA that is gone, and Close says so.
func TestCryptodevThatKeepsAPacket(t *testing.T) { // B7
	g := newGateway(t, "crypto_openssl")
	device := g.lose(t)
	g.remove(t)
	err := errors.Join(g.tun.Close(), g.Close())
	if err == nil || !strings.Contains(err.Error(), "2 packets and sessions were lost") {
		t.Errorf("A packet and a session should be said to be lost, got: %v.", err)
	}
	if undone := device.Stop(); undone != 1 {
		t.Errorf("The device should have kept one packet, got %d.", undone)
	}
}
