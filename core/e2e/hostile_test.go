package e2e_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// siege is a gateway under attack, with one good tunnel and what was recorded
// while that was made.
type siege struct {
	*evergates
	*attacker
	t      *testing.T
	honest netip.AddrPort // the good client
	ikes   [][]byte
	esps   []seen
}

// TestHostileInput attacks a gateway in every way that needs no key. The good
// tunnel loses nothing, an honest client still gets in, and afterwards the
// gateway is what it was. B7.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	s := lay(t)
	daemon, dataplane := s.server.Process().PID(), plugin(t, s.server)
	before := usage(t, s.Gateway, daemon, dataplane)
	stream := s.stream()
	for _, attack := range []func(){s.replay, s.mutate, s.fragments, s.reflect, s.strange, s.unknown, s.halfOpen, s.flood} {
		attack()
	}
	if err := stream.Stop().Err(); err != nil {
		t.Errorf("while the gateway was attacked, the stream of the good tunnel lost something: %v", err)
	}
	s.wantPing("after the attacks")
	if now := plugin(t, s.server); now != dataplane {
		t.Errorf("the dataplane was process %d and is %d", dataplane, now)
	}
	s.wantReasons()
	s.wantCalm(before, daemon, dataplane)
}

// lay makes the tunnel and records how. ESP is in UDP, so that the dataplane sees
// all of IKE's port 4500.
func lay(t *testing.T) *siege {
	t.Helper()
	site := gateway.NewSite(netlab.New(t))
	singles(site)
	site.Gateway.Route("10.99.0.0/16", "192.168.125.1")
	capture := site.WAN.Capture("")
	e := &evergates{Site: site, t: t}
	e.server = startGateway(site.Gateway, dialupConfig+metricsConfig)
	office := strings.Replace(officeConfig, "type: static,", "type: static, nattraversal: forced,", 1)
	e.client = startGateway(site.Client, strings.Replace(office, "phase2:", fmt.Sprintf(
		"  - {name: late, type: static, local-gw: %s, remote-gw: %s, localid: late.example, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}\nphase2:\n"+
			"  - {name: late, phase1name: late, proposal: aes128gcm, src-subnet: 10.10.2.0/24, dst-subnet: %s}",
		gateway.ClientAddr, gateway.GatewayAddr, secret, gateway.ServerNet), 1))
	e.client.WaitUp("office", 1)
	e.server.WaitUp("vpn1_0", 1)
	e.wantPing("before the attacks")
	if err := e.client.Rekey("office", false); err != nil {
		t.Fatal(err)
	}
	netlab.Eventually(t, limit, "the rekey is over", func() error {
		if n := e.client.Stat("ike.child_rekeys"); n == 0 || len(sas(e.client.Tunnel("office"))) != 1 {
			return fmt.Errorf("%d rekeys", n)
		}
		return nil
	})
	e.wantPing("after the rekey")
	s := &siege{
		evergates: e, attacker: newAttacker(t, site.Router), t: t, honest: netip.MustParseAddrPort(gateway.ClientAddr + ":4500"),
		ikes: ikeOf(t, capture), esps: espOf(t, capture),
	}
	if len(s.ikes) < 6 || len(s.esps) < 6 {
		t.Fatalf("%d IKE messages and %d ESP packets were recorded, want those of a tunnel", len(s.ikes), len(s.esps))
	}
	return s
}

// replay sends everything again, from the client and from elsewhere.
func (s *siege) replay() {
	for range 20 {
		for _, src := range []netip.AddrPort{s.honest, s.somebody()} {
			for _, m := range s.ikes {
				s.attacker.ike(src, m)
			}
			for _, p := range s.esps {
				s.esp(src, p.esp)
			}
		}
	}
}

// reflect sends the gateway its own messages back. It looks for an SPI of its own
// where the peer's is.
func (s *siege) reflect() {
	capture := s.WAN.Capture("udp and src host " + gateway.GatewayAddr)
	if err := s.server.Rekey("vpn1_0", false); err != nil {
		s.t.Fatal(err)
	}
	netlab.Eventually(s.t, limit, "the rekey is over", func() error {
		if n := len(sas(s.server.Tunnel("vpn1_0"))); n != 1 {
			return fmt.Errorf("%d pairs of SAs", n)
		}
		return nil
	})
	own := ikeOf(s.t, capture)
	for range 20 {
		for _, m := range own {
			s.attacker.ike(s.honest, m)
		}
	}
}

// mutate sends damaged messages and packets.
func (s *siege) mutate() {
	for range 60 {
		for _, m := range s.ikes {
			s.attacker.ike(s.honest, s.mutated(m))
		}
		for _, p := range s.esps[len(s.esps)-6:] { // of the SAs that are in use
			s.esp(s.honest, s.mutated(p.esp))
		}
	}
	for _, m := range [][]byte{s.ikes[0], s.ikes[2]} { // every strict prefix
		for n := range m {
			s.attacker.ike(s.honest, m[:n])
		}
	}
	for i := range 200 { // an IKE SA that exists, a number that may be next, and a wrong ICV
		m := append(s.live(i), make([]byte, 100)...)
		m[16] = 46 // SK
		binary.BigEndian.PutUint32(m[24:], uint32(len(m)))
		binary.BigEndian.PutUint16(m[30:], 100)
		s.attacker.ike(s.honest, m)
		m[16], m = 0, m[:28] // nothing inside, in plaintext
		binary.BigEndian.PutUint32(m[24:], 28)
		s.attacker.ike(s.honest, m)
	}
}

// live is the header of a request of the IKE SA that is up, whose message id is
// the next one or one soon after.
func (s *siege) live(i int) []byte {
	next := uint32(0)
	for _, m := range s.ikes {
		if flags := m[19]; flags&0x28 == 0x08 { // of the initiator, no response
			next = max(next, binary.BigEndian.Uint32(m[20:])+1)
		}
	}
	header := slices.Clone(s.ikes[2][:28])
	header[18] = 37 // INFORMATIONAL
	binary.BigEndian.PutUint32(header[20:], next+uint32(i%4))
	return header
}

// strange sends versions, exchanges and flags that are not there.
func (s *siege) strange() {
	for i := range 256 {
		for _, at := range []int{16, 17, 18, 19} { // next payload, version, exchange, flags
			m := s.fresh(s.ikes[0])
			m[at] = byte(i)
			s.attacker.ike(s.honest, m)
		}
	}
}

// fragments sends IKE fragments that make no sense together, and datagrams that
// IP had to fragment.
func (s *siege) fragments() {
	for i := range 300 {
		m := append(s.live(i), make([]byte, 4+4+500)...)
		m[16] = 53 // SKF, RFC 7383
		binary.BigEndian.PutUint32(m[24:], uint32(len(m)))
		binary.BigEndian.PutUint16(m[30:], uint16(len(m)-28))
		binary.BigEndian.PutUint16(m[32:], uint16(i))
		binary.BigEndian.PutUint16(m[34:], uint16(65535-i%7))
		s.attacker.ike(s.honest, m)
	}
	for range 10 {
		m := append(s.fresh(s.ikes[0]), make([]byte, 60000)...)
		binary.BigEndian.PutUint32(m[24:], uint32(len(m)))
		s.attacker.ike(s.somebody(), m)
	}
}

// unknown sends ESP and IKE of SAs that are not there.
func (s *siege) unknown() {
	for range 1000 {
		p := slices.Clone(s.esps[0].esp)
		binary.BigEndian.PutUint32(p, 256+s.rand.Uint32N(1<<31))
		s.esp(s.somebody(), p)
		m := slices.Clone(s.ikes[2])
		binary.BigEndian.PutUint64(m[8:], s.rand.Uint64())
		s.attacker.ike(s.somebody(), m)
	}
}

// halfOpen begins as many IKE SAs as it can from an address that it really has,
// with cookies where they are asked for, and finishes none, until it hears no
// more.
func (s *siege) halfOpen() {
	conn, err := s.Router.Dial(s.t.Context(), "udp", "", gateway.GatewayAddr+":500")
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	answer := make([]byte, 2000)
	for range 1000 {
		if s.server.Stat("ike.drops.source_limit") > 0 && s.server.Stat("ike.cookies_accepted") > 0 {
			return
		}
		request := s.fresh(s.ikes[0])
		for range 2 {
			_ = conn.SetDeadline(time.Now().Add(500 * time.Millisecond))
			if _, err := conn.Write(request); err != nil {
				s.t.Fatal(err)
			}
			n, err := conn.Read(answer)
			if errors.Is(err, net.ErrClosed) || n < 28 || answer[16] != 41 {
				break // no cookie asked for, or nothing at all
			}
			request = withCookie(request, answer[:n])
		}
	}
}

// flood sends IKE_SA_INIT requests from many addresses and from one, until an
// honest client has its tunnel all the same, however often that sends its own again.
func (s *siege) flood() {
	const least = 10_000
	up, begun := make(chan error, 1), time.Now()
	one := s.somebody()
	for i := 0; ; i++ {
		src := one
		if i%4 > 0 {
			src = s.somebody()
		}
		s.udp(src, portIKE, s.fresh(s.ikes[0]))
		if i == 5000 {
			go func() { up <- s.client.Up("late") }()
		}
		if i < least || i%500 > 0 {
			continue
		}
		if s.server.Stat("ike.established.responder") > 1 {
			break
		}
		if time.Since(begun) > limit {
			s.t.Errorf("after %d requests of a flood an honest client has no tunnel; its log ends with:\n%s", i, s.client.Log().Tail(20))
			break
		}
	}
	if err := <-up; err != nil {
		s.t.Errorf("dial in during a flood: %v", err)
	}
	s.client.WaitUp("late", 1)
}

// wantReasons wants a count for each thing that was wrong.
func (s *siege) wantReasons() {
	s.t.Helper()
	for _, reason := range []string{
		"malformed", "version", "unknown_spi", "foreign_spi", "message_id", "unprotected", "integrity", "source_rate", "source_limit", "cookie",
	} {
		if n := s.server.Stat("ike.drops." + reason); n == 0 {
			s.t.Errorf("the gateway counts no drop for the reason %q", reason)
		}
	}
	for _, name := range []string{"ike.cookies_sent", "ike.cookies_accepted"} {
		if n := s.server.Stat(name); n == 0 {
			s.t.Errorf("%s is 0", name)
		}
	}
	for _, said := range []string{
		`peer speaks another version of ike" .*version=`, `message was not understood" `, `message for an ike sa that is not here" `,
		`many negotiations at a time: peers are asked for cookies" .*half_open=\d+ check="whether somebody floods`,
	} {
		s.server.Log().Wait(`level=WARN msg="`+said, limit)
	}
	if lines := strings.Count(s.server.Log().Text(), "level=WARN"); lines > 2000 {
		s.t.Errorf("the flood filled the gateway's log with %d warnings", lines)
	}
	samples, _ := scrape(s.t, s.Gateway)
	for _, reason := range []string{"replayed", "authentication"} {
		if name := `evergate_tunnel_drops_total{phase1="vpn1",reason="` + reason + `"}`; samples[name] == 0 {
			s.t.Errorf("%s is 0", name)
		}
	}
}

// used is what a gateway uses: memory and descriptors of its processes, the
// daemon first, and the daemon's goroutines.
type used struct {
	rss, fds   [2]int
	goroutines int
}

func usage(t *testing.T, ns *netlab.Namespace, pids ...int) used {
	t.Helper()
	var u used
	for i, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		m := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(status)
		fds, ferr := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil || ferr != nil || m == nil {
			t.Fatalf("look at process %d: %v, %v", pid, err, ferr)
		}
		u.rss[i], err = strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		u.fds[i] = len(fds)
	}
	samples, _ := scrape(t, ns)
	u.goroutines = int(samples["go_goroutines"])
	return u
}

// wantCalm wants the gateway to need no more than before, but for the honest
// client's tunnel: half-open IKE SAs, goroutines and descriptors are gone, and
// memory stayed within bounds, those of a program with the race detector.
func (s *siege) wantCalm(before used, pids ...int) {
	s.t.Helper()
	const grown = 256 << 10 // KiB
	netlab.Eventually(s.t, 2*limit, "the gateway is what it was before the attacks", func() error {
		if n := s.server.Stat("ike.half_open"); n > 0 {
			return fmt.Errorf("%d IKE SAs are half-open", n)
		}
		now := usage(s.t, s.Gateway, pids...)
		for i := range pids {
			if now.rss[i] > before.rss[i]+grown || now.fds[i] > before.fds[i]+2 {
				return fmt.Errorf("it used %+v and uses %+v", before, now)
			}
		}
		if now.goroutines > before.goroutines+8 {
			return fmt.Errorf("it had %d goroutines and has %d", before.goroutines, now.goroutines)
		}
		return nil
	})
}
