package bird

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/core/netlab"
)

// startLimit bounds the wait for BIRD to take commands, and commandLimit a
// command.
const (
	startLimit   = 2 * time.Minute
	commandLimit = time.Minute
)

// Daemon is a BIRD that runs in a namespace, until its lab ends.
type Daemon struct {
	tb      netlab.TB
	ns      *netlab.Namespace
	process *netlab.Process
	birdc   string
	socket  string
}

// Start starts BIRD with the text of a bird.conf and waits until it takes
// commands. It logs to the process's log.
func Start(ns *netlab.Namespace, config string) *Daemon {
	lab := ns.Lab()
	tb := lab.TB()
	tb.Helper()
	dir := lab.File("bird")
	d := &Daemon{tb: tb, ns: ns, birdc: lab.Tool("birdc"), socket: filepath.Join(dir, "ctl")}
	conf := filepath.Join(dir, "bird.conf")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(conf, []byte("log stderr all;\n"+config), 0o600)
	}
	if err != nil {
		tb.Fatalf("bird: write the configuration of %s: %v", ns.Name(), err)
	}
	if out, err := exec.CommandContext(tb.Context(), lab.Tool("bird"), "-p", "-c", conf).CombinedOutput(); err != nil {
		tb.Fatalf("bird: the configuration of %s: %v\n%s", ns.Name(), err, out)
	}
	ctx := context.WithoutCancel(tb.Context()) // the lab's clean-up ends it
	d.process = ns.Start(exec.CommandContext(ctx, lab.Tool("bird"), "-f", "-c", conf, "-s", d.socket))
	netlab.Eventually(tb, startLimit, "BIRD in "+ns.Name()+" takes commands", func() error {
		_, err := d.command("show", "status")
		return err
	})
	return d
}

// Process returns BIRD's process, to kill it as a crash does.
func (d *Daemon) Process() *netlab.Process { return d.process }

// Show returns what BIRD's command line shows: Show("route all").
func (d *Daemon) Show(what string) string {
	d.tb.Helper()
	out, err := d.command(append([]string{"show"}, strings.Fields(what)...)...)
	if err != nil {
		d.tb.Fatalf("bird: show %s: %v", what, err)
	}
	return out
}

// Command gives BIRD any other command: Command("disable member1").
func (d *Daemon) Command(line string) {
	d.tb.Helper()
	if _, err := d.command(strings.Fields(line)...); err != nil {
		d.tb.Fatalf("bird: %s: %v", line, err)
	}
}

func (d *Daemon) command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(d.tb.Context(), commandLimit)
	defer cancel()
	out, err := d.ns.Output(exec.CommandContext(ctx, d.birdc, append([]string{"-s", d.socket}, args...)...))
	return string(out), err
}

// NextHops returns where the kernel of the namespace sends packets to exactly
// that prefix, sorted: several for a multipath route, none without a route.
func (d *Daemon) NextHops(prefix netip.Prefix) []netip.Addr {
	d.tb.Helper()
	hops, err := d.nextHops(prefix)
	if err != nil {
		d.tb.Fatalf("bird: next hops of %v in %s: %v", prefix, d.ns.Name(), err)
	}
	return hops
}

// hop is where a route of `ip -json route` leads to.
type hop struct {
	Gateway *netip.Addr `json:"gateway"`
	Via     *struct {
		Host netip.Addr `json:"host"`
	} `json:"via"` // of another family than the destination
}

func (d *Daemon) nextHops(prefix netip.Prefix) ([]netip.Addr, error) {
	family := "-4"
	if prefix.Addr().Is6() {
		family = "-6"
	}
	ctx, cancel := context.WithTimeout(d.tb.Context(), commandLimit)
	defer cancel()
	ip := d.ns.Lab().Tool("ip")
	out, err := d.ns.Output(exec.CommandContext(ctx, ip, "-json", family, "route", "show", "exact", prefix.String()))
	if err != nil {
		return nil, err
	}
	var routes []struct {
		hop
		NextHops []hop `json:"nexthops"`
	}
	if len(out) > 0 {
		if err := json.Unmarshal(out, &routes); err != nil {
			return nil, fmt.Errorf("read %q: %w", out, err)
		}
	}
	var hops []netip.Addr
	for _, r := range routes {
		for _, h := range append(r.NextHops, r.hop) {
			switch {
			case h.Gateway != nil:
				hops = append(hops, *h.Gateway)
			case h.Via != nil:
				hops = append(hops, h.Via.Host)
			}
		}
	}
	slices.SortFunc(hops, netip.Addr.Compare)
	return hops, nil
}
