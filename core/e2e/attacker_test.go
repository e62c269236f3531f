package e2e_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// attacker sends what it likes from whatever address it likes, at a pace that
// leaves the links of the lab room for others.
type attacker struct {
	t    *testing.T
	fd   int
	rand *rand.Rand
	tick *time.Ticker
	sent int
}

// The attacker sends burst packets every pause.
const (
	burst = 20
	pause = 5 * time.Millisecond
)

func newAttacker(t *testing.T, ns *netlab.Namespace) *attacker {
	t.Helper()
	a := &attacker{t: t, rand: rand.New(rand.NewPCG(1, 2)), tick: time.NewTicker(pause)}
	err := ns.Do(func() (err error) {
		a.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		t.Fatalf("open the attacker's socket: %v", err)
	}
	t.Cleanup(func() {
		a.tick.Stop()
		_ = unix.Close(a.fd)
	})
	return a
}

// ip sends a packet to the gateway, in fragments when it is large.
func (a *attacker) ip(proto byte, src netip.Addr, payload []byte) {
	const most = 1480
	for at, id := 0, a.rand.Uint32(); at == 0 || at < len(payload); at += most {
		piece := payload[at:min(len(payload), at+most)]
		fragment := uint16(at / 8)
		if at+most < len(payload) {
			fragment |= 0x2000 // more follow
		}
		a.packet(proto, src, uint16(id), fragment, piece)
	}
}

func (a *attacker) packet(proto byte, src netip.Addr, id, fragment uint16, payload []byte) {
	p := make([]byte, 20, 20+len(payload))
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	binary.BigEndian.PutUint16(p[4:], id)
	binary.BigEndian.PutUint16(p[6:], fragment)
	copy(p[12:], src.AsSlice())
	to := netip.MustParseAddr(gateway.GatewayAddr).As4()
	copy(p[16:], to[:])
	if err := unix.Sendto(a.fd, append(p, payload...), 0, &unix.SockaddrInet4{Addr: to}); err != nil {
		a.t.Errorf("send the attacker's packet: %v", err)
	}
	if a.sent++; a.sent%burst == 0 {
		<-a.tick.C
	}
}

// udp sends a datagram; a checksum of zero is none.
func (a *attacker) udp(src netip.AddrPort, port uint16, payload []byte) {
	d := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(d, src.Port())
	binary.BigEndian.PutUint16(d[2:], port)
	binary.BigEndian.PutUint16(d[4:], uint16(8+len(payload)))
	a.ip(protoUDP, src.Addr(), append(d, payload...))
}

// ike sends an IKE message to both ports.
func (a *attacker) ike(src netip.AddrPort, message []byte) {
	a.udp(src, portIKE, message)
	a.udp(src, portNATT, slices.Concat(make([]byte, 4), message))
}

// esp sends an ESP packet, raw and in UDP.
func (a *attacker) esp(src netip.AddrPort, packet []byte) {
	a.ip(protoESP, src.Addr(), packet)
	a.udp(src, portNATT, packet)
}

// somebody is an address that nobody has, of a network that the gateway has a
// route to.
func (a *attacker) somebody() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, byte(a.rand.Uint32()), byte(a.rand.Uint32())}), uint16(1024+a.rand.Uint32N(60000)))
}

// mutated returns a message with some of its octets changed, or its length, or
// both.
func (a *attacker) mutated(message []byte) []byte {
	m := slices.Clone(message)
	for range 1 + a.rand.IntN(4) {
		m[a.rand.IntN(len(m))] = byte(a.rand.Uint32())
	}
	switch a.rand.IntN(3) {
	case 0:
		return m[:a.rand.IntN(len(m))]
	case 1:
		for range a.rand.IntN(200) {
			m = append(m, byte(a.rand.Uint32()))
		}
	}
	return m
}

// fresh returns an IKE_SA_INIT request as another initiator would send it.
func (a *attacker) fresh(request []byte) []byte {
	m := slices.Clone(request)
	binary.BigEndian.PutUint64(m, a.rand.Uint64()|1)
	return m
}

// withCookie puts the cookie of an answer in front of a request's payloads. RFC
// 7296 section 2.6.
func withCookie(request, answer []byte) []byte {
	const header, notify = 28, 41
	cookie := slices.Clone(answer[header:])
	cookie[0] = request[16] // next payload
	m := slices.Concat(request[:header], cookie, request[header:])
	m[16] = notify
	binary.BigEndian.PutUint32(m[24:], uint32(len(m)))
	return m
}
