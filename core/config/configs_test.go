package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/evergate/evergate/core/config"
)

// configs is where the configurations to start from are.
const configs = "../../configs"

// loadShipped loads a copy of a configuration of this project, with the secrets
// that it names in place.
func loadShipped(t *testing.T, name string) *config.Config {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(configs, name))
	if err != nil {
		t.Fatalf("The configuration cannot be read: %v.", err)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, name), string(b))
	for _, secret := range []string{"vpn1.psk", "group1.secret", "bgp.secret", "seal.secret", "alice.password"} {
		write(t, filepath.Join(dir, secret), "a secret that nobody guesses\n")
	}
	t.Setenv("BRANCH_PSK", "another secret that nobody guesses")
	t.Setenv("BGP_PASSWORD", "a third one")
	c, err := config.Load(filepath.Join(dir, name))
	if err != nil {
		t.Fatalf("The configuration has mistakes:\n%v", err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("The configuration has warnings:\n%v", c.Warnings)
	}
	return c
}

func TestEveryShippedConfigurationIsValid(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(configs, "*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("The configurations were not found: %v, %v.", files, err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			if filepath.Ext(name) != ".yaml" {
				t.Fatalf("%s is no YAML file, and this test would not look into it.", name)
			}
			c := loadShipped(t, name)
			if len(c.Connections()) == 0 {
				t.Error("It makes no connection.")
			}
		})
	}
}

func TestReferenceNamesEveryKey(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(configs, "full-reference.yaml"))
	if err != nil {
		t.Fatalf("The reference cannot be read: %v.", err)
	}
	var doc yaml.Node
	// Keys that exclude others are there behind a #, without a space.
	b = regexp.MustCompile(`(?m)^( *)#([a-z-]+:)`).ReplaceAll(b, []byte("$1$2"))
	if err := yaml.Unmarshal(b, &doc); err != nil {
		t.Fatalf("The reference is not YAML: %v.", err)
	}
	named := make(map[string]bool)
	collectKeys(doc.Content[0], "", named)
	for _, key := range config.Keys() {
		if !named[key] {
			t.Errorf("%s is accepted, but full-reference.yaml does not explain it.", key)
		}
	}
	for key := range named {
		if !slices.Contains(config.Keys(), key) && !strings.HasPrefix(key, "dataplane.settings.") {
			t.Errorf("full-reference.yaml has %s, which is not in the list of keys.", key)
		}
	}
}

// collectKeys notes the paths of all keys; entries of lists have no number.
func collectKeys(n *yaml.Node, path string, into map[string]bool) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			key := strings.TrimPrefix(path+"."+n.Content[i].Value, ".")
			into[key] = true
			collectKeys(n.Content[i+1], key, into)
		}
	case yaml.SequenceNode:
		for _, e := range n.Content {
			collectKeys(e, path, into)
		}
	default: // a value
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("A file of the test cannot be written: %v.", err)
	}
}
