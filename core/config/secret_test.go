package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/config"
)

// withSecret is minimal with another psksecret.
func withSecret(secret string) string {
	return strings.Replace(minimal, "a secret that nobody guesses", secret, 1)
}

func TestWhereSecretsComeFrom(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "unix.psk"), "from a file of Unix\n")
	write(t, filepath.Join(dir, "dos.psk"), "from a file of DOS\r\n")
	write(t, filepath.Join(dir, "two.psk"), "two line feeds\n\n")
	t.Setenv("VPN1_PSK", "from the environment\n")
	for _, s := range []struct{ yaml, want string }{
		{"a plain text", "a plain text"},
		{"0123456789012", "0123456789012"},
		{"{literal: 'a literal: text'}", "a literal: text"},
		{"{file: " + dir + "/unix.psk}", "from a file of Unix"},
		{"{file: " + dir + "/dos.psk}", "from a file of DOS"},
		{"{file: " + dir + "/two.psk}", "two line feeds\n"},
		{"{env: VPN1_PSK}", "from the environment\n"},
	} {
		t.Run(s.yaml, func(t *testing.T) {
			c := mustLoad(t, withSecret(s.yaml))
			want(t, "the key", string(c.Phase1[0].PSK.Reveal()), s.want)
			if len(c.Warnings) > 0 {
				t.Errorf("There are warnings: %v.", c.Warnings)
			}
		})
	}
}

func TestSecretsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "empty.psk"), "\n")
	write(t, filepath.Join(dir, "large.psk"), strings.Repeat("x", 5000))
	t.Setenv("EMPTY_PSK", "")
	const key = "gw.yaml:5: phase1[0].psksecret"
	for _, s := range []struct{ yaml, want string }{
		{"''", key + ": the pre-shared key is empty"},
		{"{literal: ''}", key + ".literal: the pre-shared key is empty"},
		{"{env: EMPTY_PSK}", key + ".env: the pre-shared key is empty"},
		{"{env: NO_SUCH_PSK}", key + ".env: the environment has no variable NO_SUCH_PSK"},
		{"{file: " + dir + "/empty.psk}", key + ".file: the pre-shared key is empty"},
		{"{file: " + dir + "/none.psk}", key + ".file: stat " + dir + "/none.psk: no such file or directory"},
		{"{file: " + dir + "}", key + ".file: " + dir + " is no regular file"},
		{"{file: /dev/zero}", key + ".file: /dev/zero is no regular file"},
		{"{file: " + dir + "/large.psk}", key + ".file: " + dir + "/large.psk has 5000 octets; the pre-shared key has at most 4096"},
		{"{file: a, env: b}", key + ": want one of file, env, literal, got 2"},
		{"{}", key + ": want one of file, env, literal, got 0"},
		{"[a]", key + ": want keys with values below it, got a list"},
		{"ENC kUdJ5fPz", key + ": this is a key as a FortiGate encrypts it for itself; write the key in the clear, or better {file: ...}"},
	} {
		t.Run(s.yaml, func(t *testing.T) { wantProblems(t, withSecret(s.yaml), s.want) })
	}
}

func TestWarningsAboutSecrets(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "open.psk")
	write(t, path, "open to everybody")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatalf("The file cannot be opened to everybody: %v.", err)
	}
	for secret, warning := range map[string]string{
		"{file: " + path + "}": path + " is open to everybody on this host (mode -rw-r--r--); chmod 600 it",
		"short":                "the pre-shared key has only 5 octets; an impostor who answers a client once can search for it at leisure",
	} {
		c := mustLoad(t, withSecret(secret))
		if len(c.Warnings) != 1 || c.Warnings[0].Text != warning || c.Warnings[0].Line != 5 {
			t.Errorf("The warnings should be %q for line 5, they are %v.", warning, c.Warnings)
		}
	}
}

// TestNothingPrintsSecrets: neither a configuration, nor what is made of it, nor a
// mistake elsewhere, shows a key by accident.
func TestNothingPrintsSecrets(t *testing.T) {
	const secret = "correct horse battery staple"
	c := mustLoad(t, strings.ReplaceAll(cluster+`bgp:
  as: 65001
  router-id: 10.0.0.1
  neighbors: [{address: 10.0.0.2, remote-as: 65000, password: a secret that nobody guesses}]
`, "secret that nobody guesses", secret))
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatalf("A configuration should have a JSON form without its keys, but: %v.", err)
	}
	conn := c.Connections()[0]
	_, mistake := load(t, withPhase1(withSecret("{literal: "+secret+", fil: x}"), "dhgrp: 3"))
	for what, text := range map[string]string{
		"%+v of the configuration": fmt.Sprintf("%+v %+v %+v %+v", c, c.Phase1[0], c.Cluster, c.BGP.Neighbors[0]),
		"%#v of the configuration": fmt.Sprintf("%#v %#v %#v %#v", c, *c.Phase1[0], *c.Cluster, *c.BGP.Neighbors[0]),
		"JSON":                     string(asJSON),
		"the connection":           fmt.Sprintf("%+v %#v", conn, *conn.Connection),
		"the hash":                 conn.Hash + conn.Shared,
		"the mistakes":             mistake.Error(),
		"the changes":              fmt.Sprint(config.Diff(c, mustLoad(t, withSecret("another "+secret))).Lines()),
	} {
		if strings.Contains(text, "horse") {
			t.Errorf("%s shows the pre-shared key: %s.", what, text)
		}
	}
}
