package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
)

// plugin is the process of a gateway's dataplane; 0 while there is none.
func plugin(t *testing.T, d *gateway.Daemon) int {
	t.Helper()
	s, err := d.Status()
	if err != nil {
		t.Fatalf("ask for the status: %v", err)
	}
	return s.Dataplane.PID
}

// wantReplaced waits until another process than before is the dataplane.
func wantReplaced(t *testing.T, d *gateway.Daemon, before int) {
	t.Helper()
	netlab.Eventually(t, limit, fmt.Sprintf("another process than %d is the dataplane", before), func() error {
		s, err := d.Status()
		if err == nil && (s.Dataplane.State != "up" || s.Dataplane.PID == before) {
			err = fmt.Errorf("the dataplane is %s with pid %d", s.Dataplane.State, s.Dataplane.PID)
		}
		return err
	})
}

// wantFreshNumbers wants every sequence number of the SA to be above all before
// it, and no IV to be used twice: neither with a plugin nor with its successor.
func wantFreshNumbers(t *testing.T, c *netlab.Capture) {
	t.Helper()
	highest := make(map[uint32]uint32)
	ivs := make(map[uint32]map[[8]byte]bool)
	for _, p := range espOf(t, c) {
		if p.seq <= highest[p.spi] {
			t.Fatalf("SPI %08x: sequence number %d came after %d", p.spi, p.seq, highest[p.spi])
		}
		highest[p.spi] = p.seq
		if ivs[p.spi] == nil {
			ivs[p.spi] = make(map[[8]byte]bool)
		}
		if ivs[p.spi][p.iv()] {
			t.Fatalf("SPI %08x: packet %d has IV %x, which an earlier one had", p.spi, p.seq, p.iv())
		}
		ivs[p.spi][p.iv()] = true
	}
	if len(highest) == 0 {
		t.Fatal("no ESP was on the wire")
	}
}

// TestPluginDies kills the dataplane of either end under traffic, again and
// again. B1, B6: the tunnel is the same one afterwards.
func TestPluginDies(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, "", "")
	before := [2]string{identity(p.server.Tunnel("vpn1_0")), identity(p.client.Tunnel("office"))}
	capture := p.WAN.Capture("")
	p.wantPing("before the dataplanes die")
	stream := p.stream()
	for _, d := range []*gateway.Daemon{p.server, p.client, p.client} {
		dead := d.KillPlugin()
		wantReplaced(t, d, dead)
		stream.WaitFor(50, limit)
	}
	p.wantPing("after the dataplanes died")
	stream.Stop()
	after := [2]string{identity(p.server.Tunnel("vpn1_0")), identity(p.client.Tunnel("office"))}
	if before != after {
		t.Errorf("the tunnel is another one: it was %v and is %v", before, after)
	}
	wantFreshNumbers(t, capture)
	if n := p.client.Stat("reinstalled"); n != 4 {
		t.Errorf("the client counts %d SAs put back into a new dataplane, want 2 for each of 2", n)
	}
	if !p.Gateway.HasRoute(gateway.ClientNet) {
		t.Error("the route to the client's network went with the dataplane")
	}
}

// TestPluginHangs stops the dataplane without ending it: it holds its sockets and
// answers nothing.
func TestPluginHangs(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, "", "")
	before := identity(p.server.Tunnel("vpn1_0"))
	capture := p.WAN.Capture("")
	stream := p.stream()
	hung := plugin(t, p.server)
	if err := syscall.Kill(hung, syscall.SIGSTOP); err != nil {
		t.Fatalf("stop the dataplane: %v", err)
	}
	wantReplaced(t, p.server, hung)
	stream.WaitFor(50, limit)
	stream.Stop()
	if after := identity(p.server.Tunnel("vpn1_0")); before != after {
		t.Errorf("the tunnel is another one: it was %s and is %s", before, after)
	}
	if err := gone(hung); err != nil {
		t.Errorf("the dataplane that hung was replaced: %v", err)
	}
	s, err := p.server.Status()
	if err != nil || !strings.Contains(s.Dataplane.LastError, "hung") {
		t.Errorf("the status says %q of the last failure, want that the plugin hung (%v)", s.Dataplane.LastError, err)
	}
	wantFreshNumbers(t, capture)
}

// gone tells whether a process has ended. A zombie has: its parent may be slow.
func gone(pid int) error {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || strings.Contains(string(stat), ") Z ") {
		return nil
	}
	return fmt.Errorf("process %d is still there: %s (%w)", pid, stat, err)
}

// TestPluginIsSlow has a dataplane that takes its time for every call that
// changes something. B8: any plugin that keeps the contract will do.
func TestPluginIsSlow(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, fmt.Sprintf("dataplane: {plugin: %s}\n", faulty(t, "slow")), "")
	stream := p.stream()
	for _, ike := range []bool{false, true, false} {
		before := identity(p.client.Tunnel("office"))
		if err := p.client.Rekey("office", ike); err != nil {
			t.Fatalf("rekey: %v", err)
		}
		netlab.Eventually(t, limit, "the tunnel has new keys", func() error {
			tunnel := p.client.Tunnel("office")
			if identity(tunnel) == before || len(sas(tunnel)) != 1 {
				return errors.New(identity(tunnel))
			}
			return nil
		})
	}
	if err := stream.Stop().Err(); err != nil {
		t.Errorf("while keys were made with a slow dataplane: %v", err)
	}
}

// TestPluginRefuses has a dataplane that takes no SA: the client is told so, and
// the operator.
func TestPluginRefuses(t *testing.T) {
	t.Parallel()
	site := gateway.NewSite(netlab.New(t))
	server := startGateway(site.Gateway, dialupConfig+fmt.Sprintf("dataplane: {plugin: %s}\n", faulty(t, "refusing")))
	client := startGateway(site.Client, officeConfig)
	server.Log().Wait(`level=(WARN|ERROR).*refus`, limit)
	client.Log().Wait(`level=WARN.*(NO_ADDITIONAL_SAS|TEMPORARY_FAILURE|NO_PROPOSAL_CHOSEN)`, limit)
	netlab.Eventually(t, limit, "the refusal is counted", func() error {
		if n := server.Stat("refused"); n == 0 {
			return errors.New("refused: 0")
		}
		return nil
	})
	for _, tunnel := range client.Tunnels("office") {
		if n := len(sas(tunnel)); n > 0 {
			t.Errorf("the client has %d pairs of SAs, but the gateway's dataplane has none", n)
		}
	}
}

// faulty returns the path of a dataplane with a fault.
func faulty(t *testing.T, fault string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "evergate-plugin-"+fault)
	if err := os.Link(programs.Path("plugin"), path); err != nil {
		t.Fatalf("name the plugin after its fault: %v", err)
	}
	return path
}

// script returns the path of a dataplane that is a shell script.
func script(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "evergate-plugin-"+name)
	if err := errors.Join(os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o600), os.Chmod(path, 0o700)); err != nil {
		t.Fatalf("write a plugin: %v", err)
	}
	return path
}

// TestGatewayOutwaitsItsDataplane starts a gateway whose dataplane dies until its device
// is there, as at the start of a machine: the gateway says so, and works once it is.
func TestGatewayOutwaitsItsDataplane(t *testing.T) { // B7
	t.Parallel()
	site := gateway.NewSite(netlab.New(t))
	device := filepath.Join(t.TempDir(), "fpga0")
	dying := script(t, "dying", fmt.Sprintf("[ -e %s ] || { echo no such device: fpga0 >&2; exit 3; }\nexec %s", device, programs.Path("evergate-plugin-softesp")))
	server := launchGateway(site.Gateway, dialupConfig+metricsConfig+fmt.Sprintf("dataplane: {plugin: %s}\n", dying))
	stopped := launchGateway(site.Client, officeConfig+fmt.Sprintf("dataplane: {plugin: %s}\n", dying))
	for _, d := range []*gateway.Daemon{server, stopped} {
		netlab.Eventually(t, limit, "the gateway says what it waits for", func() error {
			s, err := d.Status()
			if err == nil && (s.Dataplane.State == "up" || s.Dataplane.Restarts == 0 || !strings.Contains(s.Dataplane.LastError, "no such device: fpga0")) {
				err = fmt.Errorf("it says %+v", s.Dataplane)
			}
			return err
		})
	}
	if err := server.Up("vpn1"); err == nil || !strings.Contains(err.Error(), "waits for its dataplane") {
		t.Errorf("an operator hears %v, want that the gateway waits", err)
	}
	netlab.Eventually(t, limit, "the metrics are served", func() error {
		conn, err := site.Gateway.Dial(t.Context(), "tcp", "", "127.0.0.1:9708")
		if err == nil {
			err = conn.Close()
		}
		return err
	})
	samples, _ := scrape(t, site.Gateway)
	if samples["evergate_dataplane_up"] != 0 || samples["evergate_dataplane_failures_total"] == 0 {
		t.Errorf("the metrics say up %v, failures %v", samples["evergate_dataplane_up"], samples["evergate_dataplane_failures_total"])
	}
	stopped.Stop() // an operator need not wait

	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	server.WaitReady()
	client := startGateway(site.Client, officeConfig)
	client.WaitUp("office", 1)
	server.Stop()
}
