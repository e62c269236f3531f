package witness_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/witness"
)

// memberEnv makes this test binary a member: a process of its own, as in life,
// because a namespace, a kill and the library's package-level state all belong
// to processes.
const memberEnv = "WITNESS_TEST_MEMBER"

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

// limit bounds waits for what takes seconds on an idle machine.
const limit = 60 * time.Second

// memberConfig is a witness.Config that JSON can carry.
type memberConfig struct {
	Gateways []netip.Addr
	Hide     bool
	BGP      bgp
	Health   netip.AddrPort
	Drain    time.Duration
}

type bgp struct {
	witness.BGP
	Neighbors []neighbor
}

type neighbor struct {
	witness.Neighbor
	Password string // a key is not marshalled
}

func (c memberConfig) witness(log *slog.Logger) witness.Config {
	b := c.BGP.BGP
	for _, n := range c.BGP.Neighbors {
		n.Neighbor.Password = ipsec.NewKey([]byte(n.Password))
		b.Neighbors = append(b.Neighbors, n.Neighbor)
	}
	return witness.Config{Gateways: c.Gateways, HideGateways: c.Hide, BGP: b, Health: c.Health, DrainDelay: c.Drain, Log: log}
}

// order is one command to a member, which answers "done N" in its log.
type order struct {
	N        int
	Do       string
	Tunnel   string
	Prefixes []netip.Prefix
}

// runMember is the member: a Witness that takes orders from its standard input
// until that ends or it is told to terminate. It fails when goroutines remain.
func runMember(config string) error {
	var c memberConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w, err := witness.New(c.witness(log))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	go obey(ctx, w, os.Stdin)
	err = <-ran
	stop()
	os.Stdin.Close()
	if err != nil {
		return err
	}
	return goleak.Find(goleak.IgnoreAnyFunction("github.com/evergate/evergate/ha/witness_test.obey"), goleak.IgnoreTopFunction("os/signal.loop"))
}

func obey(ctx context.Context, w *witness.Witness, orders io.Reader) {
	for in := bufio.NewScanner(orders); in.Scan(); {
		var o order
		err := json.Unmarshal(in.Bytes(), &o)
		if err == nil {
			err = o.carryOut(ctx, w)
		}
		fmt.Fprintf(os.Stdout, "done %d %v\n", o.N, err)
	}
}

func (o order) carryOut(ctx context.Context, w *witness.Witness) error {
	switch o.Do {
	case "fit":
		w.Fit(true, "synced")
	case "unfit":
		w.Fit(false, "no dataplane")
	case "own":
		return w.Own(o.Tunnel, o.Prefixes)
	case "stand by":
		return w.StandBy(o.Tunnel, o.Prefixes)
	case "disown":
		w.Disown(o.Tunnel)
	case "drain":
		return w.Drain(ctx)
	case "resume":
		w.Resume()
	case "status":
		out, err := json.Marshal(w.Status())
		fmt.Fprintf(os.Stdout, "status %d %s\n", o.N, out)
		return err
	default:
		return fmt.Errorf("unknown order %q", o.Do)
	}
	return nil
}

// member drives such a process.
type member struct {
	t       *testing.T
	ns      *netlab.Namespace
	process *netlab.Process
	orders  io.WriteCloser
	n       int
}

func startMember(t *testing.T, ns *netlab.Namespace, c memberConfig) *member {
	t.Helper()
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), self) // the lab's clean-up ends it
	cmd.Env = append(os.Environ(), memberEnv+"="+string(config))
	orders, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return &member{t: t, ns: ns, process: ns.Start(cmd), orders: orders}
}

// order begins an order without waiting, and returns what the log says in the
// end.
func (m *member) order(do, tunnel string, prefixes ...string) (done string) {
	m.t.Helper()
	m.n++
	o := order{N: m.n, Do: do, Tunnel: tunnel}
	for _, p := range prefixes {
		o.Prefixes = append(o.Prefixes, netip.MustParsePrefix(p))
	}
	line, err := json.Marshal(o)
	if err == nil {
		_, err = m.orders.Write(append(line, '\n'))
	}
	if err != nil {
		m.t.Fatalf("order %s to %s: %v", do, m.ns.Name(), err)
	}
	return fmt.Sprintf("^done %d (.*)$", m.n)
}

// do carries an order out, which must succeed.
func (m *member) do(do, tunnel string, prefixes ...string) {
	m.t.Helper()
	m.wait(m.order(do, tunnel, prefixes...))
}

func (m *member) wait(done string) {
	m.t.Helper()
	if got := m.process.WaitLog(done, limit)[1]; got != "<nil>" {
		m.t.Fatalf("%s answers an order with: %s", m.ns.Name(), got)
	}
}

func (m *member) status() witness.Status {
	m.t.Helper()
	m.do("status", "")
	text := m.process.WaitLog(fmt.Sprintf("^status %d (.*)$", m.n), limit)[1]
	var s witness.Status
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		m.t.Fatalf("read the status of %s: %v", m.ns.Name(), err)
	}
	return s
}

// stop ends the member as a service manager does, which must leave no goroutine.
func (m *member) stop() {
	m.t.Helper()
	if err := m.process.Stop(limit); err != nil {
		m.t.Fatalf("%s does not end in order: %v; its log ends with:\n%s", m.ns.Name(), err, m.process.Log().Tail(40))
	}
}
