// Command evergated is the gateway: IKE, the admin socket, and the supervisor of
// a dataplane plugin. The dataplane softesp is inside: evergated starts itself
// again as that plugin when the configuration names no other.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/heap"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/core/telemetry"
	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/softesp"
)

// version is set by the linker.
var version = "devel"

const defaultConfig = "/etc/evergate/evergate.yaml"

func main() {
	if name, ok := pluginhost.Embedded(); ok {
		os.Exit(servePlugin(name))
	}
	if err := newRoot().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "evergated:", err)
		os.Exit(1)
	}
}

// servePlugin is main of the plugin process.
func servePlugin(name string) int {
	log := pluginrpc.NewLogger(os.Stderr, name, slog.LevelDebug)
	if name != softesp.Name {
		log.Error("no such plugin inside evergated", "plugin", name)
		return 1
	}
	e, err := softesp.New(softesp.Options{Version: version, Log: log})
	if err != nil {
		log.Error("dataplane did not start", "error", err)
		return 1
	}
	var status int
	heap.Around(func() { status = pluginrpc.Serve(e, log) })
	return status
}

// untilSignal returns a context that a signal ends; its cause says which.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case s := <-signals:
			cancel(stopped{s})
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		wait.Wait()
	}
}

func newRoot() *cobra.Command {
	path := defaultConfig
	root := &cobra.Command{
		Use:   "evergated",
		Short: "Evergate's IPsec gateway",
		Long: `evergated is an IPsec gateway. It reads its configuration from a YAML file, starts
its dataplane as a process of its own, and runs until SIGTERM or SIGINT.

SIGHUP makes it read the configuration again; only what changed is touched. SIGTERM
leaves the tunnels to the next process where it can go on with them, SIGINT ends
them. Under systemd it tells when it is ready, reloading and stopping. The evergate command
shows what it does.`,
		Version:       version,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal()
			defer stop()
			level := new(slog.LevelVar)
			level.Set(cfg.Log.Level)
			return run(ctx, cfg, telemetry.NewLogger(os.Stderr, level, cfg.Log.JSON), level)
		},
	}
	root.Flags().StringVar(&path, "config", path, "configuration file")
	return root
}
