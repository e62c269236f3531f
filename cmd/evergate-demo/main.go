// Command evergate-demo shows Evergate at work: it makes a client, a router, a
// gateway and a data centre out of network namespaces, runs the real evergated
// in the gateway, and lets a client dial in, first strongSwan, then Evergate
// itself. It leaves nothing behind, also when it is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
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
	flag.Parse()
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
	s.title("Evergate " + version + ": a dialup client, a tunnel, traffic")
	for _, act := range acts {
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
