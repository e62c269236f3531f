package e2e_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

const metricsConfig = "metrics: {listen: \"127.0.0.1:9708\"}\n"

// scrape reads the metrics of a gateway with metricsConfig, as Prometheus does.
func scrape(t *testing.T, ns *netlab.Namespace) (samples map[string]float64, text string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return ns.Dial(ctx, "tcp", "", address)
		},
	}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:9708/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("scrape: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s", resp.Status)
	}
	samples = make(map[string]float64)
	var all strings.Builder
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		line := lines.Text()
		all.WriteString(line + "\n")
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		if samples[line[:i]], err = strconv.ParseFloat(line[i+1:], 64); err != nil {
			t.Fatalf("scrape: sample %q: %v", line, err)
		}
	}
	return samples, all.String()
}

// TestMetrics: what is configured and down shows 0, what was lost shows why, and
// no counter falls, whatever happens to the tunnel. B7.
func TestMetrics(t *testing.T) {
	t.Parallel()
	p := connectEvergates(t, metricsConfig, "")
	p.server.Write(strings.Replace(dialupConfig, "phase2:", "  - {name: idle, type: dynamic, local-gw: 192.168.202.32, psksecret: other}\nphase2:\n  - {name: idle, phase1name: idle}", 1) + metricsConfig)
	if _, err := p.server.Reload(); err != nil {
		t.Fatal(err)
	}
	before, _ := scrape(t, p.Gateway)
	for name, want := range map[string]float64{
		`evergate_tunnel_up{phase1="vpn1"}`: 1, `evergate_tunnel_up{phase1="idle"}`: 0,
		`evergate_tunnel_child_sas{phase1="vpn1"}`: 1, `evergate_tunnel_child_sas{phase1="idle"}`: 0,
		`evergate_dataplane_up`: 1, `evergate_dataplane_starts_total`: 1, `evergate_dataplane_failures_total`: 0,
		`evergate_tunnel_packets_total{direction="in",phase1="idle"}`: 0, `evergate_tunnel_drops_total{phase1="vpn1",reason="replayed"}`: 0,
		`evergate_ike_established_responder_total`: 1, `evergate_ike_drops_integrity_total`: 0,
	} {
		if got, ok := before[name]; !ok || got != want {
			t.Errorf("%s is %v (%t), want %v", name, got, ok, want)
		}
	}
	stream := p.stream()
	events := []struct {
		what string
		do   func() error
	}{
		{"traffic", func() error { stream.WaitFor(100, limit); return nil }},
		{"a child rekey", func() error { return p.server.Rekey("vpn1_0", false) }},
		{"an IKE rekey", func() error { return p.server.Rekey("vpn1_0", true) }},
		{"a new dataplane", func() error { wantReplaced(t, p.server, p.server.KillPlugin()); return nil }},
		{"a new tunnel", func() error { return p.server.Down("vpn1") }},
	}
	in := `evergate_tunnel_packets_total{direction="in",phase1="vpn1"}`
	for _, e := range events {
		if err := e.do(); err != nil {
			t.Fatalf("%s: %v", e.what, err)
		}
		stream.WaitFor(50, limit)
		after := waitMore(t, p.Gateway, before, in)
		for name, value := range after {
			if family, _, _ := strings.Cut(name, "{"); strings.HasSuffix(family, "_total") && strings.HasPrefix(family, "evergate_") && value < before[name] {
				t.Errorf("over %s counter %s fell from %v to %v", e.what, name, before[name], value)
			}
		}
		before = after
	}
}

// waitMore scrapes until a counter has grown.
func waitMore(t *testing.T, ns *netlab.Namespace, before map[string]float64, name string) (after map[string]float64) {
	t.Helper()
	netlab.Eventually(t, limit, name+" grows", func() error {
		after, _ = scrape(t, ns)
		if after[name] <= before[name] {
			return fmt.Errorf("it was %v and is %v", before[name], after[name])
		}
		return nil
	})
	return after
}

// TestSecrets come from a file, the environment or the configuration itself, and
// go nowhere: not into the log at its most verbose, not into any view, not into
// the metrics. So with the keys made of them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	site := gateway.NewSite(netlab.New(t))
	file := filepath.Join(t.TempDir(), "vpn.psk")
	secrets := map[string]string{"file": "the-secret-of-a-file", "env": "the-secret-of-the-environment", "literal": "the-secret-itself"}
	if err := os.WriteFile(file, []byte(secrets["file"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sources := map[string]string{"file": "{file: " + file + "}", "env": "{env: VPN_PSK}", "literal": "{literal: " + secrets["literal"] + "}"}
	configs := [2]string{metricsConfig + "phase1:\n", metricsConfig + "phase1:\n"}
	for kind, source := range sources {
		configs[0] += fmt.Sprintf("  - {name: %s, type: dynamic, local-gw: %s, peertype: one, peerid: %s, psksecret: %s}\n", kind, gateway.GatewayAddr, kind, source)
		configs[1] += fmt.Sprintf("  - {name: %s, type: static, local-gw: %s, remote-gw: %s, localid: %s, psksecret: %q}\n", kind, gateway.ClientAddr, gateway.GatewayAddr, kind, secrets[kind])
	}
	configs[0], configs[1] = configs[0]+"phase2:\n", configs[1]+"phase2:\n"
	for kind := range sources {
		configs[0] += fmt.Sprintf("  - {name: %s, phase1name: %s}\n", kind, kind)
		configs[1] += fmt.Sprintf("  - {name: %s, phase1name: %s, auto-negotiate: enable}\n", kind, kind)
	}
	verbose := "log: {level: debug}\n"
	server := startGateway(site.Gateway, verbose+configs[0], "VPN_PSK="+secrets["env"])
	client := startGateway(site.Client, verbose+configs[1])
	hidden := make(map[string]string)
	for kind, s := range secrets {
		hidden["the secret from "+kind] = s
		server.WaitUp(kind, 1)
		client.WaitUp(kind, 1)
	}
	for _, tunnel := range listWithKeys(t, server) {
		for _, sa := range sas(tunnel) {
			hidden["a key of "+tunnel.Name] = sa.Enc.Key
		}
	}
	_, metrics := scrape(t, site.Gateway)
	texts := map[string]string{"the metrics": metrics, "the server's log": server.Log().Text(), "the client's log": client.Log().Text()}
	for _, args := range [][]string{{"status"}, {"diagnose", "vpn", "tunnel", "list"}, {"diagnose", "vpn", "tunnel", "list", "--json"}, {"diagnose", "vpn", "ike", "stats"}} {
		texts["evergate "+strings.Join(args, " ")] = evergate(t, server, args...)
	}
	for where, text := range texts {
		for what, s := range hidden {
			if s == "" || strings.Contains(text, s) {
				t.Errorf("%s shows %s", where, what)
			}
		}
	}
}
