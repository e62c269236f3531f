package e2e

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/transport/cert"
)

// TestNothingOnTheLinkCanBeRead captures what two members send each other, over
// IPv4 and IPv6.
func TestNothingOnTheLinkCanBeRead(t *testing.T) { // F7, B4
	for name, prefix := range map[string][2]string{
		"IPv4": {"172.31.1.1/24", "172.31.1.2/24"},
		"IPv6": {"2001:db8:1::1/64", "2001:db8:1::2/64"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, prefix)
			capture := s.ports[0].Capture("port 708")
			// The address of member 0 comes after its start, as at boot.
			s.ports[1].AddAddr(prefix[1])
			one, two := s.start(0), s.start(1)
			one.WaitLog("sync opened", limit)
			s.ports[0].AddAddr(prefix[0])
			var secrets [][]byte
			for _, m := range []*netlab.Process{one, two} {
				m.WaitLog(`up: member \d, `, limit)
				m.WaitLog("all frames came", limit)
				m.WaitLog("heartbeats came", limit)
				key, err := hex.DecodeString(m.WaitLog(`key: ([0-9a-f]{64})`, limit)[1])
				if err != nil {
					t.Fatal(err)
				}
				secrets = append(secrets, key)
			}
			s.stop(one)
			s.stop(two)
			if !bytes.Equal(secrets[0], secrets[1]) {
				t.Error("Both ends should export the same key.")
			}
			wantSealed(t, capture, append(secrets, []byte(marker), []byte(cert.Name{Group: 1}.String()[:16])))
		})
	}
}

// wantSealed searches each direction of the streams and each heartbeat.
func wantSealed(t *testing.T, c *netlab.Capture, secrets [][]byte) {
	t.Helper()
	said := make(map[string][]byte) // by sender
	read := func(filter, payload string) (packets int) {
		for _, row := range c.Query(filter, "ip.src", "ipv6.src", payload) {
			b, err := hex.DecodeString(strings.ReplaceAll(row[2], ":", ""))
			if err != nil {
				t.Fatalf("The capture cannot be read: %v.", err)
			}
			from := payload + row[0] + row[1]
			said[from] = append(said[from], b...)
			packets++
		}
		return packets
	}
	if n := read("tcp.len > 0", "tcp.payload"); n == 0 {
		t.Error("The capture should show a stream.")
	}
	if n := read("udp", "udp.payload"); n < 40 {
		t.Errorf("The capture should show the heartbeats of both, not %d.", n)
	}
	for from, octets := range said {
		for _, secret := range secrets {
			if bytes.Contains(octets, secret) {
				t.Errorf("%q can be read in what came as %s.", secret, from)
			}
		}
	}
	// The server's choice of a version, in its hello: TLS 1.3 (RFC 8446 section 4.2.1).
	if n := c.Count("tcp contains 00:2b:00:02:03:04"); n == 0 {
		t.Error("The capture should show a server's hello of TLS 1.3.")
	}
	if n := c.Count("(tcp || udp) && !(ip.dsfield.dscp == 48) && !(ipv6.tclass.dscp == 48)"); n > 0 {
		t.Errorf("%d packets are not marked as network control.", n)
	}
}

// A packet for the sync address that comes in by another interface is not for
// us: Linux would take it.
func TestOnlyTheSyncInterfaceIsServed(t *testing.T) { // F7
	s := newSite(t, [2]string{"172.31.1.1/24", "172.31.1.2/24"})
	s.ports[0].AddAddr("172.31.1.1/24")
	s.ports[1].AddAddr("172.31.1.2/24")
	outside := s.lab.Namespace("outside")
	s.lab.Link(outside.Port("wan", "192.0.2.2/24"), s.hosts[0].Port("wan", "192.0.2.1/24"))
	outside.Route("172.31.1.0/24", "192.0.2.1")
	one, two := s.start(0), s.start(1)
	one.WaitLog("up: member 1", limit)
	two.WaitLog("up: member 0", limit)
	err := outside.Do(func() error { return connect(t.Context(), "172.31.1.1:708") })
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("Outside, nobody should be there at the sync address; got %v.", err)
	}
	s.stop(one)
	s.stop(two)
}

// A member that is killed while nobody hears it leaves a stream behind that is
// dead at one end. Its next life takes the place.
func TestKilledMemberComesBack(t *testing.T) {
	s := newSite(t, [2]string{"172.31.1.1/24", "172.31.1.2/24"})
	s.ports[0].AddAddr("172.31.1.1/24")
	s.ports[1].AddAddr("172.31.1.2/24")
	one, two := s.start(0), s.start(1)
	one.WaitLog("up: member 1", limit)
	two.WaitLog("up: member 0", limit)
	// Nobody closes the stream for it: its host is cut off while it dies.
	s.ports[1].Down()
	two.Kill()
	s.ports[1].Up()
	log := one.Log().Now()
	next := s.start(1)
	next.WaitLog("up: member 0", limit)
	log.Wait(`(?s)down: member 1.*up: member 1`, limit)
	s.stop(one)
	s.stop(next)
}
