//go:build dpdk

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/dpdk"
	"github.com/evergate/evergate/plugins/softesp/esp"
)

// The octets of headers: of Ethernet, with IPv4 before ESP, and of what a worker reads
// of an inner packet in clear, with UDP behind IPv4.
const (
	etherHead = 14
	outerHead = etherHead + 20
	innerHead = etherHead + 20 + 8
)

// sealer is the peer: each packet that it seals has the next number.
type sealer struct {
	cipher  *esp.Cipher
	payload int // octets of inner packets
	sa      ipsec.SA
	seq     uint64
}

func newSealer(sa ipsec.SA, octets int) (*sealer, error) {
	c, err := esp.New(sa.Algorithms, sa.Encryption, sa.Integrity)
	return &sealer{cipher: c, payload: octets, sa: sa}, err
}

// around is an outer packet with room for ESP around an inner one.
func (s *sealer) around(inner []byte) []byte {
	outer := append(make([]byte, outerHead-etherHead+s.cipher.HeaderLen()), inner...)
	outer = append(outer, make([]byte, s.frame()-etherHead-len(outer))...)
	remote, local := s.sa.Remote.As4(), s.sa.Local.As4()
	header4(outer, unix.IPPROTO_ESP, remote, local)
	return outer
}

// frame is the octets of a frame with a sealed packet.
func (s *sealer) frame() int { return outerHead + s.cipher.Len(s.payload) }

// seal seals the packet that p has room for.
func (s *sealer) seal(p []byte) {
	s.seq++
	s.cipher.Seal(p, s.payload, unix.IPPROTO_IPIP, s.sa.ID.SPI, s.seq, s.seq)
}

// inbound has one worker decrypt packets of a size for a while and send them by a
// second port, and returns how many a second.
func (p *player) inbound(ctx context.Context, a ipsec.Algorithms, octets int, length time.Duration) (rate float64, err error) {
	sa := association(a)
	sa.Direction, sa.ID.Dst = ipsec.Inbound, sa.Local
	peer, err := newSealer(sa, octets)
	if err != nil {
		return 0, err
	}
	from, to := fmt.Sprintf("net_null%d", p.ports), fmt.Sprintf("net_null%d", p.ports+1)
	p.ports += 2
	e := dpdk.New(dpdk.Options{EAL: p.eal})
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := p.configure(ctx, e, fmt.Sprintf("%s,size=%d;%s,no-rx=1", from, peer.frame(), to)); err != nil {
		return 0, err
	}
	if err := errors.Join(wireUp("evgx0", sa.Local, sa.Remote), leadOn()); err != nil {
		return 0, err
	}
	if err := install(ctx, e, sa); err != nil {
		return 0, err
	}
	s, err := stamp(from, octets, peer)
	if err != nil {
		return 0, err
	}
	defer func() {
		s.stop()
		err = errors.Join(err, e.Close())
		s.free()
	}()
	if err := settle(ctx, e); err != nil {
		return 0, err
	}
	before, err := toHost(ctx, e)
	if err != nil {
		return 0, err
	}
	rate, err = p.watch(ctx, e, sa.ID, length, func() time.Duration { return worker() - s.spent() })
	if err != nil {
		return 0, err
	}
	after, err := toHost(ctx, e)
	if err == nil && after != before {
		err = fmt.Errorf("%d packets went to the host", after-before)
	}
	return rate, err
}

// leadOn has the host send what comes out of the tunnel by the second port, so that
// the dataplane does.
func leadOn() error {
	local, next := netip.AddrFrom4([4]byte{198, 51, 100, 1}), netip.AddrFrom4([4]byte{198, 51, 100, 2})
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return err
	}
	if err := wireUp("evgx1", local, next); err != nil {
		return err
	}
	out, err := netlink.LinkByName("evgx1")
	if err != nil {
		return err
	}
	tun, err := netlink.LinkByName("evg0")
	if err != nil {
		return err
	}
	net16 := func(b byte) *net.IPNet { return &net.IPNet{IP: net.IPv4(10, b, 0, 0), Mask: net.CIDRMask(16, 32)} }
	return errors.Join(
		netlink.RouteAdd(&netlink.Route{LinkIndex: out.Attrs().Index, Dst: net16(2), Gw: next.AsSlice()}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: tun.Attrs().Index, Dst: net16(1)}), // where they come from
	)
}

// settle waits until packets pass the host by: the first of each flow go there.
func settle(ctx context.Context, e *dpdk.Engine) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for last := uint64(0); ; {
		before := worker()
		if _, err := reach(ctx, worker, before+20*time.Millisecond); err != nil {
			return err
		}
		now, err := toHost(ctx, e)
		if err != nil || now > 0 && now == last {
			return err
		}
		last = now
	}
}

// toHost is how many decrypted packets the host got.
func toHost(ctx context.Context, e *dpdk.Engine) (uint64, error) {
	stats, err := e.Stats(ctx)
	var n uint64
	for _, s := range stats {
		if s.Name == "to-tun" || s.Name == "tun-full" {
			n += s.Value
		}
	}
	return n, err
}
