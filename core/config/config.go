package config

import (
	"errors"
	"path/filepath"
	"slices"
)

// What a configuration that says nothing about them has.
const (
	DefaultPlugin      = "softesp"
	DefaultAdminSocket = "/run/evergate/admin.sock"
	DefaultStateDir    = "/var/lib/evergate"
)

// Config is a configuration without mistakes. The tags are the keys of the file.
type Config struct {
	// Path is the file that was loaded.
	Path string `json:"-"`

	Dataplane  Dataplane `json:"dataplane"`
	PluginDirs []string  `json:"plugin-dirs"`
	Phase1     []*Phase1 `json:"phase1"`
	Phase2     []*Phase2 `json:"phase2"`
	// Users and Groups are whom XAUTH lets in.
	Users  []*User      `json:"user-local"`
	Groups []*UserGroup `json:"user-group"`
	// Cluster is nil for a gateway on its own, BGP for one that announces nothing.
	Cluster *StandaloneCluster `json:"standalone-cluster"`
	// HA is nil where the file does not have it; Unit says whether it has an effect.
	HA       *HA     `json:"ha"`
	BGP      *BGP    `json:"bgp"`
	Health   Health  `json:"health"`
	Log      Log     `json:"log"`
	Admin    Admin   `json:"admin"`
	Metrics  Metrics `json:"metrics"`
	StateDir string  `json:"state-dir"`
	State    State   `json:"state"`
	// Flush: a restart ends all tunnels, as the IKE process of a FortiGate does.
	// Otherwise the next process adopts them where it can.
	Flush bool `json:"ike-restart"`

	// Warnings are what works but should be looked at.
	Warnings Problems `json:"-"`
}

// Load reads and checks a configuration. The error has all mistakes, one per
// line, each with file, line and key; it is of type Problems unless the file
// cannot be read at all.
//
// Relative paths in the file are relative to the file.
func Load(path string) (*Config, error) {
	src, err := open(path)
	if err != nil {
		return nil, err
	}
	r := &report{}
	c := &Config{
		Path:      path,
		Dataplane: Dataplane{Plugin: DefaultPlugin, OrphanTime: DefaultOrphanTime},
		Log:       defaultLog(),
		Admin:     Admin{Socket: DefaultAdminSocket},
		StateDir:  DefaultStateDir,
	}
	top := value{at: position{path, 1}, node: src.root, report: r, over: environment(src, r)}
	if s, ok := sectionOf(top); ok {
		decode(s, c, sections(filepath.Dir(path)))
		c.check(s, r)
	}
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	c.Warnings = r.warnings.sorted()
	return c, nil
}

// sections is the table of what may stand at the top of a file in dir.
func sections(dir string) []field[Config] {
	return []field[Config]{
		{"dataplane", func(c *Config, v value) { subsection(v, &c.Dataplane, dataplaneFields(dir)) }},
		{"plugin-dirs", func(c *Config, v value) {
			listOf(v, &c.PluginDirs, false, func(s string) (string, error) { return absolute(dir, s) })
		}},
		{"phase1", func(c *Config, v value) { entries(v, &c.Phase1, newPhase1, phase1Fields(dir)) }},
		{"phase2", func(c *Config, v value) { entries(v, &c.Phase2, newPhase2, phase2Fields()) }},
		{"user-local", func(c *Config, v value) {
			entries(v, &c.Users, func() *User { return &User{} }, userFields(dir))
		}},
		{"user-group", func(c *Config, v value) {
			entries(v, &c.Groups, func() *UserGroup { return &UserGroup{} }, userGroupFields())
		}},
		{"standalone-cluster", func(c *Config, v value) { optional(v, &c.Cluster, newStandaloneCluster, clusterFields(dir)) }},
		{"ha", func(c *Config, v value) { optional(v, &c.HA, newHA, haFields(dir)) }},
		{"bgp", func(c *Config, v value) { optional(v, &c.BGP, newBGP, bgpFields(dir)) }},
		{"health", func(c *Config, v value) { subsection(v, &c.Health, healthFields()) }},
		{"log", func(c *Config, v value) { subsection(v, &c.Log, logFields()) }},
		{"admin", func(c *Config, v value) { subsection(v, &c.Admin, adminFields(dir)) }},
		{"metrics", func(c *Config, v value) { subsection(v, &c.Metrics, metricsFields()) }},
		{"state-dir", func(c *Config, v value) { v.file(&c.StateDir, dir) }},
		{"state", func(c *Config, v value) { subsection(v, &c.State, stateFields(dir)) }},
		{"ike-restart", func(c *Config, v value) {
			oneOf(v, &c.Flush, choice[bool]{"adopt", false}, choice[bool]{"flush", true})
		}},
	}
}

// environment is what the environment says for the single values of a file.
func environment(src *source, r *report) []value {
	var out []value
	for _, key := range singles() {
		if v, ok := src.env(key); ok {
			v.report = r
			out = append(out, v)
		}
	}
	return out
}

// singles are the keys that the environment can set. Lists are not among them, nor
// what has keys of its own, nor secrets, which name a variable themselves.
func singles() []string {
	keys := []string{"ike-restart", "state-dir"}
	keys = append(keys, keysOf("dataplane", dataplaneFields(""))...)
	keys = append(keys, keysOf("standalone-cluster", clusterFields(""))...)
	keys = append(keys, keysOf("standalone-cluster.sync", clusterSyncFields())...)
	keys = append(keys, keysOf("ha", haFields(""))...)
	keys = append(keys, keysOf("bgp", bgpFields(""))...)
	keys = append(keys, keysOf("bgp.graceful-shutdown", shutdownFields())...)
	keys = append(keys, keysOf("bgp.announce", announceFields())...)
	keys = append(keys, keysOf("health", healthFields())...)
	keys = append(keys, keysOf("log", logFields())...)
	keys = append(keys, keysOf("admin", adminFields(""))...)
	keys = append(keys, keysOf("metrics", metricsFields())...)
	return slices.DeleteFunc(keys, func(k string) bool {
		switch k {
		case "dataplane.settings", "standalone-cluster.cluster-peers", "standalone-cluster.secret",
			"standalone-cluster.sync", "ha.hbdev", "ha.peers", "ha.password", "ha.monitor", "ha.addresses", "bgp.neighbors", "bgp.graceful-shutdown", "bgp.announce":
			return true
		default:
			return false
		}
	})
}

// absolute resolves a path of a file in dir.
func absolute(dir, path string) (string, error) {
	if path == "" {
		return "", errors.New("is empty; want a path")
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path), nil
	}
	return filepath.Abs(filepath.Join(dir, path))
}
