// Command evergate-plugin-xfrm is the dataplane that Linux has, its own ESP.
// evergated starts it (dataplane.plugin: xfrm).
package main

import (
	"log/slog"
	"os"

	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/xfrm"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(run()) }

func run() int {
	log := pluginrpc.NewLogger(os.Stderr, xfrm.Name, slog.LevelDebug)
	e, err := xfrm.New(xfrm.Options{Version: version, Log: log})
	if err != nil {
		log.Error("dataplane did not start", "error", err)
		return 1
	}
	return pluginrpc.Serve(e, log)
}
