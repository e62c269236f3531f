//go:build dpdk

// Command evergate-plugin-dpdk is the dataplane on DPDK as a plugin. evergated starts
// it.
package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/dpdk"
)

func main() { os.Exit(run()) }

func run() int {
	log := pluginrpc.NewLogger(os.Stderr, dpdk.Name, slog.LevelDebug)
	return pluginrpc.Serve(dpdk.New(dpdk.Options{Version: version(), Log: log}), log)
}

// version is that of the module that this was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
