//go:build dpdk

// Command evergate-plugin-dpdk is the dataplane on DPDK as a plugin. evergated starts
// it.
package main

import (
	"log/slog"
	"os"

	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/dpdk"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(run()) }

func run() int {
	log := pluginrpc.NewLogger(os.Stderr, dpdk.Name, slog.LevelDebug)
	return pluginrpc.Serve(dpdk.New(dpdk.Options{Version: version, Log: log}), log)
}
