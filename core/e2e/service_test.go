package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// twoOffices are two connections of one client, told apart by their identities;
// the second has a proposal to change.
func twoOffices(server bool, second string) string {
	var b strings.Builder
	b.WriteString("phase1:\n")
	for i, name := range []string{"vpn1", "vpn2"} {
		ends := fmt.Sprintf("type: dynamic, local-gw: %s, peertype: one, peerid: office%d", gateway.GatewayAddr, i)
		if !server {
			ends = fmt.Sprintf("type: static, local-gw: %s, remote-gw: %s, localid: office%d, add-route: enable", gateway.ClientAddr, gateway.GatewayAddr, i)
		}
		fmt.Fprintf(&b, "  - {name: %s, %s, proposal: aes128-sha256, dhgrp: 31, psksecret: %s}\n", name, ends, secret)
	}
	b.WriteString("phase2:\n")
	for i, name := range []string{"vpn1", "vpn2"} {
		proposal, more := "aes128gcm", ""
		if i == 1 {
			proposal = second
		}
		if !server {
			more = fmt.Sprintf(", src-subnet: 10.10.%d.0/24, dst-subnet: %s, auto-negotiate: enable", i+1, gateway.ServerNet)
		}
		fmt.Fprintf(&b, "  - {name: %s, phase1name: %s, proposal: %s%s}\n", name, name, proposal, more)
	}
	return b.String()
}

// TestReload changes one of two connections, adds and removes others, and reads
// configurations with mistakes: the stream through the first loses nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	p := &evergates{Site: gateway.NewSite(netlab.New(t)), t: t}
	p.server = startGateway(p.Gateway, twoOffices(true, "[aes128gcm, aes256gcm]"))
	p.client = startGateway(p.Client, twoOffices(false, "aes128gcm"))
	p.client.WaitUp("vpn1", 1)
	p.client.WaitUp("vpn2", 1)
	kept, changed := identity(p.client.Tunnel("vpn1")), identity(p.client.Tunnel("vpn2"))
	stream := p.stream()

	if out := evergate(t, p.client, "reload"); out != "nothing changed\n" {
		t.Errorf("a reload of the same file says %q", out)
	}
	p.client.Write(twoOffices(false, "aes256gcm"))
	if out := evergate(t, p.client, "reload"); !strings.Contains(out, "vpn2") || strings.Contains(out, "vpn1") {
		t.Errorf("a reload with another vpn2 says %q, want that vpn2 changed and nothing else", out)
	}
	netlab.Eventually(t, limit, "the changed connection is back", func() error {
		ts := p.client.Tunnels("vpn2")
		if len(ts) != 1 || len(sas(ts[0])) != 1 || identity(ts[0]) == changed || sas(ts[0])[0].Enc.KeyLen != 36 {
			return fmt.Errorf("it is %+v", ts)
		}
		return nil
	})

	mistakes := p.client.Log().Now()
	p.client.Write(strings.Replace(twoOffices(false, "aes256gcm"), "localid: office0", "localid: office0, keylife: soon, dhgrp: 99", 1))
	wantRefusal(t, p.client, `(?s)keylife.*dhgrp|dhgrp.*keylife`, "reload")
	p.client.Process().Signal(syscall.SIGHUP)
	mistakes.Wait(`level=ERROR.*nothing changed.*keylife`, limit)

	hup := p.client.Log().Now()
	p.client.Write(strings.Replace(twoOffices(false, "aes256gcm"), "phase2:", fmt.Sprintf(
		"  - {name: vpn3, type: static, local-gw: %s, remote-gw: 192.0.2.77, psksecret: other}\nphase2:\n  - {name: vpn3, phase1name: vpn3}", gateway.ClientAddr), 1))
	p.client.Process().Signal(syscall.SIGHUP)
	hup.Wait(`configuration reloaded.*vpn3`, limit)

	if err := stream.Stop().Err(); err != nil {
		t.Errorf("the stream through the connection that stayed the same: %v", err)
	}
	if now := identity(p.client.Tunnel("vpn1")); now != kept {
		t.Errorf("the connection that stayed the same was %s and is %s", kept, now)
	}
}

// TestStop ends a gateway as a service manager and as a terminal do. C12, C13.
func TestStop(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connectEvergates(t, "", "")
			dataplane := plugin(t, p.server)
			before := p.client.Log().Now()
			p.server.Process().Signal(signal) // to the whole group, as a terminal does
			if err := p.server.Process().Wait(limit); err != nil {
				t.Errorf("evergated ends with %v, want status 0; its log ends with:\n%s", err, p.server.Log().Tail(20))
			}
			before.Wait(`initiated again.*deleted by the peer`, limit)
			if err := gone(dataplane); err != nil {
				t.Errorf("the dataplane outlived its daemon: %v", err)
			}
			if p.Gateway.HasRoute(gateway.ClientNet) {
				t.Error("the route to the client's network is still there")
			}
			if links := p.Gateway.Interfaces(); slices.Contains(links, "evg0") {
				t.Errorf("the interfaces are %v, want no TUN device", links)
			}
			if left, err := filepath.Glob(filepath.Join(p.server.Dir(), "*.sock")); err != nil || len(left) > 0 {
				t.Errorf("the sockets %v are still there (%v)", left, err)
			}
		})
	}
}

// TestServiceManager hears what a service manager hears, sd_notify(3).
func TestServiceManager(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	path := lab.File("notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hear := func(want ...string) {
		t.Helper()
		b := make([]byte, 4096)
		for _, w := range want {
			_ = conn.SetReadDeadline(time.Now().Add(limit))
			n, err := conn.Read(b)
			if lines := strings.Split(string(b[:n]), "\n"); err != nil || !slices.Contains(lines, w) {
				t.Fatalf("the service manager hears %q (%v), want %s", b[:n], err, w)
			}
		}
	}
	d := startGateway(lab.Namespace("gateway"), dialupConfig, "NOTIFY_SOCKET="+path)
	hear("READY=1")
	d.Process().Signal(syscall.SIGHUP)
	hear("RELOADING=1", "READY=1")
	d.Write("phase1: nonsense")
	d.Process().Signal(syscall.SIGHUP)
	hear("RELOADING=1", "READY=1")
	d.Stop()
	hear("STOPPING=1")
}

// TestLogFormats reads the log as a program does, and as a person.
func TestLogFormats(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	structured := startGateway(lab.Namespace("one"), dialupConfig+"log: {format: json, level: debug}\n")
	plain := startGateway(lab.Namespace("two"), dialupConfig+"log: {level: warn}\n")
	structured.Stop()
	plain.Stop()
	messages := make(map[string]bool)
	for lines := bufio.NewScanner(strings.NewReader(structured.Log().Text())); lines.Scan(); {
		var entry struct {
			Time       time.Time
			Level, Msg string
		}
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil || entry.Time.IsZero() || entry.Level == "" || entry.Msg == "" {
			t.Errorf("a line of the log is %q: %v", lines.Text(), err)
		}
		messages[entry.Msg] = true
	}
	for _, want := range []string{"gateway ready", "dataplane plugin up", "gateway stops"} {
		if !messages[want] {
			t.Errorf("the log does not say %q", want)
		}
	}
	if text := plain.Log().Text(); strings.Contains(text, "level=INFO") {
		t.Errorf("the log at level warn says:\n%s", text)
	}
}

// TestAdminSocket: who may open it may do everything, so it is for root alone.
func TestAdminSocket(t *testing.T) {
	t.Parallel()
	d := startGateway(netlab.New(t).Namespace("gateway"), dialupConfig)
	for _, name := range []string{"admin.sock", "ike.sock"} {
		info, err := os.Stat(filepath.Join(d.Dir(), name))
		if err != nil || info.Mode()&fs.ModePerm != 0o600 || info.Mode()&fs.ModeSocket == 0 {
			t.Errorf("%s has mode %v (%v), want a socket for its owner only", name, info, err)
		}
	}
	d.Stop()
	for _, name := range []string{"admin.sock", "ike.sock", "ike.sock.lock"} {
		if _, err := os.Lstat(filepath.Join(d.Dir(), name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind by a clean stop (%v)", name, err)
		}
	}
}
