package ikev1_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	gatewayAddr, clientAddr   = "192.0.2.1", "192.0.2.2"
	gatewayInner, clientInner = "10.88.0.1", "10.88.0.2"
)

// patience bounds every wait.
const patience = time.Minute

// gateway is the machine with two sockets around it. One goroutine owns the
// machine; the test's questions are run in it.
type gateway struct {
	t       *testing.T
	env     ike.Env
	conns   []*ike.Connection
	sockets map[uint16]net.PacketConn
	log     *journal

	in    chan ike.Datagram
	calls chan func()
	end   chan struct{}
	all   sync.WaitGroup

	demux     *v1.Demux
	snapshots map[ipsec.TunnelID][]byte
	over      []error // why tunnels ended, in order
	installed map[ipsec.SAID]ipsec.SA
}

// ForAddresses makes the gateway its own ike.Policy.
func (g *gateway) ForAddresses(_, _ netip.Addr) []*ike.Connection { return g.conns }

// Named returns the connection of that name.
func (g *gateway) Named(name string) *ike.Connection {
	for _, c := range g.conns {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// journal is the log of the machine.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func startGateway(t *testing.T, ns *netlab.Namespace, pool string, conns ...*ike.Connection) *gateway {
	t.Helper()
	g := &gateway{
		t: t, conns: conns, log: &journal{}, sockets: make(map[uint16]net.PacketConn),
		in: make(chan ike.Datagram, 64), calls: make(chan func()), end: make(chan struct{}),
		snapshots: make(map[ipsec.TunnelID][]byte), installed: make(map[ipsec.SAID]ipsec.SA),
	}
	g.env = ike.Env{
		Member: 5, Boot: 1, Rand: rand.Reader, Stats: &ike.Stats{},
		Log: slog.New(slog.NewTextHandler(g.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	var addresses v1.Addresses
	if pool != "" {
		all := ipsec.SelectorOf(netip.MustParsePrefix(pool))
		conns[0].V1.Config.First, conns[0].V1.Config.Last = all.Min.Next(), all.Max.Prev()
		addresses = v1.NewPool(0, 1)
	}
	g.demux = v1.NewDemux(g.env, g, ike.Limits{}, addresses)
	for _, port := range []uint16{500, 4500} {
		if err := ns.Do(func() error { return g.listen(port) }); err != nil {
			t.Fatalf("The gateway cannot listen on port %d: %v.", port, err)
		}
	}
	for port, s := range g.sockets {
		g.all.Add(1)
		go g.read(port, s)
	}
	g.all.Add(1)
	go g.run()
	t.Cleanup(g.stop)
	return g
}

func (g *gateway) listen(port uint16) error {
	var lc net.ListenConfig
	s, err := lc.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(netip.MustParseAddr(gatewayAddr), port).String())
	g.sockets[port] = s
	return err
}

func (g *gateway) stop() {
	close(g.end)
	for _, s := range g.sockets {
		s.Close()
	}
	g.all.Wait()
	if g.t.Failed() {
		g.t.Logf("log of the gateway:\n%s", g.log)
	}
}

// read hands datagrams over, without the non-ESP marker of port 4500.
func (g *gateway) read(port uint16, s net.PacketConn) {
	defer g.all.Done()
	buf := make([]byte, 1<<16)
	for {
		n, from, err := s.ReadFrom(buf)
		if err != nil {
			return
		}
		b := bytes.Clone(buf[:n])
		if port == 4500 {
			if !bytes.HasPrefix(b, make([]byte, 4)) {
				continue // ESP, or a keepalive
			}
			b = b[4:]
		}
		remote := netip.MustParseAddrPort(from.String())
		select {
		case g.in <- ike.Datagram{Local: netip.AddrPortFrom(netip.MustParseAddr(gatewayAddr), port), Remote: remote, Payload: b}:
		case <-g.end:
			return
		}
	}
}

// run owns the machine.
func (g *gateway) run() {
	defer g.all.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(g.wait())
		select {
		case <-g.end:
			return
		case call := <-g.calls:
			call()
		case d := <-g.in:
			g.receive(d)
		case <-timer.C:
			for t := range g.demux.Tunnels {
				if at := t.NextTimeout(); !at.IsZero() && !at.After(time.Now()) {
					g.step(t, ike.Timeout{})
				}
			}
		}
	}
}

// wait is how long nothing is due.
func (g *gateway) wait() time.Duration {
	d := time.Hour
	for t := range g.demux.Tunnels {
		if at := t.NextTimeout(); !at.IsZero() {
			d = min(d, max(0, time.Until(at)))
		}
	}
	return d
}

func (g *gateway) receive(d ike.Datagram) {
	if !v1.IsV1(d.Payload) {
		return
	}
	r := g.demux.Route(time.Now(), d)
	for _, d := range r.Reply {
		g.send(d)
	}
	if r.Tunnel != nil {
		g.step(r.Tunnel, ike.Received{Datagram: d})
	}
}

func (g *gateway) step(t *v1.Tunnel, in ike.Input) {
	r := g.demux.Step(time.Now(), t, in)
	for _, sa := range r.Install {
		g.installed[sa.ID] = sa
	}
	if r.Publish {
		g.snapshots[t.ID()] = t.Snapshot(time.Now())
	}
	for _, d := range r.Send {
		g.send(d)
	}
	for _, id := range r.Remove {
		delete(g.installed, id)
	}
	if r.Done {
		g.over = append(g.over, r.Why)
		delete(g.snapshots, t.ID())
	}
	for _, w := range g.demux.Woken() {
		g.step(w, ike.Timeout{})
	}
}

func (g *gateway) send(d ike.Datagram) {
	b := d.Payload
	if d.Local.Port() == 4500 && !d.Keepalive {
		b = append(make([]byte, 4), b...)
	}
	// A datagram that cannot be sent is one that was lost.
	_, _ = g.sockets[d.Local.Port()].WriteTo(b, net.UDPAddrFromAddrPort(d.Remote))
}

// do runs f where the machine is owned.
func (g *gateway) do(f func()) {
	g.t.Helper()
	done := make(chan struct{})
	select {
	case g.calls <- func() { defer close(done); f() }:
		<-done
	case <-time.After(patience):
		g.t.Fatal("The gateway does not take its turn.")
	}
}

// dial initiates the first connection.
func (g *gateway) dial() {
	g.t.Helper()
	g.do(func() { g.step(g.demux.Initiate(time.Now(), g.conns[0]), ike.Initiate{}) })
}

// input gives the only tunnel an input.
func (g *gateway) input(in ike.Input) {
	g.t.Helper()
	g.do(func() {
		for t := range g.demux.Tunnels {
			g.step(t, in)
		}
	})
}

// statuses are the tunnels as they are now.
func (g *gateway) statuses() []ike.Status {
	g.t.Helper()
	var out []ike.Status
	g.do(func() {
		for t := range g.demux.Tunnels {
			out = append(out, t.Status(time.Now()))
		}
	})
	return out
}

// waitUp waits for one tunnel with so many pairs in use, and returns it.
func (g *gateway) waitUp(pairs int) ike.Status {
	g.t.Helper()
	var found ike.Status
	netlab.Eventually(g.t, patience, fmt.Sprintf("the gateway has one tunnel with %d pairs", pairs), func() error {
		all := g.statuses()
		if len(all) != 1 || all[0].State != ike.StateUp || up(all[0]) != pairs {
			return fmt.Errorf("it has %+v", all)
		}
		found = all[0]
		return nil
	})
	return found
}

// waitOver waits until no tunnel is left, and returns why the last one ended.
func (g *gateway) waitOver() error {
	g.t.Helper()
	var why error
	netlab.Eventually(g.t, patience, "the gateway has no tunnel", func() error {
		err := errors.New("tunnels are left")
		g.do(func() {
			left := 0
			for range g.demux.Tunnels {
				left++
			}
			if left == 0 && len(g.over) > 0 {
				why, err = g.over[len(g.over)-1], nil
			}
		})
		return err
	})
	if n := len(g.sas()); n > 0 {
		g.t.Errorf("The tunnel is gone, but %d SAs are left.", n)
	}
	return why
}

func up(s ike.Status) int {
	n := 0
	for _, c := range s.Children {
		if c.State == "up" && c.Sending {
			n++
		}
	}
	return n
}

// sas are what the dataplane would have.
func (g *gateway) sas() map[ipsec.SPI]ipsec.SA {
	g.t.Helper()
	out := make(map[ipsec.SPI]ipsec.SA)
	g.do(func() {
		for id, sa := range g.installed {
			out[id.SPI] = sa
		}
	})
	return out
}

// stats is a copy of the counters.
func (g *gateway) stats() ike.Stats {
	g.t.Helper()
	var s ike.Stats
	g.do(func() { s = *g.env.Stats })
	return s
}

// takeOver replaces every tunnel by what its last snapshot says.
func (g *gateway) takeOver() {
	g.t.Helper()
	g.do(func() {
		for t := range g.demux.Tunnels {
			snapshot := g.snapshots[t.ID()]
			g.demux.Forget(t)
			again, err := v1.Restore(g.env, g, snapshot, time.Now())
			if err != nil {
				g.t.Errorf("The tunnel does not come back: %v.", err)
				return
			}
			g.demux.Adopt(again)
			g.step(again, ike.Takeover{})
		}
	})
}

// wantLogged waits for all words in one line of the log.
func (g *gateway) wantLogged(words ...string) {
	g.t.Helper()
	netlab.Eventually(g.t, patience, fmt.Sprintf("the gateway logs %q", words), func() error {
		for line := range strings.Lines(g.log.String()) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) }) {
				return nil
			}
		}
		return errors.New("it does not")
	})
}
