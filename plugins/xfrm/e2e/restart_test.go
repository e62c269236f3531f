package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// keepsState is what a gateway that stands alone needs to go on after a restart.
const keepsState = `
state: {seal-key: {literal: a key that the operator has made}}
`

// lone is a gateway that keeps its state, with a tunnel of each way to a client.
type lone struct {
	t       *testing.T
	site    *gateway.Site
	daemon  *gateway.Daemon
	client  *strongswan.Daemon
	plugin  int
	streams map[string]*netlab.Streaming
}

func newLone(t *testing.T) *lone {
	t.Helper()
	l := &lone{t: t, site: gateway.NewSite(netlab.New(t)), streams: make(map[string]*netlab.Streaming)}
	l.foreign()
	l.daemon = startGatewayWith(l.site.Gateway, serverConfig()+keepsState, "orphan-time: 600")
	l.client = strongswan.Start(l.site.Client, strongswan.Settings{KernelESP: true})
	l.find()
	for _, w := range ways() {
		l.site.Client.Loopback(w.host() + "/32")
		l.client.Load(w.connection())
		if err := l.client.Initiate(w.name); err != nil {
			t.Fatalf("Tunnel %s does not come up: %v.", w.name, err)
		}
		l.daemon.WaitUp(w.name, 1)
		l.begin(w)
		l.streams["down "+w.name] = netlab.Stream{
			From: l.site.Server, Source: gateway.ServerHost, To: l.site.Client, Dest: w.host(), Every: pace,
		}.Start(t)
	}
	return l
}

// pace is what eight streams leave an emulated processor time for.
const pace = 50 * time.Millisecond

// begin starts the stream from the client's side of a tunnel.
func (l *lone) begin(w way) {
	l.t.Helper()
	l.streams["up "+w.name] = netlab.Stream{
		From: l.site.Client, Source: w.host(), To: l.site.Server, Dest: gateway.ServerHost, Every: pace,
	}.Start(l.t)
}

// flow waits for datagrams of all streams.
func (l *lone) flow(when string) {
	l.t.Helper()
	l.t.Logf("Datagrams should pass %s.", when)
	for _, name := range slices.Sorted(maps.Keys(l.streams)) {
		l.streams[name].WaitFor(8, limit)
	}
}

// end stops streams, and wants all of their datagrams to have arrived, once.
func (l *lone) end(of func(name string) bool) {
	l.t.Helper()
	for name, s := range l.streams {
		if !of(name) {
			continue
		}
		delete(l.streams, name)
		if r := s.Stop(); len(r.Lost) > 0 || r.Duplicated > 0 {
			l.t.Errorf("Stream %s: %v.", name, r.Err())
		}
	}
}

// find waits for another process than before to be the dataplane.
func (l *lone) find() {
	l.t.Helper()
	before := l.plugin
	netlab.Eventually(l.t, limit, "another process is the dataplane", func() error {
		s, err := l.daemon.Status()
		if err == nil && (s.Dataplane.State != "up" || s.Dataplane.PID == before) {
			err = fmt.Errorf("it is %s with pid %d", s.Dataplane.State, s.Dataplane.PID)
		}
		l.plugin = s.Dataplane.PID
		return err
	})
}

// killPlugin ends the dataplane's process at once.
func (l *lone) killPlugin() {
	l.t.Helper()
	if err := syscall.Kill(l.plugin, syscall.SIGKILL); err != nil {
		l.t.Fatalf("The dataplane cannot be killed: %v.", err)
	}
}

// identities are those of all tunnels.
func (l *lone) identities() string {
	l.t.Helper()
	var all []string
	for _, w := range ways() {
		t := l.daemon.WaitUp(w.name, 1)
		all = append(all, fmt.Sprint(t.IKESPIs, identity(t)))
	}
	return strings.Join(all, "\n")
}

// foreign makes a state and policies of another program.
func (l *lone) foreign() {
	l.t.Helper()
	for _, args := range []string{
		"state add src 198.51.100.1 dst 198.51.100.2 proto esp spi 0x777 reqid 1 mode tunnel aead rfc4106(gcm(aes)) 0x" + strings.Repeat("11", 20) + " 128",
		"policy add src 10.77.0.0/16 dst 10.78.0.0/16 dir out tmpl src 198.51.100.1 dst 198.51.100.2 proto esp reqid 1 mode tunnel",
		"policy add src 10.78.0.0/16 dst 10.77.0.0/16 dir in tmpl src 198.51.100.2 dst 198.51.100.1 proto esp reqid 2 mode tunnel",
	} {
		l.xfrm(args)
	}
}

func (l *lone) xfrm(args string) string {
	l.t.Helper()
	out, err := l.site.Gateway.Output(exec.Command("ip", append([]string{"xfrm"}, strings.Fields(args)...)...))
	if err != nil {
		l.t.Fatalf("The kernel cannot be asked: ip xfrm %s: %v.", args, err)
	}
	return string(out)
}

// wantAdopted wants the tunnels to be those of before, with nothing negotiated, and the
// other program's to be there.
func (l *lone) wantAdopted(how, before string) {
	l.t.Helper()
	if after := l.identities(); after != before {
		l.t.Errorf("%s: the tunnels should be\n%s\nbut are\n%s", how, before, after)
	}
	if states := l.xfrm("state"); strings.Count(states, "proto esp") != 1+2*len(ways()) || !strings.Contains(states, "0x00000777") {
		l.t.Errorf("%s: the kernel should have a pair of states for each tunnel, and the other program's, it has\n%s", how, states)
	}
	if policies := l.xfrm("policy"); strings.Count(policies, "10.77.0.0/16") != 2 {
		l.t.Errorf("%s: the other program's policies should be there, there are\n%s", how, policies)
	}
}

// TestRestartsLoseNothing kills the daemon, the plugin, and both at once, under numbered
// streams both ways. The kernel goes on alone; the next processes adopt what it has.
func TestRestartsLoseNothing(t *testing.T) { // B6
	l := newLone(t)
	l.flow("at first")
	before := l.identities()

	plugin := l.plugin
	l.daemon.KillDaemon()
	l.flow("while no daemon runs")
	l.daemon.Restart()
	l.plugin = 0
	l.find()
	l.flow("with the next daemon")
	l.wantAdopted("After the daemon's death", before)
	if n := l.daemon.Stat("ike.started.responder"); n != 0 || l.plugin != plugin {
		t.Errorf("The next daemon should go on with the plugin %d and without negotiating, it has %d and %d IKE SAs.", plugin, l.plugin, n)
	}

	l.killPlugin()
	l.flow("while no plugin runs")
	l.find()
	l.flow("with the next plugin")
	l.wantAdopted("After the plugin's death", before)

	// Without a process the kernel has no socket to take ESP in UDP from.
	inUDP := func(name string) bool { return strings.HasPrefix(name, "up udp") }
	l.end(inUDP)
	l.daemon.KillDaemon()
	l.killPlugin()
	l.flow("while neither runs")
	l.daemon.Restart()
	l.find()
	for _, w := range ways() {
		if w.udp {
			l.begin(w)
		}
	}
	l.flow("after both came back")
	l.wantAdopted("After the death of both", before)
	l.end(func(string) bool { return true })

	for _, w := range []way{ways()[0], ways()[3]} {
		r, err := l.site.Client.Ping(t.Context(), netlab.Ping{To: gateway.ServerHost, From: w.host(), Count: 1})
		if err := errors.Join(l.client.RekeyChild(w.name), err, r.Err()); err != nil {
			t.Errorf("After all that tunnel %s should be rekeyed as ever: %v.", w.name, err)
		}
	}
}
