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

// flows is how many packets take turns, each of a flow of its own.
const flows = 64

// player plays packets to dataplanes of this process, in a namespace of its own.
type player struct {
	dir        string
	eal        *dpdk.EAL
	cryptodevs string // the setting
	ports      int    // devices made so far
	files      int    // capture files written so far
}

// newPlayer moves the calling goroutine, for good, to a namespace without anything.
func newPlayer(dir, cryptodevs string) (*player, error) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	return &player{dir: dir, eal: new(dpdk.EAL), cryptodevs: cryptodevs}, nil
}

// A port is how packets come to the worker.
type port int

const (
	// fromNull: buffers that get a head only, as if a card had filled them.
	fromNull port = iota
	// fromFile: packets that the worker itself copies out of a capture file.
	fromFile
)

// measure has one worker encrypt packets of a size for a while, and returns how many
// a second.
func (p *player) measure(ctx context.Context, from port, a ipsec.Algorithms, octets int, length time.Duration) (rate float64, err error) {
	name, device, err := p.device(from, octets)
	if err != nil {
		return 0, err
	}
	e := dpdk.New(dpdk.Options{EAL: p.eal})
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := p.configure(ctx, e, device); err != nil {
		return 0, err
	}
	sa := association(a)
	if err := wireUp("evgx0", sa.Local, sa.Remote); err != nil {
		return 0, err
	}
	if err := install(ctx, e, sa); err != nil {
		return 0, err
	}
	if from == fromNull {
		s, err := stamp(name, octets, nil)
		if err != nil {
			return 0, err
		}
		defer func() {
			s.stop()
			err = errors.Join(err, e.Close())
			s.free()
		}()
	}
	return p.watch(ctx, e, sa.ID, length, worker)
}

// configure has one worker poll devices.
func (p *player) configure(ctx context.Context, e *dpdk.Engine, devices string) error {
	local, _ := ends()
	_, err := e.Configure(ctx, offload.Config{Boot: 1, Addresses: []netip.Addr{local}, Settings: map[string]string{
		"ports": devices, "eal": "--no-huge --no-pci -m 512",
		"frame": "9216", "buffers": "4096", "max-sas": "64", "idle": "spin", "cryptodevs": p.cryptodevs,
	}})
	return err
}

func install(ctx context.Context, e *dpdk.Engine, sa ipsec.SA) error {
	placed, err := e.Install(ctx, offload.NewEpoch(1, 0), offload.Active, sa)
	if err == nil {
		err = placed[0].Err
	}
	return err
}

// device names a new device that plays packets of a size, and says what it takes to
// make it.
func (p *player) device(from port, octets int) (name, device string, err error) {
	n := p.ports
	p.ports++
	if from == fromNull {
		name = fmt.Sprintf("net_null%d", n)
		return name, fmt.Sprintf("%s,size=%d", name, octets+14), nil
	}
	file, err := p.capture(octets)
	name = fmt.Sprintf("net_pcap%d", n)
	return name, fmt.Sprintf("%s,rx_pcap=%s,infinite_rx=1", name, file), err
}

// patience is how long the worker may take to get its turns.
const patience = time.Minute

// watch counts packets of the SA while the worker has a processor for as long as said,
// by a clock that leaves out what is not its work, after a first tenth of it. It
// returns how many a second of that passed.
func (p *player) watch(ctx context.Context, e *dpdk.Engine, id ipsec.SAID, length time.Duration, clock func() time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	first, err := reach(ctx, clock, clock()+length/10)
	if err != nil {
		return 0, err
	}
	before := passed(ctx, e, id)
	last, err := reach(ctx, clock, first+length)
	if err != nil {
		return 0, err
	}
	after := passed(ctx, e, id)
	if after == before {
		stats, err := e.Stats(ctx)
		return 0, errors.Join(fmt.Errorf("no packet passed; what belongs to no SA: %v", stats), err)
	}
	return float64(after-before) / (last - first).Seconds(), nil
}

// worker is how long the worker has had a processor.
func worker() time.Duration { return busy(os.Getpid(), "evg-loop0") }

// reach waits until a clock of the worker shows so much, and returns what it shows.
func reach(ctx context.Context, clock func() time.Duration, least time.Duration) (time.Duration, error) {
	for {
		if now := clock(); now >= least {
			return now, nil
		}
		if err := wait(ctx, 5*time.Millisecond); err != nil {
			return 0, fmt.Errorf("wait for the worker to get a processor: %w", err)
		}
	}
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

// passed is how many packets an SA has carried.
func passed(ctx context.Context, e *dpdk.Engine, id ipsec.SAID) uint64 {
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

// ends are those of the tunnel.
func ends() (local, remote netip.Addr) {
	return netip.AddrFrom4([4]byte{192, 0, 2, 1}), netip.AddrFrom4([4]byte{192, 0, 2, 2})
}

// association is an outbound SA for all packets of IPv4.
func association(a ipsec.Algorithms) ipsec.SA {
	local, remote := ends()
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

// capture writes a capture file with one packet of each flow, as hosts behind the
// next port of net_pcap send them.
func (p *player) capture(octets int) (file string, err error) {
	to := net.HardwareAddr{0x02, 0x70, 0x63, 0x61, 0x70, byte(p.files)} // the driver numbers the addresses of its devices
	file = filepath.Join(p.dir, fmt.Sprintf("%d.pcap", p.files))
	p.files++
	return file, os.WriteFile(file, packets(to, octets), 0o600)
}

// packets are the contents of a capture file.
func packets(to net.HardwareAddr, octets int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b2c3d4)
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for i := range flows {
		f := frame(to, ipv4(octets, byte(i)))
		b = append(b, make([]byte, 8)...)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = binary.LittleEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

// frame is a packet with its Ethernet header.
func frame(to net.HardwareAddr, packet []byte) []byte {
	b := append([]byte(nil), to...)
	b = append(b, 2, 0, 0, 0, 0, 2, 8, 0)
	return append(b, packet...)
}

// ipv4 is a UDP packet of IPv4, without a checksum of UDP.
func ipv4(octets int, flow byte) []byte {
	p := make([]byte, octets)
	header4(p, unix.IPPROTO_UDP, [4]byte{10, 1, 0, flow}, [4]byte{10, 2, 0, flow})
	binary.BigEndian.PutUint16(p[24:], uint16(octets-20))
	return p
}

// header4 writes a header of IPv4 for all of p.
func header4(p []byte, proto byte, from, to [4]byte) {
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], from[:])
	copy(p[16:], to[:])
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum))
}
