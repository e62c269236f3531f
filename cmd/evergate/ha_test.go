package main

import (
	"bytes"
	"crypto/x509"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/ha/transport/cert"
)

// evergate runs the tool and returns what it prints.
func evergate(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestMembersTrustWhatTheToolMade(t *testing.T) { // B4
	dir := filepath.Join(t.TempDir(), "group1")
	for _, step := range []struct{ args, says string }{
		{"init-ca --group 1", "authority of group 1"},
		{"issue --member 1 --address 172.31.1.1", "member 1 of group 1"},
		{"issue --member 2 --address 172.31.1.2,2001:db8::2", "member 2 of group 1"},
	} {
		out, err := evergate(t, append([]string{"ha"}, append(strings.Fields(step.args), "--dir", dir)...)...)
		if err != nil || !strings.Contains(out, step.says) {
			t.Fatalf("evergate ha %s should say %q, got %q, %v.", step.args, step.says, out, err)
		}
	}
	load := func(name string) *cert.Identity {
		i, err := cert.Load(filepath.Join(dir, caCert), filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"), time.Now())
		if err != nil {
			t.Fatalf("%s cannot be loaded: %v.", name, err)
		}
		return i
	}
	one, two := load("member-1"), load("member-2")
	chain := []*x509.Certificate{two.TLS().Leaf}
	for addr, good := range map[string]bool{"172.31.1.2": true, "2001:db8::2": true, "172.31.1.1": false} {
		name, err := one.Verify(chain, netip.MustParseAddr(addr), time.Now())
		if (err == nil) != good || name.Member != 2 {
			t.Errorf("Member 2 at %s: trusted should be %v, got %v, %v.", addr, good, name, err)
		}
	}
	for _, key := range []string{caKey, "member-1.key", "member-2.key"} {
		if info, err := os.Stat(filepath.Join(dir, key)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s should be its owner's only, got %v, %v.", key, info.Mode(), err)
		}
	}
}

func TestToolOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := evergate(t, "ha", "init-ca", "--group", "1", "--dir", dir); err != nil {
		t.Fatalf("The authority is not made: %v.", err)
	}
	before, _ := os.ReadFile(filepath.Join(dir, caKey))
	_, err := evergate(t, "ha", "init-ca", "--group", "1", "--dir", dir)
	after, _ := os.ReadFile(filepath.Join(dir, caKey))
	if err == nil || !bytes.Equal(before, after) {
		t.Errorf("The key of a group should not be overwritten, got %v.", err)
	}
	if err := os.Remove(filepath.Join(dir, caKey)); err != nil {
		t.Fatal(err)
	}
	if _, err := evergate(t, "ha", "init-ca", "--group", "1", "--dir", dir); err == nil {
		t.Error("The certificate of a group should not be overwritten.")
	}
	if _, err := os.Stat(filepath.Join(dir, caKey)); !os.IsNotExist(err) {
		t.Errorf("A key whose certificate could not be written should not stay: %v.", err)
	}
}

func TestToolSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	for args, says := range map[string]string{
		"init-ca":                            "group",
		"init-ca --group 256":                "256",
		"issue":                              "member",
		"issue --member 1":                   "no such file",
		"issue --member 1 --address nowhere": "--address",
	} {
		_, err := evergate(t, append([]string{"ha"}, append(strings.Fields(args), "--dir", dir)...)...)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("evergate ha %s should complain about %q, got %v.", args, says, err)
		}
	}
	if _, err := evergate(t, "ha", "init-ca", "--group", "1", "--days", "30", "--dir", dir); err != nil {
		t.Fatal(err)
	}
	for args, says := range map[string]string{"--member 16": "above 15", "--member 1 --days 31": "outlive"} {
		_, err := evergate(t, append([]string{"ha", "issue", "--dir", dir}, strings.Fields(args)...)...)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("evergate ha issue %s should complain about %q, got %v.", args, says, err)
		}
	}
}
