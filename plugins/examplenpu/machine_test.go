package examplenpu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/ikesock"
)

// inNamespace marks the process whose network is its own.
const inNamespace = "EXAMPLENPU_TEST_NAMESPACE"

// TestMain runs all tests in a network namespace of their own, so that nothing
// here meets the network of the machine. Who is not root gets a user namespace
// around it.
func TestMain(m *testing.M) {
	if os.Getenv(inNamespace) != "" {
		goleak.VerifyTestMain(m)
		return
	}
	again := exec.CommandContext(context.Background(), "/proc/self/exe", os.Args[1:]...)
	again.Env = append(os.Environ(), inNamespace+"=yes")
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	if os.Geteuid() != 0 {
		again.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		again.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		again.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	err := again.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, "The tests need a network namespace:", err)
		os.Exit(1)
	}
}

// patience bounds the wait for what comes at once.
const patience = 20 * time.Second

// surroundings of a plane on the machine's loopback: a socket for the inner network
// behind it, two that play the peer, and the daemon's end of IKE.
type surroundings struct {
	t      *testing.T
	config offload.Config
	daemon *ikesock.Server
	inner  *net.UDPConn // ours, within the tunnel
	esp    *net.IPConn  // the peer's
	udp    *net.UDPConn // the peer's
}

// site is an engine and its surroundings.
type site struct {
	*Engine
	*surroundings
}

var (
	gatewayOuter = netip.MustParseAddr("127.0.0.1")
	peerOuter    = netip.MustParseAddr("127.0.0.2")
	gatewayInner = netip.MustParseAddrPort("198.18.0.1:9")
	peerInner    = netip.MustParseAddrPort("198.19.0.1:9")
)

func newSite(t *testing.T) *site {
	t.Helper()
	e := New(Options{})
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("The engine did not close: %v.", err)
		}
	})
	return &site{e, surround(t, e, nil)}
}

// surround configures a plane, which is closed by the caller, and opens the sockets
// around it.
func surround(t *testing.T, plane offload.Engine, settings map[string]string) *surroundings {
	t.Helper()
	s := &surroundings{t: t}
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v.", what, err)
		}
	}
	must("bring up the loopback", (&tun{name: "lo"}).up(65535))
	path := filepath.Join(t.TempDir(), "ike.sock")
	daemon, err := ikesock.Listen(path)
	must("listen as the daemon", err)
	s.daemon = daemon
	s.config = offload.Config{Boot: 1, Addresses: []netip.Addr{gatewayOuter}, IKESocket: path, Settings: settings}
	_, err = plane.Configure(t.Context(), s.config)
	must("configure", err)
	must("give the tun device an address", setAddress("npu0", gatewayInner.Addr()))
	onTUN := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bound error
		err := c.Control(func(fd uintptr) { bound = unix.BindToDevice(int(fd), "npu0") })
		return errors.Join(err, bound)
	}}
	inner, err := onTUN.ListenPacket(t.Context(), "udp4", gatewayInner.String())
	must("open the inner socket", err)
	s.inner = inner.(*net.UDPConn)
	s.esp, err = net.ListenIP("ip4:50", &net.IPAddr{IP: peerOuter.AsSlice()})
	must("open the peer's socket for esp", err)
	s.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(peerOuter, nattPort)))
	must("open the peer's socket for port 4500", err)
	deadline := time.Now().Add(patience)
	for _, c := range []net.Conn{s.inner, s.esp, s.udp} {
		must("set a deadline", c.SetDeadline(deadline))
	}
	t.Cleanup(func() {
		err := errors.Join(s.daemon.Close(), s.inner.Close(), s.esp.Close(), s.udp.Close())
		if err != nil {
			t.Errorf("The sockets did not close: %v.", err)
		}
	})
	return s
}

func setAddress(device string, a netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		err = request.SetInet4Addr(a.AsSlice())
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCSIFADDR, request)
	}
	return errors.Join(err, unix.Close(fd))
}

// loopbackPair is pair, with AES-GCM and the outer addresses of the loopback.
func loopbackPair(n byte) (in, out ipsec.SA) {
	in, out = pair(n, gcm)
	in.ID.Dst, out.ID.Dst = gatewayOuter, peerOuter
	for _, sa := range []*ipsec.SA{&in, &out} {
		sa.Local, sa.Remote = gatewayOuter, peerOuter
	}
	return in, out
}

// tunnel installs a pair between the site's addresses.
func (s *site) tunnel(encap *ipsec.Encap) (in, out *transform) {
	s.t.Helper()
	a, b := loopbackPair(1)
	a.Encap, b.Encap = encap, encap
	placed, err := s.Install(s.t.Context(), epoch, offload.Active, a, b)
	if err != nil || placed[0].Err != nil || placed[1].Err != nil {
		s.t.Fatalf("Install failed: %v, %+v.", err, placed)
	}
	in, _ = newTransform(a)
	out, _ = newTransform(b)
	return in, out
}

// read returns the next packet of c.
func (s *surroundings) read(what string, c net.Conn) []byte {
	s.t.Helper()
	b := make([]byte, 2048)
	n, err := c.Read(b)
	if err != nil {
		s.t.Fatalf("%s did not come: %v.", what, err)
	}
	return b[:n]
}

// wantPayload opens what the peer got and compares.
func (s *site) wantPayload(out *transform, packet []byte, want string) []byte {
	s.t.Helper()
	inner, _, err := out.open(packet, uint64(packet[7]))
	if err != nil || string(inner[28:]) != want {
		s.t.Fatalf("The peer should have got %q, got %q (%v).", want, inner, err)
	}
	return inner
}

// answerTo turns an inner packet round.
func answerTo(inner []byte) []byte {
	answer := slices.Clone(inner)
	copy(answer[12:], inner[16:20])
	copy(answer[16:], inner[12:16])
	return answer
}

func TestPacketsPassThroughTheKernel(t *testing.T) {
	s := newSite(t)
	in, out := s.tunnel(nil)
	if _, err := s.inner.WriteToUDPAddrPort([]byte("there"), peerInner); err != nil {
		t.Fatalf("The inner packet was not sent: %v.", err)
	}
	inner := s.wantPayload(out, s.read("ESP", readerOfESP{s.esp}), "there")
	packet := in.seal(nil, 0x1001, 1, make([]byte, 8), answerTo(inner), protoIPv4)
	if _, err := s.esp.WriteToIP(packet, &net.IPAddr{IP: gatewayOuter.AsSlice()}); err != nil {
		t.Fatalf("The peer cannot send: %v.", err)
	}
	if got := s.read("the answer", s.inner); string(got) != "there" {
		t.Errorf("The answer should say %q, got %q.", "there", got)
	}
}

// readerOfESP reads without the IP header.
type readerOfESP struct{ *net.IPConn }

func (r readerOfESP) Read(b []byte) (int, error) {
	n, _, err := r.ReadFromIP(b)
	return n, err
}

func TestPort4500HasESPAndIKE(t *testing.T) {
	s := newSite(t)
	in, out := s.tunnel(&ipsec.Encap{LocalPort: nattPort, RemotePort: nattPort})
	gateway := netip.AddrPortFrom(gatewayOuter, nattPort)
	toGateway := func(what string, b []byte) {
		t.Helper()
		if _, err := s.udp.WriteToUDPAddrPort(b, gateway); err != nil {
			t.Fatalf("The peer cannot send %s: %v.", what, err)
		}
	}

	if _, err := s.inner.WriteToUDPAddrPort([]byte("there"), peerInner); err != nil {
		t.Fatalf("The inner packet was not sent: %v.", err)
	}
	inner := s.wantPayload(out, s.read("ESP in UDP", s.udp), "there")
	toGateway("ESP", in.seal(nil, 0x1001, 1, make([]byte, 8), answerTo(inner), protoIPv4))
	if got := s.read("the answer", s.inner); string(got) != "there" {
		t.Errorf("The answer should say %q, got %q.", "there", got)
	}

	toGateway("a keepalive", []byte{keepalive})
	toGateway("IKE", append(make([]byte, markerLen), "request"...))
	batch := make([]ikesock.Datagram, 1)
	if n, err := s.daemon.ReadBatch(batch); err != nil || n != 1 || string(batch[0].Payload) != "request" {
		t.Fatalf("The daemon should have got the request, got %q (%v).", batch[0].Payload, err)
	}
	if got := s.stats.keepalives.Load(); got != 1 {
		t.Errorf("The keepalive before the request should be counted, got %d.", got)
	}
	batch[0].Payload = []byte("response")
	if n := s.daemon.WriteBatch(batch); n != 1 {
		t.Fatal("The daemon cannot answer.")
	}
	if got := s.read("the response", s.udp); string(got) != "\x00\x00\x00\x00response" {
		t.Errorf("The response should come behind a non-ESP marker, got %q.", got)
	}
}

func TestAddressesComeAndGo(t *testing.T) {
	s := newSite(t)
	notHere := netip.MustParseAddr("192.0.2.77")
	c := s.config
	c.Addresses = []netip.Addr{notHere}
	if _, err := s.Configure(t.Context(), c); err != nil {
		t.Errorf("An address that is not there yet should do, got %v.", err)
	}
	free, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(gatewayOuter, nattPort)))
	if err != nil {
		t.Fatalf("The port of an address that is gone should be free: %v.", err)
	}
	if _, err := s.Configure(t.Context(), s.config); err == nil {
		t.Error("An address whose port somebody else has should be refused.")
	}
	if err := free.Close(); err != nil {
		t.Fatalf("Close failed: %v.", err)
	}
	if _, err := s.Configure(t.Context(), s.config); err != nil {
		t.Errorf("The address should come back, got %v.", err)
	}
}
