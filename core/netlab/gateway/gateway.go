// Package gateway runs the real evergated in a namespace of a lab, and looks at
// it through its admin socket, as an operator does.
package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
)

const (
	startLimit = 4 * time.Minute
	stopLimit  = 2 * time.Minute
	callLimit  = time.Minute
)

// Settings say what to run.
type Settings struct {
	// Binary is evergated's path.
	Binary string
	// Config is the YAML: connections, dataplane, and what else the test is
	// about. Where the gateway keeps its files is added to it.
	Config string
	// Env are further environment variables, NAME=value.
	Env []string
}

// Daemon is an evergated that runs until its lab ends.
type Daemon struct {
	tb       netlab.TB
	ns       *netlab.Namespace
	settings Settings
	dir      string
	process  *netlab.Process
	client   *admin.Client
}

// Start starts evergated in the namespace and waits until it works.
func Start(ns *netlab.Namespace, s Settings) *Daemon {
	ns.Lab().TB().Helper()
	d := Launch(ns, s)
	d.WaitReady()
	return d
}

// Launch starts evergated in the namespace, and waits for nothing.
func Launch(ns *netlab.Namespace, s Settings) *Daemon {
	lab := ns.Lab()
	tb := lab.TB()
	tb.Helper()
	dir := lab.File("evergated")
	if err := os.Mkdir(dir, 0o700); err != nil {
		tb.Fatalf("gateway: make a directory for %s: %v", ns.Name(), err)
	}
	d := &Daemon{tb: tb, ns: ns, settings: s, dir: dir, client: admin.Dial(filepath.Join(dir, "admin.sock"))}
	d.Write(s.Config)
	tb.Cleanup(d.killOrphan)
	d.launch()
	return d
}

// Write replaces the configuration file. Reload or Restart makes it count.
func (d *Daemon) Write(config string) {
	d.tb.Helper()
	text := fmt.Sprintf("%s\nadmin: {socket: %[2]s/admin.sock}\nstate-dir: %[2]s/state\n", config, d.dir)
	if err := os.WriteFile(d.ConfigPath(), []byte(text), 0o600); err != nil {
		d.tb.Fatalf("gateway: write the configuration: %v", err)
	}
}

// ConfigPath is the configuration file.
func (d *Daemon) ConfigPath() string { return filepath.Join(d.dir, "evergate.yaml") }

// Dir is where the gateway keeps its files; secrets can be put there.
func (d *Daemon) Dir() string { return d.dir }

// Socket is the admin socket's path.
func (d *Daemon) Socket() string { return filepath.Join(d.dir, "admin.sock") }

// Restart starts the process, after Kill or Stop, with the same files, and waits until
// it works.
func (d *Daemon) Restart() {
	d.tb.Helper()
	d.launch()
	d.WaitReady()
}

func (d *Daemon) launch() {
	cmd := exec.CommandContext(context.WithoutCancel(d.tb.Context()), d.settings.Binary, "--config", d.ConfigPath()) // the lab's clean-up ends it
	cmd.Env = append(os.Environ(), d.settings.Env...)
	d.process = d.ns.Start(cmd)
}

// WaitReady waits until evergated answers on its admin socket, and has a dataplane.
func (d *Daemon) WaitReady() {
	d.tb.Helper()
	netlab.Eventually(d.tb, startLimit, "evergated in "+d.ns.Name()+" answers on its admin socket", func() error {
		select {
		case <-d.process.Done():
			d.tb.Fatalf("gateway: evergated in %s has ended; its log ends:\n%s", d.ns.Name(), d.process.Log().Tail(30))
		default:
		}
		s, err := d.Status()
		if err == nil && s.Dataplane.State != "up" {
			err = fmt.Errorf("its dataplane is %s", s.Dataplane.State)
		}
		return err
	})
}

// Process is evergated's process.
func (d *Daemon) Process() *netlab.Process { return d.process }

// Log is what evergated and its plugin wrote.
func (d *Daemon) Log() netlab.Log { return d.process.Log() }

// Kill ends the process at once, its plugin with it, as the end of the machine does.
func (d *Daemon) Kill() {
	d.process.Kill()
	d.killOrphan()
}

// KillDaemon ends the process at once. Its plugin goes on, where it is to outlive it.
func (d *Daemon) KillDaemon() { d.process.Kill() }

// killOrphan ends a plugin that has outlived its daemon.
func (d *Daemon) killOrphan() {
	text, err := os.ReadFile(filepath.Join(d.dir, "dataplane", "process"))
	if err != nil {
		return // there is none
	}
	var left struct{ PID int }
	if err := json.Unmarshal(text, &left); err != nil {
		d.tb.Errorf("gateway: read which process was left: %v", err)
		return
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", left.PID))
	if err == nil && left.PID > 1 && strings.Contains(string(env), d.dir) { // it is still that process
		_ = syscall.Kill(-left.PID, syscall.SIGKILL) // it can only have ended
	}
}

// Stop ends the process as an operator does. A process that does not end well
// ends the test.
func (d *Daemon) Stop() {
	d.tb.Helper()
	if err := d.process.Stop(stopLimit); err != nil {
		d.tb.Fatalf("gateway: evergated in %s did not stop cleanly: %v; its log ends:\n%s", d.ns.Name(), err, d.Log().Tail(30))
	}
}

// KillPlugin ends the dataplane's process at once and returns its pid.
func (d *Daemon) KillPlugin() int {
	d.tb.Helper()
	s, err := d.Status()
	if err != nil || s.Dataplane.PID == 0 {
		d.tb.Fatalf("gateway: find the dataplane's process: %+v, %v", s.Dataplane, err)
	}
	if err := syscall.Kill(s.Dataplane.PID, syscall.SIGKILL); err != nil {
		d.tb.Fatalf("gateway: kill the dataplane's process %d: %v", s.Dataplane.PID, err)
	}
	return s.Dataplane.PID
}

func (d *Daemon) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(d.tb.Context(), callLimit)
}

// Status asks for the gateway's status.
func (d *Daemon) Status() (diag.Status, error) {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.Status(ctx)
}

// Tunnels lists the tunnels whose name or phase 1 is name, all for an empty name.
// They have no keys, as the gateway logs each time that it shows some.
func (d *Daemon) Tunnels(name string) []diag.Tunnel {
	d.tb.Helper()
	return d.list(name, false)
}

// Keyed is Tunnels with their keys, for who needs them. It is not for polling.
func (d *Daemon) Keyed(name string) []diag.Tunnel {
	d.tb.Helper()
	return d.list(name, true)
}

func (d *Daemon) list(name string, keys bool) []diag.Tunnel {
	d.tb.Helper()
	ctx, cancel := d.context()
	defer cancel()
	tunnels, err := d.client.Tunnels(ctx, name, keys)
	if err != nil {
		d.tb.Fatalf("gateway: list tunnels of %s: %v", d.ns.Name(), err)
	}
	return tunnels
}

// Tunnel returns the one tunnel of that name with its keys, and ends the test when
// it is not there.
func (d *Daemon) Tunnel(name string) diag.Tunnel {
	d.tb.Helper()
	tunnels := d.Keyed(name)
	if len(tunnels) != 1 {
		d.tb.Fatalf("gateway: %s has %d tunnels named %s, want one; its log ends:\n%s", d.ns.Name(), len(tunnels), name, d.Log().Tail(30))
	}
	return tunnels[0]
}

// WaitUp waits until a tunnel of that name or phase 1 has n pairs of SAs, and
// returns it.
func (d *Daemon) WaitUp(name string, n int) diag.Tunnel {
	d.tb.Helper()
	var up diag.Tunnel
	netlab.Eventually(d.tb, startLimit, fmt.Sprintf("%s has tunnel %s with %d pairs of SAs", d.ns.Name(), name, n), func() error {
		var states []string
		for _, t := range d.Tunnels(name) {
			pairs := 0
			for _, p := range t.Proxies {
				pairs += len(p.SAs)
			}
			if pairs == n {
				up = d.Tunnel(t.Name)
				return nil
			}
			states = append(states, fmt.Sprintf("%s has %d", t.Name, pairs))
		}
		return errors.New("it has: " + strings.Join(states, ", "))
	})
	return up
}

// WaitGone waits until no tunnel has that name or phase 1.
func (d *Daemon) WaitGone(name string, limit time.Duration) {
	d.tb.Helper()
	netlab.Eventually(d.tb, limit, fmt.Sprintf("%s has no tunnel %s", d.ns.Name(), name), func() error {
		if n := len(d.Tunnels(name)); n > 0 {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	})
}

// Stat returns a counter of `diagnose vpn ike stats` by its name, and ends the
// test when there is none.
func (d *Daemon) Stat(name string) uint64 {
	d.tb.Helper()
	ctx, cancel := d.context()
	defer cancel()
	stats, err := d.client.IKEStats(ctx)
	if err != nil {
		d.tb.Fatalf("gateway: read the counters of %s: %v", d.ns.Name(), err)
	}
	for _, c := range stats {
		if c.Name == name {
			return c.Value
		}
	}
	d.tb.Fatalf("gateway: %s has no counter %q, only %v", d.ns.Name(), name, stats)
	return 0
}

// Up initiates a connection.
func (d *Daemon) Up(name string) error {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.Up(ctx, name)
}

// Down closes a tunnel, or all of a connection.
func (d *Daemon) Down(name string) error {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.Down(ctx, name)
}

// Rekey starts new keys for a tunnel's IKE SA, or for its children.
func (d *Daemon) Rekey(name string, ike bool) error {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.Rekey(ctx, name, ike)
}

// StandalonePeers asks what the member knows of its group.
func (d *Daemon) StandalonePeers() (diag.StandalonePeers, error) {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.StandalonePeers(ctx)
}

// DataplaneSAs counts the SAs that the dataplane holds. Of very many that takes a
// while.
func (d *Daemon) DataplaneSAs(ctx context.Context) ([]diag.Held, error) {
	return d.client.DataplaneSAs(ctx)
}

// Reload makes the gateway read its configuration again, and returns what
// changed.
func (d *Daemon) Reload() ([]string, error) {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.Reload(ctx)
}

// HAStatus asks what the member knows of its unit.
func (d *Daemon) HAStatus() (diag.HAStatus, error) {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.HAStatus(ctx)
}

// Failover makes the member step back behind the others of its unit, or takes that
// back.
func (d *Daemon) Failover(on bool) error {
	ctx, cancel := d.context()
	defer cancel()
	return d.client.Failover(ctx, on)
}
