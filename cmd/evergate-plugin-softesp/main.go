// Command evergate-plugin-softesp is the dataplane in pure Go as a plugin on its
// own: the same code that evergated carries. evergated starts it.
package main

import (
	"log/slog"
	"os"

	"github.com/evergate/evergate/core/heap"
	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/softesp"
)

// version is set by the linker.
var version = "devel"

func main() { os.Exit(run()) }

func run() int {
	log := pluginrpc.NewLogger(os.Stderr, softesp.Name, slog.LevelDebug)
	e, err := softesp.New(softesp.Options{Version: version, Log: log})
	if err != nil {
		log.Error("dataplane did not start", "error", err)
		return 1
	}
	var status int
	heap.Around(func() { status = pluginrpc.Serve(e, log) })
	return status
}
