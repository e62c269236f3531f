// Command plugin is a dataplane in memory as a plugin process, for the test of
// offload-probe. With the argument "broken" it ignores epochs on Promote, with "hangs"
// it never ends one.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/pluginrpc"
)

type ignoresEpochs struct{ *mem.Engine }

func (e ignoresEpochs) Promote(ctx context.Context, g offload.Group, _ offload.Epoch) error {
	return e.Engine.Promote(ctx, g, 1<<60)
}

type hangs struct {
	*mem.Engine
	log *slog.Logger
}

func (e hangs) Promote(ctx context.Context, _ offload.Group, _ offload.Epoch) error {
	e.log.Warn("promote hangs")
	<-ctx.Done()
	return ctx.Err()
}

func main() {
	log := pluginrpc.NewLogger(os.Stderr, "plugin", slog.LevelInfo)
	plane := mem.New(mem.Options{Name: fmt.Sprintf("process-%d", os.Getpid())})
	var engine offload.Engine = plane
	if len(os.Args) > 1 {
		engine = map[string]offload.Engine{"broken": ignoresEpochs{plane}, "hangs": hangs{plane, log}}[os.Args[1]]
	}
	os.Exit(pluginrpc.Serve(engine, log))
}
