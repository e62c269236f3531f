package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/evergate/evergate/core/config"
)

// FuzzLoad: whatever a file holds, it is a configuration, or every mistake says
// what it is; and what is a configuration makes connections and equals itself.
func FuzzLoad(f *testing.F) {
	b, err := os.ReadFile(filepath.Join(configs, "full-reference.yaml"))
	if err != nil {
		f.Fatalf("The reference cannot be read: %v.", err)
	}
	f.Add(regexp.MustCompile(`(?m)\s*(#.*)?$`).ReplaceAll(b, nil)) // without its explanations
	f.Add([]byte(minimal))
	f.Add([]byte(cluster))
	f.Add([]byte(speaker))
	f.Add([]byte("a: &a {<<: *a}\nphase1: [&b [*b]]\nlog: {<<: [{level: 1}]}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), "gw.yaml")
		write(t, path, string(text))
		c, err := config.Load(path)
		if err != nil {
			wantReadable(t, err)
			return
		}
		for _, conn := range c.Connections() {
			if conn.Name == "" || !conn.Local.IsValid() || conn.PSK.Len() == 0 || len(conn.Proposals) == 0 || len(conn.Children) == 0 {
				t.Errorf("A configuration without mistakes made a connection that cannot work: %+v.", conn.Connection)
			}
			for _, child := range conn.Children {
				for _, ts := range append(child.Selectors.Local, child.Selectors.Remote...) {
					if err := ts.Validate(); err != nil {
						t.Errorf("A configuration without mistakes made a selector that is none: %v.", err)
					}
				}
			}
		}
		if d := config.Diff(c, c); !d.Empty() {
			t.Errorf("A configuration differs from itself: %v.", d.Lines())
		}
	})
}

// wantReadable looks for the parts that every mistake has.
func wantReadable(t *testing.T, err error) {
	t.Helper()
	var ps config.Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Fatalf("The error should list mistakes, it is %T: %v.", err, err)
	}
	for _, p := range ps {
		if p.Source == "" || p.Text == "" {
			t.Errorf("A mistake says too little: %+v.", p)
		}
	}
}
