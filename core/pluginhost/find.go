package pluginhost

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-plugin"
)

// Prefix is what the names of plugin executables begin with.
const Prefix = "evergate-plugin-"

// envEmbedded names the plugin that an executable is to be, instead of a daemon.
const envEmbedded = "EVERGATE_EMBEDDED_PLUGIN"

// Spec says which program to run.
type Spec struct {
	// Name is what the plugin is called in logs.
	Name string
	Path string
	Args []string // after the program's name
	// Env has variables for the plugin, as "NAME=value".
	Env []string
	// SHA256 of the file, which is checked before every start; empty for any.
	SHA256 []byte
}

// Find returns the Spec of a plugin: a name with a slash in it is a path, any
// other, such as "xfrm", is looked for as evergate-plugin-xfrm in dirs and then
// in PATH. The error lists where it was looked for.
func Find(name string, dirs []string) (Spec, error) {
	if name == "" {
		return Spec{}, errors.New("pluginhost: find a plugin: no name")
	}
	if strings.Contains(name, "/") {
		spec := Spec{Name: strings.TrimPrefix(filepath.Base(name), Prefix), Path: name}
		return spec, spec.check()
	}
	for _, dir := range dirs {
		spec := Spec{Name: name, Path: filepath.Join(dir, Prefix+name)}
		if _, err := os.Stat(spec.Path); err == nil {
			return spec, spec.check()
		}
	}
	path, err := exec.LookPath(Prefix + name)
	if err != nil {
		return Spec{}, fmt.Errorf("pluginhost: find plugin %s: no %s%s in %s or PATH", name, Prefix, name, strings.Join(dirs, ", "))
	}
	spec := Spec{Name: name, Path: path}
	return spec, spec.check()
}

// AsPlugin returns the Spec by which this executable starts itself again as the
// named plugin. It is the same program even if the file was replaced since.
func AsPlugin(name string) Spec {
	return Spec{Name: name, Path: "/proc/self/exe", Env: []string{envEmbedded + "=" + name}}
}

// Embedded tells whether this process was started by AsPlugin, and as which
// plugin. A program with plugins inside asks it first of all in main.
func Embedded() (name string, ok bool) { return os.LookupEnv(envEmbedded) }

// check looks at the file before it is run with all the daemon's rights. A later
// change is not seen: whoever may write to its directory can do as he likes.
func (s Spec) check() error {
	info, err := os.Stat(s.Path)
	switch {
	case err != nil:
		return fmt.Errorf("pluginhost: plugin %s: %w", s.Name, err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("pluginhost: plugin %s: %s is not a file", s.Name, s.Path)
	case info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("pluginhost: plugin %s: %s is not executable (mode %v)", s.Name, s.Path, info.Mode())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("pluginhost: plugin %s: %s may be written to by others (mode %v)", s.Name, s.Path, info.Mode())
	}
	return s.checkSum()
}

func (s Spec) checkSum() error {
	if len(s.SHA256) == 0 {
		return nil
	}
	if len(s.SHA256) != sha256.Size {
		return fmt.Errorf("pluginhost: plugin %s: a SHA-256 has %d octets, not %d", s.Name, sha256.Size, len(s.SHA256))
	}
	hash := sha256.New()
	secure := &plugin.SecureConfig{Checksum: s.SHA256, Hash: hash}
	ok, err := secure.Check(s.Path)
	if err != nil {
		return fmt.Errorf("pluginhost: plugin %s: read %s for its SHA-256: %w", s.Name, s.Path, err)
	}
	if sum := hash.Sum(nil); !ok || !bytes.Equal(sum, s.SHA256) {
		return fmt.Errorf("pluginhost: plugin %s: %s has SHA-256 %x, want %x", s.Name, s.Path, sum, s.SHA256)
	}
	return nil
}
