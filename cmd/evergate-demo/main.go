// Command evergate-demo shows Evergate at work: it makes clients, routers,
// gateways and a data centre out of network namespaces, runs the real evergated
// in the gateways, and has clients dial in: strongSwan, Evergate itself, and then
// several to a group of four gateways, of which one dies in the middle of their
// traffic. It leaves nothing behind, also when it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/evergate/evergate/core/netlab"
)

// version is set by the linker.
var version = "devel"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "evergate-demo:", err)
		os.Exit(1)
	}
}

func run() error {
	verbose := flag.Bool("v", false, "show the logs of all programs when something fails")
	plugin := flag.String("plugin", "softesp", "the gateways' dataplane: a plugin's name, or the path of its executable")
	flag.Usage = usage
	flag.Parse()
	chosen, err := choose(flag.Args())
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root: run it with sudo, or use `make demo`")
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find my own path: %w", err)
	}
	binary := filepath.Join(filepath.Dir(self), "evergated")
	if _, err := os.Stat(binary); err != nil {
		return fmt.Errorf("find evergated beside me: %w; `make build` makes it", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	s := newStage(os.Stdout)
	if s.plugin, err = pluginPath(*plugin); err != nil {
		return err
	}
	s.title("Evergate " + version + ": tunnels that outlive their gateway")
	for _, act := range chosen {
		err := netlab.Run(ctx, act.name, s.logf(*verbose), func(tb netlab.TB) {
			s.act(act.name, act.title)
			act.play(tb, s, binary)
		})
		if ctx.Err() != nil {
			s.failed()
			return errors.New("interrupted; everything was taken down")
		}
		if err != nil {
			s.failed()
			return fmt.Errorf("%s: %w", act.name, err)
		}
	}
	s.summary()
	return nil
}

// pluginPath makes a path absolute, as the gateways have working directories of
// their own; what has no slash is a name.
func pluginPath(plugin string) (string, error) {
	if !strings.ContainsRune(plugin, '/') {
		return plugin, nil
	}
	path, err := filepath.Abs(plugin)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("find the plugin: %w", err)
	}
	return path, nil
}

func usage() {
	fmt.Fprintln(flag.CommandLine.Output(), "evergate-demo [-v] [-plugin PLUGIN] [run ...] plays these runs, all of them by default:")
	for _, act := range acts {
		fmt.Fprintf(flag.CommandLine.Output(), "  %-11s %s\n", act.name, act.title)
	}
	flag.PrintDefaults()
}

// choose returns the acts of these names, all for none.
func choose(names []string) ([]act, error) {
	if len(names) == 0 {
		return acts, nil
	}
	var chosen []act
	for _, name := range names {
		i := slices.IndexFunc(acts, func(a act) bool { return strings.EqualFold(a.name, name) })
		if i < 0 {
			return nil, fmt.Errorf("there is no run named %q; see evergate-demo -h", name)
		}
		chosen = append(chosen, acts[i])
	}
	return chosen, nil
}
