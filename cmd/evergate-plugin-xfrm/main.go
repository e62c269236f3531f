// Command evergate-plugin-xfrm is the dataplane that Linux has, its own ESP.
// evergated starts it (dataplane.plugin: xfrm).
package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/xfrm"
)

func main() { os.Exit(run()) }

func run() int {
	log := pluginrpc.NewLogger(os.Stderr, xfrm.Name, slog.LevelDebug)
	e, err := xfrm.New(xfrm.Options{Version: version(), Log: log})
	if err != nil {
		log.Error("dataplane did not start", "error", err)
		return 1
	}
	return pluginrpc.Serve(e, log)
}

// version is that of the module that this was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
