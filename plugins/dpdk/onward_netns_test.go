//go:build dpdk

package dpdk_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp"
)

// TestPacketsPassFromPortToPort joins a host and a peer through a gateway that has DPDK
// at both sides. Once the first packets have asked, the gateway's kernel forwards none,
// and has none at its end of the tunnels.
func TestPacketsPassFromPortToPort(t *testing.T) {
	t.Parallel()
	host, a, b, _ := newPassage(t)
	connect(t, a, b, gcm, 0, true)
	host.ping(t, b, netlab.Ping{Size: 1000})
	netlab.Eventually(t, patience, "packets of both families pass from port to port", func() error {
		before := a.stats(t)["passed-on"]
		host.ping(t, b, netlab.Ping{Size: 56})
		if now := a.stats(t)["passed-on"]; now-before < 4 {
			return fmt.Errorf("of 4 packets %d passed", now-before)
		}
		return nil
	})
	before, forwarded := a.stats(t), a.forwarded(t)
	host.ping(t, b, netlab.Ping{Size: 1300})
	b.ping(t, host, netlab.Ping{Size: 1300})
	after := a.stats(t)
	if n := after["to-tun"] - before["to-tun"]; n != 0 {
		t.Errorf("The kernel should have got no inner packets, it got %d.", n)
	}
	if n := a.forwarded(t) - forwarded; n != 0 {
		t.Errorf("The kernel should have forwarded nothing, it forwarded %d packets.", n)
	}
	run(t, a.ns, "ip", "route", "add", "10.1.1.1/32", "dev", "evg0")
	a.wantAtHost(t, b, 0, host.inner[0], "what the host routes elsewhere")
	a.ns.Sysctl("net/ipv6/conf/all/forwarding", "0")
	a.wantAtHost(t, b, 1, host.inner[1], "what the host does not forward")
}

// newPassage joins a host and a peer through a gateway that has DPDK at both sides, and
// returns the gateway's settings.
func newPassage(t *testing.T) (host, a, b *end, settings map[string]string) {
	t.Helper()
	lab := netlab.New(t)
	a, b = &end{ns: lab.Namespace("gateway")}, newEnd(lab.Namespace("peer"), 2)
	host = &end{ns: lab.Namespace("host"), inner: [2]netip.Addr{netip.MustParseAddr("10.1.1.1"), netip.MustParseAddr("fd01:1::1")}}
	a.outer = [2]netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	a.inner = host.inner // what it speaks for
	settings, _ = cable(t, lab, a.ns, b.ns, b.addresses()...)
	lab.Link(a.ns.Port("lanwire"), host.ns.Port("eth", "10.1.1.1/24", "fd01:1::1/64"))
	deafen(t, a.ns, "lanwire")
	wholeChecksums(t, host.ns, "eth")
	settings["ports"] += fmt.Sprintf(";net_af_packet%d,iface=lanwire", planes.Add(1))
	settings["host-interfaces"] += ",lan"
	a.ns.Forward()
	a.run(t, inProcess, settings)
	run(t, a.ns, "ip", "address", "add", "10.1.1.254/24", "dev", "lan")
	run(t, a.ns, "ip", "address", "add", "fd01:1::254/64", "dev", "lan", "nodad")
	run(t, host.ns, "ip", "route", "add", "default", "via", "10.1.1.254")
	run(t, host.ns, "ip", "route", "add", "default", "via", "fd01:1::254")
	slow, err := softesp.New(softesp.Options{Version: "test"})
	if err != nil {
		t.Fatalf("The peer's dataplane cannot be made: %v.", err)
	}
	b.engine = slow
	b.configure(t, nil, slow.Close)
	for i, to := range b.inner { // so that the kernel finds the peer's addresses where they come from
		run(t, a.ns, "ip", "route", "add", fmt.Sprintf("%v/%d", to, to.BitLen()), "dev", "evg0")
		run(t, b.ns, "ip", "route", "add", fmt.Sprintf("%v/%d", host.inner[i], to.BitLen()), "dev", "evg0", "src", to.String())
	}
	return host, a, b, settings
}

// TestFlowsEndWhereTheirDestinationIsOurs: a worker that remembers which SA sends the
// packets of a flow forgets that when their destination becomes an address of ours.
func TestFlowsEndWhereTheirDestinationIsOurs(t *testing.T) {
	t.Parallel()
	host, a, b, settings := newPassage(t)
	out := connect(t, a, b, gcm, 0, true)
	to := netip.AddrPortFrom(b.inner[0], 7777)
	var from net.Conn
	err := host.ns.Do(func() (err error) {
		from, err = net.Dial("udp", to.String())
		return err
	})
	if err != nil {
		t.Fatalf("The host cannot send: %v.", err)
	}
	defer from.Close()
	netlab.Eventually(t, patience, "a flow passes through the tunnel", func() error {
		if _, err := from.Write([]byte("through")); err != nil {
			return err
		}
		for c, err := range a.engine.Export(t.Context(), offload.AllGroups) {
			if err != nil || c.ID == out && c.Packets < 3 {
				return fmt.Errorf("%d packets have left: %w", c.Packets, err)
			}
		}
		return nil
	})
	run(t, a.ns, "ip", "address", "add", to.Addr().String()+"/32", "dev", "lo")
	var at net.PacketConn
	err = a.ns.Do(func() (err error) {
		if at, err = net.ListenPacket("udp", to.String()); err == nil {
			_, err = a.engine.Configure(t.Context(), offload.Config{Boot: 1, Addresses: append(a.outer[:], to.Addr()), Settings: settings})
		}
		return err
	})
	if err != nil {
		t.Fatalf("The gateway cannot take the address: %v.", err)
	}
	defer at.Close()
	netlab.Eventually(t, patience, "the flow comes to the gateway itself", func() error {
		if _, err := from.Write([]byte("to us")); err != nil {
			return err
		}
		_ = at.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _, err := at.ReadFrom(make([]byte, 64))
		return err
	})
}

// wantAtHost wants packets from a peer to come out of the TUN device, soon.
func (e *end) wantAtHost(t *testing.T, from *end, family int, to netip.Addr, what string) {
	t.Helper()
	netlab.Eventually(t, patience, what+" is the host's", func() error {
		before := e.stats(t)["to-tun"]
		ping := netlab.Ping{To: to.String(), From: from.inner[family].String(), Count: 1, Wait: 100 * time.Millisecond}
		_, _ = from.ns.Ping(t.Context(), ping) // nobody expects an answer
		if e.stats(t)["to-tun"] == before {
			return errors.New("the kernel got nothing")
		}
		return nil
	})
}

// forwarded is how many packets the kernel has forwarded.
func (e *end) forwarded(t *testing.T) uint64 {
	t.Helper()
	out, err := e.ns.Output(exec.CommandContext(t.Context(), "cat", "/proc/self/net/snmp", "/proc/self/net/snmp6"))
	if err != nil {
		t.Fatalf("The kernel's counters cannot be read: %v: %s.", err, out)
	}
	var sum uint64
	var names []string
	for _, line := range strings.Split(string(out), "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "Ip6OutForwDatagrams":
			sum += number64(t, f[1])
		case len(f) > 0 && f[0] == "Ip:" && names == nil:
			names = f
		case len(f) > 0 && f[0] == "Ip:":
			for i, name := range names {
				if name == "ForwDatagrams" {
					sum += number64(t, f[i])
				}
			}
		}
	}
	return sum
}

func number64(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("A counter of the kernel is no number: %v.", err)
	}
	return n
}
