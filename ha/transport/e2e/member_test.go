package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/transport"
	"github.com/evergate/evergate/ha/transport/cert"
)

// memberEnv makes this test binary a member: sockets belong to a process's
// namespace.
const memberEnv = "TRANSPORT_TEST_MEMBER"

func TestMain(m *testing.M) {
	if config := os.Getenv(memberEnv); config != "" {
		if err := runMember(config); err != nil {
			fmt.Fprintln(os.Stdout, "member failed:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	// limit bounds waits for what takes a second on an idle machine.
	limit = 60 * time.Second
	// marker stands for keys in frames and heartbeats.
	marker = "a key of a tunnel"
	// frames is how many each member sends the other.
	frames = 200
)

// memberConfig is what JSON can carry.
type memberConfig struct {
	Dir, Interface string
	Member         ipsec.MemberID
	Local          netip.Addr
	Peers          []transport.Peer
}

// peerOf is a member's Receiver: it answers what comes with the like of it, and
// tells its log.
type peerOf struct {
	mesh   *transport.Mesh
	frames atomic.Int32
	beats  atomic.Int32
}

func (p *peerOf) PeerUp(s transport.Session) {
	fmt.Fprintf(os.Stdout, "up: member %d, %v\n", s.Member, s.Addr)
	key, _, err := p.mesh.Export(s.Member, "esp", nil, 32)
	if err != nil {
		fmt.Fprintln(os.Stdout, "member failed:", err)
		return
	}
	// For the test only: it searches the capture for the key.
	fmt.Fprintf(os.Stdout, "key: %x\n", key.Reveal())
	for range frames {
		p.mesh.Send(s.Member, transport.Frame{Type: 1, Class: transport.Record, Body: []byte(marker)})
	}
}

func (p *peerOf) PeerDown(s transport.Session, err error) {
	fmt.Fprintf(os.Stdout, "down: member %d: %v\n", s.Member, err)
}

func (p *peerOf) ReceiveFrame(_ ipsec.MemberID, f transport.Frame) {
	if string(f.Body) == marker && p.frames.Add(1) == frames {
		fmt.Fprintln(os.Stdout, "all frames came")
	}
}

func (p *peerOf) ReceiveHeartbeat(h transport.Heartbeat) {
	if string(h.Payload) == marker && h.RTT > 0 && p.beats.Add(1) == 20 {
		fmt.Fprintln(os.Stdout, "heartbeats came")
	}
}

func (*peerOf) Room(ipsec.MemberID, transport.Class) {}

// runMember is the member: it sends a heartbeat every 50 ms until it is told to
// terminate.
func runMember(config string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var c memberConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	name := filepath.Join(c.Dir, fmt.Sprintf("member-%d", c.Member))
	id, err := cert.Load(filepath.Join(c.Dir, "ca.pem"), name+".pem", name+".key", time.Now())
	if err != nil {
		return err
	}
	r := &peerOf{}
	r.mesh, err = transport.New(transport.Config{
		Identity: id, Local: netip.AddrPortFrom(c.Local, 0), Interface: c.Interface, Peers: c.Peers, Receiver: r,
		Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		return err
	}
	beats := make(chan struct{})
	go func() {
		defer close(beats)
		r.beat(ctx, c.Peers)
	}()
	err = r.mesh.Run(ctx)
	<-beats
	if err == nil {
		err = goleak.Find()
	}
	return err
}

func (p *peerOf) beat(ctx context.Context, peers []transport.Peer) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, peer := range peers {
				p.mesh.Heartbeat(*peer.Member, []byte(marker))
			}
		case <-ctx.Done():
			return
		}
	}
}

// site is two hosts with a sync interface each, and the files of their group.
type site struct {
	t      *testing.T
	lab    *netlab.Lab
	hosts  [2]*netlab.Namespace
	ports  [2]*netlab.Interface
	prefix [2]string
	dir    string
}

func newSite(t *testing.T, prefix [2]string) *site {
	t.Helper()
	s := &site{t: t, lab: netlab.New(t), prefix: prefix, dir: t.TempDir()}
	s.hosts = [2]*netlab.Namespace{s.lab.Namespace("one"), s.lab.Namespace("two")}
	s.ports[0], s.ports[1] = s.lab.Link(s.hosts[0].Port("port4"), s.hosts[1].Port("port4"))
	authority, err := cert.NewAuthority(1, time.Now(), time.Hour)
	if err != nil {
		t.Fatalf("There is no authority: %v.", err)
	}
	ca, key, err := authority.PEM()
	if err != nil {
		t.Fatal(err)
	}
	s.save("ca", ca, key)
	for id := range ipsec.MemberID(2) {
		c, key, err := authority.Issue(cert.Member{ID: id, Addrs: []netip.Addr{s.addr(id)}, Valid: 30 * time.Minute}, time.Now())
		if err != nil {
			t.Fatalf("Member %d gets no certificate: %v.", id, err)
		}
		s.save(fmt.Sprintf("member-%d", id), c, key)
	}
	return s
}

func (s *site) save(name string, c []byte, key ipsec.Key) {
	s.t.Helper()
	name = filepath.Join(s.dir, name)
	if err := cert.Save(name+".pem", c, name+".key", key); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) addr(id ipsec.MemberID) netip.Addr { return netip.MustParsePrefix(s.prefix[id]).Addr() }

// start runs a member on its host.
func (s *site) start(id ipsec.MemberID) *netlab.Process {
	s.t.Helper()
	other := 1 - id
	config, err := json.Marshal(memberConfig{
		Dir: s.dir, Interface: "port4", Member: id, Local: s.addr(id),
		Peers: []transport.Peer{{Addr: s.addr(other), Member: &other}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(s.t.Context()), exe)
	cmd.Env = append(os.Environ(), memberEnv+"="+string(config))
	return s.hosts[id].Start(cmd)
}

// stop ends a member, which must end in good order.
func (s *site) stop(p *netlab.Process) {
	s.t.Helper()
	if err := p.Stop(limit); err != nil {
		s.t.Errorf("%s did not end in good order: %v; its log ends with:\n%s", p.Name(), err, p.Log().Tail(20))
	}
}

// connect tells whether a port is open.
func connect(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return c.Close()
}
