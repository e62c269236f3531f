package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
)

// boot is the last boot number that a gateway has used.
func boot(t *testing.T, d *gateway.Daemon) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.Dir(), "state", "boot"))
	if err != nil {
		t.Fatalf("read the boot number: %v", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatalf("read the boot number: %v", err)
	}
	return n
}

// TestDaemonDies kills the server at once, its dataplane with it, and starts it
// again: the client finds out and dials in again, and nothing old is left. F1.
func TestDaemonDies(t *testing.T) {
	t.Parallel()
	p := connectWith(t, dialupConfig, strings.Replace(officeConfig, "type: static,", "type: static, dpd: on-idle, dpd-retryinterval: 1, dpd-retrycount: 1,", 1))
	before, first := identity(p.server.Tunnel("vpn1_0")), boot(t, p.server)
	dead := plugin(t, p.server)
	p.server.Kill()
	netlab.Eventually(t, limit, "the dataplane ends with its daemon", func() error { return gone(dead) })
	p.server.Restart()
	if second := boot(t, p.server); second <= first {
		t.Errorf("the boot number was %d and is %d, want a higher one", first, second)
	}
	p.wantAnswer("the client has a tunnel with the new daemon")
	if after := identity(p.server.WaitUp("vpn1", 1)); before == after {
		t.Error("the tunnel is the old one, but its keys died with the daemon")
	}
}

// TestStaticDaemonDies kills the initiator: it dials as soon as it is back, and
// the server, told by INITIAL_CONTACT, forgets the old tunnel.
func TestStaticDaemonDies(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, "", "")
	p.client.Kill()
	p.client.Restart()
	p.client.WaitUp("office", 1)
	p.wantAnswer("the new daemon's tunnel carries packets")
	netlab.Eventually(t, limit, "the server has one tunnel of that client", func() error {
		if n := len(p.server.Tunnels("vpn1")); n != 1 {
			return fmt.Errorf("it has %d", n)
		}
		return nil
	})
}

// TestStaleRoutes: a route that a daemon left behind when it was killed goes when
// the next one starts without the tunnel. C13.
func TestStaleRoutes(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, "", "")
	p.client.Stop()
	p.server.WaitGone("vpn1", limit)
	if p.Gateway.HasRoute(gateway.ClientNet) {
		t.Error("the tunnel is gone, its route is not")
	}
	p.client.Restart()
	p.server.WaitUp("vpn1", 1)
	p.server.Kill()
	p.client.Kill()
	// The interface took the route along; one that leads elsewhere has outlived it.
	if _, err := p.Gateway.Output(exec.CommandContext(t.Context(), "ip", "route", "replace", gateway.ClientNet, "dev", "port2", "proto", "50")); err != nil {
		t.Fatal(err)
	}
	p.server.Restart()
	if p.Gateway.HasRoute(gateway.ClientNet) {
		t.Errorf("the route to %s of an earlier run is still there", gateway.ClientNet)
	}
}

// TestSeparatePlugin runs the dataplane from an executable of its own, found by
// path, and by name in plugin-dirs. B8.
func TestSeparatePlugin(t *testing.T) {
	t.Parallel()
	byPath := fmt.Sprintf("dataplane: {plugin: %s}\n", programs.Path("evergate-plugin-softesp"))
	dir := t.TempDir()
	if err := os.Link(programs.Path("evergate-plugin-softesp"), filepath.Join(dir, "evergate-plugin-ours")); err != nil {
		t.Fatal(err)
	}
	p := connectEvergates(t, byPath, fmt.Sprintf("dataplane: {plugin: ours}\nplugin-dirs: [%s]\n", dir))
	p.wantPing("through two separate plugins")
	for d, want := range map[*gateway.Daemon]string{p.server: "evergate-plugin-softesp", p.client: "evergate-plugin-ours"} {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", plugin(t, d)))
		if err != nil || filepath.Base(exe) != want {
			t.Errorf("the dataplane runs %s, want %s (%v)", exe, want, err)
		}
	}
	dead := p.server.KillPlugin()
	wantReplaced(t, p.server, dead)
	p.wantAnswer("the plugin was started again")
}

// TestUnusablePlugin: what is wrong with a plugin that no waiting mends stands in the one
// line with which evergated ends, next to the field of the configuration, and nothing of
// it is left.
func TestUnusablePlugin(t *testing.T) { // B7
	t.Parallel()
	ns := netlab.New(t).Namespace("gateway")
	newer := script(t, "newer", "echo '1|99|unix|/nowhere|grpc'; exec sleep 60")
	dir := t.TempDir()
	text := filepath.Join(dir, "evergate-plugin-text")
	if err := os.WriteFile(text, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := strings.Repeat("ab", 32)
	for _, c := range []struct{ name, dataplane, want string }{
		{"missing file", "{plugin: " + dir + "/evergate-plugin-none}", `dataplane\.plugin: .*evergate-plugin-none: no such file`},
		{"missing name", "{plugin: none}", `dataplane\.plugin: .*no evergate-plugin-none in .*PATH`},
		{"not executable", "{plugin: " + text + "}", `dataplane\.plugin: .*evergate-plugin-text is not executable`},
		{"wrong hash", "{plugin: " + programs.Path("evergate-plugin-softesp") + ", sha256: " + wrong + "}", `dataplane\.plugin: .*has SHA-256 [0-9a-f]{64}, want ` + wrong},
		{"another version", "{plugin: " + newer + "}", `dataplane\.plugin: .*does not fit.*version: 99`},
		{"unknown setting", "{settings: {colour: red}}", `dataplane\.settings: .*colour`},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, err := refuse(t, ns, dialupConfig+"dataplane: "+c.dataplane+"\n")
			if err == nil || !regexp.MustCompile(c.want).MatchString(out) {
				t.Errorf("evergated ended with %v and said %q, want an error like %q", err, out, c.want)
			}
		})
	}
}

// refuse runs an evergated that should end by itself, and returns what it said.
func refuse(t *testing.T, ns *netlab.Namespace, config string) (string, error) {
	t.Helper()
	dir := ns.Lab().File("refused")
	path := filepath.Join(dir, "evergate.yaml")
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		err = os.WriteFile(path, fmt.Appendf(nil, "%s\nadmin: {socket: %[2]s/admin.sock}\nstate-dir: %[2]s/state\n", config, dir), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := ns.Start(exec.Command(programs.Path("evergated"), "--config", path))
	err = p.Wait(limit)
	if p.Kill(); strings.Contains(fmt.Sprint(err), "still running") {
		t.Errorf("evergated goes on with a dataplane that cannot start: %v", err)
	}
	return p.Log().Text(), err
}
