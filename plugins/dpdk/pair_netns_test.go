//go:build dpdk

package dpdk_test

import (
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
	"github.com/evergate/evergate/plugins/softesp"
)

// end is one of two gateways that a cable joins, with an inner address of each family
// on its loopback.
type end struct {
	engine       offload.Engine
	ns           *netlab.Namespace
	outer, inner [2]netip.Addr // IPv4, IPv6
}

func newEnd(ns *netlab.Namespace, n byte) *end {
	e := &end{ns: ns}
	e.outer = [2]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, n}), netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: n})}
	e.inner = [2]netip.Addr{netip.AddrFrom4([4]byte{10, n, 0, 1}), netip.AddrFrom16([16]byte{0xfd, n, 15: 1})}
	ns.Loopback(e.inner[0].String()+"/32", e.inner[1].String()+"/128")
	return e
}

// newPair joins a gateway on DPDK, with more settings, with one on the dataplane in
// Go. Neighbours are found as between any hosts.
func newPair(t *testing.T, more map[string]string) (a, b *end) {
	t.Helper()
	return newPairOf(t, inProcess, more)
}

// inProcess makes an engine in this process.
func inProcess(*netlab.Namespace) (e offload.Engine, closeIt func() error) {
	made := dpdk.New(dpdk.Options{Version: "test", EAL: process})
	return made, made.Close
}

// newPairOf is newPair with an engine that start makes for its host.
func newPairOf(t *testing.T, start func(*netlab.Namespace) (e offload.Engine, closeIt func() error), more map[string]string) (a, b *end) {
	t.Helper()
	lab := netlab.New(t)
	a, b = newEnd(lab.Namespace("dpdk"), 1), newEnd(lab.Namespace("softesp"), 2)
	settings, _ := cable(t, lab, a.ns, b.ns, b.addresses()...)
	maps.Copy(settings, more)
	a.run(t, start, settings)
	slow, err := softesp.New(softesp.Options{Version: "test"})
	if err != nil {
		t.Fatalf("The peer's dataplane cannot be made: %v.", err)
	}
	b.engine = slow
	b.configure(t, nil, slow.Close)
	a.route(t, b)
	b.route(t, a)
	return a, b
}

// run starts a dataplane on DPDK, whose port's end in the host gets the outer
// addresses.
func (e *end) run(t *testing.T, start func(*netlab.Namespace) (e offload.Engine, closeIt func() error), settings map[string]string) {
	t.Helper()
	made, closeIt := start(e.ns)
	e.engine = made
	e.configure(t, settings, closeIt)
	run(t, e.ns, "ip", "address", "add", e.addresses()[0], "dev", "wan")
	run(t, e.ns, "ip", "address", "add", e.addresses()[1], "dev", "wan", "nodad")
}

// addresses are the outer ones, with their networks.
func (e *end) addresses() []string {
	return []string{e.outer[0].String() + "/24", e.outer[1].String() + "/64"}
}

func (e *end) configure(t *testing.T, settings map[string]string, closeIt func() error) {
	t.Helper()
	t.Cleanup(func() {
		if err := closeIt(); err != nil {
			t.Errorf("The dataplane did not end cleanly: %v.", err)
		}
	})
	err := e.ns.Do(func() error {
		_, err := e.engine.Configure(t.Context(), offload.Config{Boot: 1, Addresses: e.outer[:], Settings: settings})
		return err
	})
	if err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
}

func (e *end) route(t *testing.T, other *end) {
	t.Helper()
	for i := range other.inner {
		to := other.inner[i].String() + "/" + strconv.Itoa(other.inner[i].BitLen())
		run(t, e.ns, "ip", "route", "add", to, "dev", "evg0", "src", e.inner[i].String())
	}
}

// connect installs a tunnel at both ends.
func connect(t *testing.T, a, b *end, alg ipsec.Algorithms, outer int, udp bool) (aOut ipsec.SAID) {
	t.Helper()
	encryption, _ := alg.EncryptionKeyLen() // of an algorithm that the test names
	integrity, _ := alg.Integrity.KeyLen()  // likewise
	sa := func(here, there *end, d ipsec.Direction, spi ipsec.SPI) ipsec.SA {
		s := ipsec.SA{
			ID: ipsec.SAID{SPI: spi, Dst: there.outer[outer], Proto: ipsec.ESP}, Direction: d, Tunnel: 1, Generation: 1, Algorithms: alg,
			Encryption: ipsec.NewKey(make([]byte, encryption)), Integrity: ipsec.NewKey(make([]byte, integrity)),
			Local: here.outer[outer], Remote: there.outer[outer],
			Selectors: ipsec.Selectors{Local: hosts(here.inner), Remote: hosts(there.inner)},
		}
		if d == ipsec.Inbound {
			s.ID.Dst = here.outer[outer]
		}
		if udp {
			s.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: 4500}
		}
		return s
	}
	for here, there := a, b; ; here, there = b, a {
		in, out := ipsec.SPI(0x1000), ipsec.SPI(0x2000)
		if here == b {
			in, out = out, in
		}
		placed, err := here.engine.Install(t.Context(), offload.NewEpoch(1, 1), offload.Active, sa(here, there, ipsec.Inbound, in), sa(here, there, ipsec.Outbound, out))
		if err != nil || placed[0].Err != nil || placed[1].Err != nil {
			t.Fatalf("The tunnel should be installed, got %+v, %v.", placed, err)
		}
		if here == b {
			return ipsec.SAID{SPI: 0x2000, Dst: b.outer[outer], Proto: ipsec.ESP}
		}
	}
}

func hosts(addrs [2]netip.Addr) []ipsec.TrafficSelector {
	var out []ipsec.TrafficSelector
	for _, a := range addrs {
		out = append(out, ipsec.SelectorOf(netip.PrefixFrom(a, a.BitLen())))
	}
	return out
}

// ping wants pings answered, once the neighbours have found each other.
func (e *end) ping(t *testing.T, to *end, p netlab.Ping) {
	t.Helper()
	for i := range to.inner {
		p.To, p.Count, p.Wait = to.inner[i].String(), 2, time.Second
		netlab.Eventually(t, patience, fmt.Sprintf("%s answers pings of %d octets", p.To, p.Size), func() error {
			r, err := e.ns.Ping(t.Context(), p)
			if err != nil {
				return err
			}
			return r.Err()
		})
	}
}

// TestDPDKAndGoUnderstandEachOther sends pings of both families through every way of
// the outer packets and several ciphers, and some that are longer than the path, both
// within the tunnel and around it.
func TestDPDKAndGoUnderstandEachOther(t *testing.T) {
	ctr := ipsec.Algorithms{Encryption: ipsec.EncrAESCTR, KeyBits: 192, Integrity: ipsec.AuthHMACSHA2_256_128}
	for n, alg := range []ipsec.Algorithms{
		gcm, cbc, ctr,
		{Encryption: ipsec.EncrAESCBC, KeyBits: 256, Integrity: ipsec.AuthHMACSHA2_512_256, ESN: true},
	} {
		outer, udp := n%2, n < 2
		t.Run(fmt.Sprintf("%v outer=%d udp=%v", alg, outer, udp), func(t *testing.T) {
			a, b := newPair(t, nil)
			out := connect(t, a, b, alg, outer, udp)
			a.ping(t, b, netlab.Ping{Size: 56})
			a.ping(t, b, netlab.Ping{Size: 1440})
			b.ping(t, a, netlab.Ping{Size: 4000})
			for c, err := range a.engine.Export(t.Context(), offload.AllGroups) {
				if err != nil || c.ID == out && c.Packets < 8 {
					t.Errorf("All of it should have left through the SA, it counts %d packets: %v.", c.Packets, err)
				}
			}
		})
	}
}

// TestSendersLearnWhatFits: who sends too much with DF hears what the tunnel takes.
func TestSendersLearnWhatFits(t *testing.T) {
	a, b := newPair(t, nil)
	connect(t, a, b, gcm, 0, true)
	a.ping(t, b, netlab.Ping{Size: 56})
	for i, size := range []int{1472, 1452} { // 1500 octets of IPv4 and of IPv6
		r, err := a.ns.Ping(t.Context(), netlab.Ping{To: b.inner[i].String(), Count: 1, Size: size, DontFragment: true, Wait: patience})
		if err != nil || r.MTU != 1438 {
			t.Errorf("A ping to %v of 1500 octets should hear of an MTU of 1438, got %d, %v: %s", b.inner[i], r.MTU, err, r.Output)
		}
	}
}
