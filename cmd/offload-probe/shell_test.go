package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/offloadtest"
)

// typed is a shell on a plane in memory, whose traffic the test plays.
type typed struct {
	*shell
	t     *testing.T
	out   bytes.Buffer
	plane *mem.Engine
}

func newTyped(t *testing.T) *typed {
	t.Helper()
	y := &typed{t: t, plane: mem.New(mem.Options{Settings: []string{"colour"}})}
	ctx, cancel := context.WithCancel(t.Context())
	h := &offloadtest.Harness{Engine: y.plane}
	h.Local, h.Remote = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	h.Config.Boot = 1
	y.shell = &shell{ctx: ctx, h: h, out: &y.out, epoch: offload.NewEpoch(1, 0)}
	y.says("configure", "configured mem 1")
	y.watch()
	t.Cleanup(func() { cancel(); y.events.wait() })
	return y
}

// says carries out a line, and wants all of these in what it prints.
func (y *typed) says(line string, want ...string) {
	y.t.Helper()
	y.out.Reset()
	if err := y.do(line); err != nil {
		y.t.Fatalf("%q failed: %v.", line, err)
	}
	for _, w := range want {
		if !strings.Contains(y.out.String(), w) {
			y.t.Errorf("%q should print %q, got:\n%s", line, w, y.out.String())
		}
	}
}

// fails carries out a line that has to fail with this in its error.
func (y *typed) fails(line, want string) {
	y.t.Helper()
	if err := y.do(line); err == nil || !strings.Contains(err.Error(), want) {
		y.t.Errorf("%q should fail and say %q, got %v.", line, want, err)
	}
}

func TestShellPlaysAFailover(t *testing.T) {
	y := newTyped(t)
	y.says("info", "mem 1", "transform aes128gcm", "first packets reported true")
	y.says("install 1-2 standby group=3 esp=aes128-sha1 # of member 3", "standby, npu 0 (no npu)")
	y.says("update 1 next=1001 ceiling=2000 mtu=1400", "10010002@192.0.2.1/esp")
	y.says("arm 3")
	in, _ := y.names(1)
	if err := y.plane.Inbound(in, 7); err != nil {
		t.Fatalf("The packet was not accepted: %v.", err)
	}
	y.says("wait activated", "Activated {Tunnel:1000000000000001 Group:3")
	y.says("list group=3", "next 1001 of 2000", "highest 7", "active", "standby")
	y.says("epoch 5", "epoch 5 of member 0")
	y.says("demote 3")
	y.says("epoch 4")
	y.fails("promote 3", "stale epoch")
	y.says("epoch 5")
	y.says("delete 1-2", "highest 7")
	y.says("stats", "unknown-sa")
	y.says("configure boot=2 colour=red", "configured")
	y.says("events")
	if y.out.Len() != 0 {
		t.Errorf("No event should be left, got:\n%s", y.out.String())
	}
}

func TestShellSaysWhatItDoesNotUnderstand(t *testing.T) {
	y := newTyped(t)
	for line, want := range map[string]string{
		"instal 1":              `no command "instal"`,
		"install":               "which tunnel",
		"install 0":             "tunnel 0",
		"install 5-4":           "tunnel 5-4",
		"install 1 primary":     `role "primary"`,
		"install 1 esp=rot13":   "rot13",
		"install 1 colour=red":  "colour=",
		"install 1 group=x":     "group=x",
		"update 1 mtu=70000":    "mtu=70000",
		"update 1 mtu=1400":     "no such SA",
		"update 1 role=primary": `role "primary"`,
		"arm":                   "which group",
		"arm 16":                "group 16",
		"configure no-such=1":   "no-such",
		"wait":                  "which event",
		"epoch x":               "epoch x",
	} {
		y.fails(line, want)
	}
	y.says("") // nothing is no command
	y.says("help", "install TUNNEL")
}

func TestTabCompletesWhatIsClear(t *testing.T) {
	for line, want := range map[string]string{"in": "", "ins": "install ", "e": "", "ep": "epoch ", "x": "", "arm 1": ""} {
		got, pos, ok := complete(line, len(line), '\t')
		if got != want || ok != (want != "") || pos != len(want) {
			t.Errorf("%q should become %q, got %q.", line, want, got)
		}
	}
}

// script gives a shell with the plugin of testdata these lines.
func script(t *testing.T, path, lines string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetIn(strings.NewReader(lines))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs([]string{"shell", path})
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func TestShellRunsScripts(t *testing.T) {
	path := built(testPlugin)
	out, err := script(t, path, "install 1\nlist\nquit\nnonsense\n")
	if err != nil || !strings.Contains(out, "active") {
		t.Errorf("A script should run up to quit, got %v:\n%s", err, out)
	}
	_, err = script(t, path, "install 1\nnonsense\nlist\n")
	if err == nil || errors.Is(err, errBroken) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("A script should end with its first bad line, and name it, got %v.", err)
	}
}

func TestLoadMeasuresEveryPhase(t *testing.T) {
	path := built(testPlugin)
	out, err := probe(t, "load", "-n", "200", "-b", "20", "-p", "2", "--json", path)
	if err != nil {
		t.Fatalf("The load test failed: %v\n%s", err, out)
	}
	var l jsonLoad
	if err := json.Unmarshal([]byte(out), &l); err != nil || l.Name != "mem" || len(l.Phases) != 5 || l.Phases[0].Calls != 10 {
		t.Errorf("The result should have five phases, ten calls to install, got %+v (%v).", l, err)
	}
	if out, err = probe(t, "load", "-n", "200", path); err != nil || !strings.Contains(out, "SAs/s") || !strings.Contains(out, "promote") {
		t.Errorf("The result should be a table, got %v:\n%s", err, out)
	}
	if _, err = probe(t, "load", "-p", "17", path); err == nil || !strings.Contains(err.Error(), "17 callers") {
		t.Errorf("More callers than groups should be refused, got %v.", err)
	}
}
