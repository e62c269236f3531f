package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
)

// wantText wants each expression in what a command printed.
func wantText(t *testing.T, command, text string, expressions ...string) {
	t.Helper()
	for _, e := range expressions {
		if !regexp.MustCompile("(?m)" + e).MatchString(text) {
			t.Errorf("%s does not print %q, but:\n%s", command, e, text)
		}
	}
}

// wantRefusal wants a command to end with an error that says why.
func wantRefusal(t *testing.T, d *gateway.Daemon, expression string, args ...string) {
	t.Helper()
	_, err := tool(t.Context(), d, args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !regexp.MustCompile(expression).MatchString(err.Error()) {
		t.Errorf("evergate %s ends with %v, want status 1 and words like %q", strings.Join(args, " "), err, expression)
	}
}

// TestTool is an operator at work. C10, B7.
func TestTool(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, "", "")
	p.wantPing("through the new tunnel")
	t.Run("status", func(t *testing.T) { showStatus(t, p) })
	t.Run("list", func(t *testing.T) { showTunnels(t, p) })
	t.Run("keys", func(t *testing.T) { showKeys(t, p) })
	t.Run("stats", func(t *testing.T) {
		wantText(t, "stats", evergate(t, p.server, "diagnose", "vpn", "ike", "stats"),
			`^ike\.established\.responder: 1$`, `^ike\.established\.initiator: 0$`, `^ike\.drops\.integrity: 0$`, `^ike\.tunnels: 1$`)
		var stats diag.Stats
		if err := json.Unmarshal([]byte(evergate(t, p.server, "diagnose", "vpn", "ike", "stats", "--json")), &stats); err != nil || len(stats) == 0 {
			t.Errorf("the counters as JSON are %v: %v", stats, err)
		}
	})
	t.Run("completion", func(t *testing.T) { completes(t, p) })
	t.Run("tunnel", func(t *testing.T) { operate(t, p) })
	t.Run("no gateway", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), programs.Path("evergate"), "--socket", filepath.Join(t.TempDir(), "none"), "status")
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "is evergated running") {
			t.Errorf("without a gateway, evergate status ends with %v and says %q", err, out)
		}
	})
}

func showStatus(t *testing.T, p *evergates) {
	wantText(t, "status", evergate(t, p.server, "status"),
		`^evergated \S+, pid \d+, up `, `^dataplane: softesp .*, up, pid \d+, `, `^vpn1 +dynamic +`+regexp.QuoteMeta(gateway.GatewayAddr)+` +1 `)
	var s diag.Status
	if err := json.Unmarshal([]byte(evergate(t, p.server, "status", "--json")), &s); err != nil || s.PID != p.server.Process().PID() {
		t.Errorf("the status as JSON is %+v: %v", s, err)
	}
}

func showTunnels(t *testing.T, p *evergates) {
	all := evergate(t, p.server, "diagnose", "vpn", "tunnel", "list")
	wantText(t, "list", all, `^list all ipsec tunnel in vd 0$`,
		`^name=vpn1_0 ver=2 serial=\w+ `+regexp.QuoteMeta(gateway.GatewayAddr+":0->"+gateway.ClientAddr+":0")+` tun_id=`+gateway.ClientAddr,
		`^parent=vpn1 index=0$`, `role=primary accept_traffic=1`, `npu_flag=00`,
		`^  src: 0:172\.31\.125\.0-172\.31\.125\.255:0$`, `^  dst: 0:10\.10\.1\.0-10\.10\.1\.255:0$`, `^  dec: spi=[0-9a-f]{8} esp=aes-gcm key=20 \[hidden\]$`)
	if named := evergate(t, p.server, "diagnose", "vpn", "tunnel", "list", "name", "vpn1"); !strings.Contains(named, "name=vpn1_0") {
		t.Errorf("the list of phase 1 vpn1 has no vpn1_0:\n%s", named)
	}
	none := evergate(t, p.server, "diagnose", "vpn", "tunnel", "list", "name", "nobody")
	if none != "list ipsec tunnel by names in vd 0\n" {
		t.Errorf("the list of a tunnel that is not there is %q, want the header line only", none)
	}
	wantRefusal(t, p.server, "want nothing or: name NAME", "diagnose", "vpn", "tunnel", "list", "vpn1")
}

// showKeys: one end encrypts with what the other decrypts with, and the log says
// that somebody looked.
func showKeys(t *testing.T, p *evergates) {
	here, there := sas(listWithKeys(t, p.server)[0])[0], sas(listWithKeys(t, p.client)[0])[0]
	if here.Enc != there.Dec || here.Dec != there.Enc || len(here.Enc.Key) != 40 {
		t.Errorf("the server has %+v and %+v, the client has %+v and %+v", here.Enc, here.Dec, there.Dec, there.Enc)
	}
	text := evergate(t, p.server, "diagnose", "vpn", "tunnel", "list", "--show-keys")
	if !strings.Contains(text, "esp=aes-gcm key=20 "+here.Enc.Key) {
		t.Errorf("the list with keys lacks the key %s:\n%s", here.Enc.Key, text)
	}
	p.server.Log().Wait("keys were shown", limit)
}

func completes(t *testing.T, p *evergates) {
	for shell, expression := range map[string]string{"bash": "__start_evergate", "zsh": "#compdef evergate", "fish": "complete -c evergate"} {
		script := evergate(t, p.server, "completion", shell)
		if !strings.Contains(script, expression) {
			t.Errorf("the completion for %s has no %q", shell, expression)
		}
		if shell != "bash" {
			continue
		}
		check := exec.CommandContext(t.Context(), "bash", "-n")
		check.Stdin = strings.NewReader(script)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("bash does not read its completion: %v\n%s", err, out)
		}
	}
	wantText(t, "completion of tunnel down", evergate(t, p.server, "__complete", "tunnel", "down", ""), `^vpn1_0$`)
	wantText(t, "completion of tunnel up", evergate(t, p.server, "__complete", "tunnel", "up", ""), `^vpn1$`)
}

// operate rekeys, takes down and brings up, and hears why when that cannot be.
func operate(t *testing.T, p *evergates) {
	for _, args := range [][]string{{"tunnel", "rekey", "vpn1_0"}, {"tunnel", "rekey", "vpn1", "--ike"}} {
		before := identity(p.server.Tunnel("vpn1_0"))
		evergate(t, p.server, args...)
		netlab.Eventually(t, limit, "the tunnel has other keys", func() error {
			if now := p.server.Tunnel("vpn1_0"); identity(now) == before || len(sas(now)) != 1 {
				return fmt.Errorf("it is %s", identity(now))
			}
			return nil
		})
	}
	wantRefusal(t, p.server, `vpn1.*clients initiate`, "tunnel", "up", "vpn1")
	for _, verb := range []string{"up", "down", "rekey"} {
		wantRefusal(t, p.server, `"?nobody`, "tunnel", verb, "nobody")
	}
	evergate(t, p.client, "tunnel", "down", "office")
	p.client.WaitGone("office", limit)
	p.server.WaitGone("vpn1", limit)
	if p.Gateway.HasRoute(gateway.ClientNet) { // C13
		t.Error("the tunnel is gone, its route is not")
	}
	evergate(t, p.client, "tunnel", "up", "office")
	p.client.WaitUp("office", 1)
	p.wantPing("through the tunnel that came back")
}

// TestCheck lists every mistake of a file at once, each with its line.
func TestCheck(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateway.yaml")
	check := func(text string) (string, error) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), programs.Path("evergate"), "check", path).CombinedOutput()
		return string(out), err
	}
	if out, err := check(dialupConfig); err != nil || !strings.Contains(out, "1 phase1, 1 phase2: no mistakes") {
		t.Errorf("evergate check of a good file ends with %v and says %q", err, out)
	}
	out, err := check(`log: {level: loud}
phase1:
  - name: vpn1
    type: dynamik
    local-gw: 192.0.2.300
    proposal: [aes129-sha1]
    dhgrp: [3]
    keylife: 5
    psksecret: {file: /nowhere/vpn1.psk}
    peerID: one
phase2:
  - name: vpn1
    phase1name: vpn2
    replay-window: 1
`)
	if err == nil {
		t.Error("evergate check of a bad file ends with status 0")
	}
	for line, key := range map[int]string{1: "level", 4: "type", 5: "local-gw", 6: "proposal", 7: "dhgrp", 8: "keylife", 9: "psksecret", 10: "peerID", 13: "phase1name", 14: "replay-window"} {
		wantText(t, "evergate check", out, fmt.Sprintf(`gateway\.yaml:%d.*%s`, line, key))
	}
}
