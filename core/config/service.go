package config

import (
	"encoding/hex"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// Dataplane says which plugin carries the packets.
type Dataplane struct {
	// Plugin is "softesp", the built-in one, the name NAME of an executable
	// evergate-plugin-NAME in the plugin directories or in PATH, or the absolute
	// path of an executable.
	Plugin string `json:"plugin"`
	// SHA256 is what the executable must hash to, nil for any.
	SHA256 []byte `json:"sha256"`
	// Settings are the plugin's own.
	Settings map[string]string `json:"settings"`
	// OrphanTime is how long the plugin goes on when the gateway's process is gone,
	// where the next one adopts it.
	OrphanTime time.Duration `json:"orphan-time"`
}

// DefaultOrphanTime is longer than an upgrade takes.
const DefaultOrphanTime = 2 * time.Minute

// State is what the next process finds.
type State struct {
	// SealKey seals the state of tunnels on disk; empty for none there.
	SealKey ipsec.Key `json:"-"`
}

// sealKey is the kind of state.seal-key.
func sealKey() secretKind {
	return secretKind{
		noun: "the key that seals the state", least: 16, wanted: 24, most: 4096,
		why: "who has the file can search for it at leisure",
	}
}

func stateFields(dir string) []field[State] {
	return []field[State]{
		{"seal-key", func(s *State, v value) { v.secret(&s.SealKey, dir, sealKey()) }},
	}
}

// Log says what is logged, and how.
type Log struct {
	Level slog.Level `json:"level"`
	JSON  bool       `json:"format"`
}

// Admin is the operator's socket. Who may open it may do everything.
type Admin struct {
	Socket string `json:"socket"`
	// Group is a group of the system whose members may open it too; empty for
	// root alone.
	Group string `json:"group"`
}

// Metrics is the Prometheus endpoint.
type Metrics struct {
	// Listen is host:port, empty for no endpoint.
	Listen string `json:"listen"`
}

func dataplaneFields(dir string) []field[Dataplane] {
	return []field[Dataplane]{
		{"plugin", func(d *Dataplane, v value) { v.plugin(&d.Plugin, dir) }},
		{"sha256", func(d *Dataplane, v value) { v.sha256(&d.SHA256) }},
		{"settings", func(d *Dataplane, v value) { v.texts(&d.Settings) }},
		{"orphan-time", func(d *Dataplane, v value) { v.seconds(&d.OrphanTime, 1, 86400) }},
	}
}

func defaultLog() Log { return Log{Level: slog.LevelInfo} }

func logFields() []field[Log] {
	return []field[Log]{
		{"level", func(l *Log, v value) {
			oneOf(v, &l.Level,
				choice[slog.Level]{"debug", slog.LevelDebug}, choice[slog.Level]{"info", slog.LevelInfo},
				choice[slog.Level]{"warn", slog.LevelWarn}, choice[slog.Level]{"error", slog.LevelError})
		}},
		{"format", func(l *Log, v value) {
			oneOf(v, &l.JSON, choice[bool]{"text", false}, choice[bool]{"json", true})
		}},
	}
}

func adminFields(dir string) []field[Admin] {
	return []field[Admin]{
		{"socket", func(a *Admin, v value) { v.socket(&a.Socket, dir) }},
		{"group", func(a *Admin, v value) { v.text(&a.Group) }},
	}
}

func metricsFields() []field[Metrics] {
	return []field[Metrics]{
		{"listen", func(m *Metrics, v value) { v.hostPort(&m.Listen) }},
	}
}

// plugin sets a name, or the absolute path of an executable: what has a slash in
// it is a path.
func (v value) plugin(dst *string, dir string) {
	if strings.Contains(v.node.Value, "/") {
		v.file(dst, dir)
		return
	}
	v.name(dst)
}

func (v value) sha256(dst *[]byte) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		v.problem("%q is not a SHA-256 hash; want 64 hexadecimal digits, as sha256sum prints them", s)
		return
	}
	*dst = b
}

// file sets an absolute path; a relative one is relative to dir.
func (v value) file(dst *string, dir string) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	path, err := absolute(dir, s)
	if err != nil {
		v.problem("%v", err)
		return
	}
	*dst = path
}

// socket sets the path of a unix socket.
func (v value) socket(dst *string, dir string) {
	var path string
	v.file(&path, dir)
	const longest = 107 // sockaddr_un holds 108 octets with the final zero
	switch {
	case path == "":
	case len(path) > longest:
		v.problem("%s is %d octets long, a unix socket's path has at most %d", path, len(path), longest)
	case filepath.Base(path) == "/":
		v.problem("%s is a directory", path)
	default:
		*dst = path
	}
}

func (v value) hostPort(dst *string) {
	s, ok := v.scalar()
	if !ok {
		return
	}
	_, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 {
		v.problem("%q is not host:port, such as 127.0.0.1:9708 or [::1]:9708", s)
		return
	}
	*dst = s
}
