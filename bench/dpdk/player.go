//go:build dpdk

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// flows is how many packets a file has, each of a flow of its own.
const flows = 64

// player plays packets to dataplanes of this process, in a namespace of its own.
type player struct {
	dir   string
	eal   *dpdk.EAL
	ports int // devices made so far
}

// newPlayer moves the calling goroutine, for good, to a namespace without anything.
func newPlayer(dir string) (*player, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return &player{dir: dir, eal: new(dpdk.EAL)}, nil
}

// measure has one worker encrypt packets of a size for a while, and returns how many
// a second.
func (p *player) measure(ctx context.Context, a ipsec.Algorithms, octets int, length time.Duration) (rate float64, err error) {
	// The driver numbers the addresses of its devices.
	mac := net.HardwareAddr{0x02, 0x70, 0x63, 0x61, 0x70, byte(p.ports)}
	name := fmt.Sprintf("net_pcap%d", p.ports)
	p.ports++
	file := filepath.Join(p.dir, name)
	if err := os.WriteFile(file, packets(mac, octets), 0o600); err != nil {
		return 0, err
	}
	e := dpdk.New(dpdk.Options{EAL: p.eal})
	defer func() { err = errors.Join(err, e.Close()) }()
	local, remote := netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{192, 0, 2, 2})
	_, err = e.Configure(ctx, offload.Config{Boot: 1, Addresses: []netip.Addr{local}, Settings: map[string]string{
		"ports": fmt.Sprintf("%s,rx_pcap=%s,infinite_rx=1", name, file), "eal": "--no-huge --no-pci -m 512",
		"frame": "9216", "buffers": "4096", "max-sas": "64", "idle": "spin",
	}})
	if err != nil {
		return 0, err
	}
	if err := wireUp("evgx0", local, remote); err != nil {
		return 0, err
	}
	sa := outbound(a, local, remote)
	placed, err := e.Install(ctx, offload.NewEpoch(1, 0), offload.Active, sa)
	if err == nil {
		err = placed[0].Err
	}
	if err != nil {
		return 0, err
	}
	return p.watch(ctx, e, sa.ID, length)
}

// watch counts for a while, after a first tenth of it: packets of the SA for each
// second that the worker had a processor.
func (p *player) watch(ctx context.Context, e *dpdk.Engine, id ipsec.SAID, length time.Duration) (float64, error) {
	if err := wait(ctx, length/10); err != nil {
		return 0, err
	}
	before, start := sent(ctx, e, id), busy(os.Getpid(), "evg-loop0")
	if err := wait(ctx, length); err != nil {
		return 0, err
	}
	after, end := sent(ctx, e, id), busy(os.Getpid(), "evg-loop0")
	if after == before || end == start {
		return 0, errors.New("no packet was sent")
	}
	return float64(after-before) / (end - start).Seconds(), nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func sent(ctx context.Context, e *dpdk.Engine, id ipsec.SAID) uint64 {
	for c, err := range e.Export(ctx, offload.AllGroups) {
		if err == nil && c.ID == id {
			return c.Packets
		}
	}
	return 0
}

// wireUp gives the host's end of the port an address and a neighbour.
func wireUp(name string, local, remote netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return errors.Join(
		netlink.LinkSetMTU(link, 9000),
		netlink.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: local.AsSlice(), Mask: net.CIDRMask(24, 32)}}),
		netlink.NeighAdd(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: remote.AsSlice(), State: netlink.NUD_PERMANENT, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		}))
}

// outbound is an SA for all packets of IPv4.
func outbound(a ipsec.Algorithms, local, remote netip.Addr) ipsec.SA {
	n, _ := a.EncryptionKeyLen() // of algorithms that we name
	m, _ := a.Integrity.KeyLen() // likewise
	key := make([]byte, n+m)     // how fast a cipher is does not depend on its key
	any4 := []ipsec.TrafficSelector{ipsec.AnySelector(false)}
	return ipsec.SA{
		ID: ipsec.SAID{SPI: 0x1000, Dst: remote, Proto: ipsec.ESP}, Direction: ipsec.Outbound, Tunnel: 1, Generation: 1,
		Algorithms: a, Encryption: ipsec.NewKey(key[:n:n]), Integrity: ipsec.NewKey(key[n:]),
		Local: local, Remote: remote, Selectors: ipsec.Selectors{Local: any4, Remote: any4},
		Sequence: ipsec.Sequence{Ceiling: 1<<32 - 1},
	}
}

// packets is a capture file with one packet of each flow, as hosts behind the port
// send them.
func packets(to net.HardwareAddr, octets int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i := range flows {
		n := uint32(octets + 14)
		b = append(b, make([]byte, 8)...)
		b = binary.LittleEndian.AppendUint32(b, n)
		b = binary.LittleEndian.AppendUint32(b, n)
		b = append(b, to...)
		b = append(b, 2, 0, 0, 0, 0, 2, 8, 0)
		b = append(b, ipv4(octets, byte(i))...)
	}
	return b
}

// ipv4 is a UDP packet of IPv4, without a checksum of UDP.
func ipv4(octets int, flow byte) []byte {
	p := make([]byte, octets)
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(octets))
	copy(p[12:], []byte{10, 1, 0, flow, 10, 2, 0, flow})
	binary.BigEndian.PutUint16(p[24:], uint16(octets-20))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum))
	return p
}
