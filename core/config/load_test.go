package config_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
)

// minimal is a phase 1 and a phase 2 with nothing but what must be there. Tests
// put lines behind the one that they are about.
const minimal = `phase1:
  - name: vpn1
    type: dynamic
    local-gw: 192.0.2.1
    psksecret: a secret that nobody guesses
phase2:
  - name: net1
    phase1name: vpn1
`

// static is minimal for a peer at a known address.
const static = `phase1:
  - name: vpn1
    type: static
    local-gw: 192.0.2.1
    remote-gw: 192.0.2.2
    psksecret: a secret that nobody guesses
phase2:
  - name: net1
    phase1name: vpn1
`

// withPhase1 and withPhase2 add a line to the entry.
func withPhase1(text, line string) string {
	return strings.Replace(text, "phase2:\n", "    "+line+"\nphase2:\n", 1)
}

func withPhase2(text, line string) string { return text + "    " + line + "\n" }

// load writes text into a file of its own and loads it.
func load(t *testing.T, text string) (*config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gw.yaml")
	write(t, path, text)
	return config.Load(path)
}

func mustLoad(t *testing.T, text string) *config.Config {
	t.Helper()
	c, err := load(t, text)
	if err != nil {
		t.Fatalf("The configuration has mistakes:\n%v\n\n%s", err, text)
	}
	return c
}

// first returns the connection of a configuration that has one.
func first(t *testing.T, text string) *config.Connection {
	t.Helper()
	cs := mustLoad(t, text).Connections()
	if len(cs) != 1 {
		t.Fatalf("The configuration makes %d connections, it should make one.", len(cs))
	}
	return cs[0]
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s is %v, it should be %v.", what, got, want)
	}
}

func TestDialupServerOfFortiOS(t *testing.T) { // F14, F15, F6
	want(t, "fgsp-sync of a gateway on its own", loadShipped(t, "gateway.yaml").Connections()[0].Sync, false)
	conn := loadShipped(t, "fgsp-member.yaml").Connections()[0]

	want(t, "the name", conn.Name, "vpn1")
	want(t, "dialup", conn.Dialup, true)
	want(t, "the interface", conn.Interface, "port2")
	want(t, "the local address", conn.Local, netip.MustParseAddr("192.168.202.31"))
	want(t, "the peer's address", conn.Remote, netip.Addr{})
	want(t, "keylife", conn.Lifetime.Hard.Time, 25*time.Hour)
	want(t, "the peer", conn.RemoteID, ike.Identity{Type: ike.IDText, Data: "Nokia_Peer"})
	want(t, "dpd", conn.DPD, ike.DPD{Mode: ike.DPDOnIdle, Interval: time.Minute, Retries: 3})
	want(t, "nattraversal", conn.NATT, ike.NATTOff)
	want(t, "fgsp-sync", conn.Sync, true)
	want(t, "add-route", conn.AddRoute, true)
	want(t, "the key", string(conn.PSK.Reveal()), "a secret that nobody guesses")
	want(t, "the proposals", proposals(conn.Proposals), "aes128/prfsha1/sha1/modp1024 (2)")

	if len(conn.Children) != 1 {
		t.Fatalf("There are %d children, there should be one.", len(conn.Children))
	}
	child := conn.Children[0]
	want(t, "keylifeseconds", child.Lifetime.Hard.Time, 3*time.Hour)
	want(t, "the limit of bytes", child.Lifetime.Hard.Bytes, 0)
	want(t, "the local selector", child.Selectors.Local[0].String(), "0:0.0.0.0-255.255.255.255:0")
	want(t, "the remote selector", child.Selectors.Remote[0].String(), "0:0.0.0.0-255.255.255.255:0")
	if !strings.Contains(proposals(child.Proposals), "aes128/sha1") {
		t.Errorf("The child's proposals are %v, aes128-sha1 should be among them.", child.Proposals)
	}
}

func TestClientOfDialupServer(t *testing.T) {
	conn := loadShipped(t, "client.yaml").Connections()[0]
	want(t, "dialup", conn.Dialup, false)
	want(t, "the peer's address", conn.Remote, netip.MustParseAddr("192.168.202.31"))
	want(t, "who we say we are", conn.LocalID, ike.Identity{Type: ike.IDText, Data: "Nokia_Peer"})
	want(t, "add-route", conn.AddRoute, true)
	if !slices.Equal(conn.AutoNegotiate, []string{"headquarters"}) {
		t.Errorf("It initiates %v at start, it should initiate headquarters.", conn.AutoNegotiate)
	}
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, minimal)
	want(t, "dataplane.plugin", c.Dataplane.Plugin, "softesp")
	want(t, "log.level", c.Log.Level, slog.LevelInfo)
	want(t, "admin.socket", c.Admin.Socket, config.DefaultAdminSocket)
	want(t, "metrics.listen", c.Metrics.Listen, "")
	want(t, "state-dir", c.StateDir, "/var/lib/evergate")

	conn := c.Connections()[0]
	want(t, "keylife", conn.Lifetime.Hard.Time, 24*time.Hour)
	want(t, "dpd", conn.DPD, ike.DPD{Mode: ike.DPDOnDemand, Interval: 20 * time.Second, Retries: 3})
	want(t, "nattraversal", conn.NATT, ike.NATTDetect)
	want(t, "keepalive", conn.Keepalive, 10*time.Second)
	want(t, "the peer", conn.RemoteID, ike.Identity{})
	want(t, "fgsp-sync", conn.Sync, false)
	child := conn.Children[0]
	want(t, "keylifeseconds", child.Lifetime.Hard.Time, 12*time.Hour)
	want(t, "replay-window", child.ReplayWindow, ipsec.DefaultReplayWindow)
	want(t, "the outer header", child.Header, ipsec.HeaderPolicy{})
	for _, p := range append(slices.Clone(conn.Proposals), child.Proposals...) {
		for _, tr := range p.OfType(ipsec.TypeKE) {
			if ipsec.GroupID(tr.ID).Weak() {
				t.Errorf("Group %v is weak and offered though nobody named it.", ipsec.GroupID(tr.ID))
			}
		}
	}
}

func TestEnvironmentWinsOverFile(t *testing.T) {
	t.Setenv("EVERGATE_LOG_LEVEL", "debug")
	t.Setenv("EVERGATE_STATE_DIR", "/srv/evergate")
	t.Setenv("EVERGATE_METRICS_LISTEN", "[::1]:9999")
	t.Setenv("EVERGATE_STANDALONE_CLUSTER_GROUP_MEMBER_ID", "7")
	t.Setenv("EVERGATE_STANDALONE_CLUSTER_SYNC_MIN_ACKS", "2")
	c := mustLoad(t, cluster+"log: {level: error, format: json}\n")
	want(t, "group-member-id", c.Cluster.Member, 7)
	want(t, "sync.min-acks", c.Cluster.Sync.MinAcks, 2)
	want(t, "sync.ack-timeout", c.Cluster.Sync.AckTimeout, 50*time.Millisecond)
	want(t, "log.level", c.Log.Level, slog.LevelDebug)
	want(t, "log.format json", c.Log.JSON, true)
	want(t, "state-dir", c.StateDir, "/srv/evergate")
	want(t, "metrics.listen", c.Metrics.Listen, "[::1]:9999")
}

func TestMistakeInEnvironmentNamesTheVariable(t *testing.T) {
	t.Setenv("EVERGATE_LOG_LEVEL", "loud")
	wantProblems(t, minimal, `$EVERGATE_LOG_LEVEL: log.level: "loud" is not allowed; allowed: debug, info, warn, error`)
}

func TestAnchorsShareSettings(t *testing.T) {
	c := mustLoad(t, `phase1:
  - &server
    name: one
    type: dynamic
    local-gw: 192.0.2.1
    keylife: 1h
    psksecret: a secret that nobody guesses
  - <<: *server
    name: two
    keylife: 2h
phase2:
  - {name: one, phase1name: one}
  - {name: two, phase1name: two}
`)
	want(t, "keylife of two", c.Phase1[1].KeyLife, 2*time.Hour)
	want(t, "local-gw of two", c.Phase1[1].LocalGW, netip.MustParseAddr("192.0.2.1"))
	want(t, "keylife of one", c.Phase1[0].KeyLife, time.Hour)
}

func TestTextsStayAsTheyAreWritten(t *testing.T) {
	conn := first(t, withPhase1(withPhase1(minimal, "peertype: one"), "peerid: 007"))
	want(t, "peerid", conn.RemoteID.Data, "007")
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gw.yaml")
	write(t, path, minimal+"state-dir: state\nplugin-dirs: [plugins, /opt]\ndataplane: {plugin: ./plugins/x}\n")
	c, err := config.Load(path)
	if err != nil {
		t.Fatalf("The configuration has mistakes:\n%v", err)
	}
	want(t, "state-dir", c.StateDir, filepath.Join(dir, "state"))
	want(t, "plugin", c.Dataplane.Plugin, filepath.Join(dir, "plugins/x"))
	if !slices.Equal(c.PluginDirs, []string{filepath.Join(dir, "plugins"), "/opt"}) {
		t.Errorf("The plugin directories are %v, they should be below %s, and /opt.", c.PluginDirs, dir)
	}
}

func TestFileThatIsNotThere(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("The error should say that the file does not exist, it says: %v.", err)
	}
}

// proposals joins proposals with commas.
func proposals(ps []ipsec.Proposal) string {
	words := make([]string, len(ps))
	for i, p := range ps {
		words[i] = p.String()
	}
	return strings.Join(words, ", ")
}
