// Command plugin is a dataplane with a fault, which its name says: slow takes its
// time for every change, refusing has no room for an SA.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/pluginrpc"
	"github.com/evergate/evergate/plugins/softesp"
)

// delay is how long a slow dataplane takes for a change.
const delay = 700 * time.Millisecond

func main() { os.Exit(run()) }

func run() int {
	log := pluginrpc.NewLogger(os.Stderr, "faulty", slog.LevelDebug)
	e, err := softesp.New(softesp.Options{Version: "faulty", Log: log})
	if err != nil {
		log.Error("dataplane did not start", "error", err)
		return 1
	}
	if strings.HasSuffix(os.Args[0], "slow") {
		return pluginrpc.Serve(slow{e}, log)
	}
	return pluginrpc.Serve(refusing{e}, log)
}

type slow struct{ *softesp.Engine }

func (s slow) Install(ctx context.Context, e offload.Epoch, r offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	time.Sleep(delay)
	return s.Engine.Install(ctx, e, r, sas...)
}

func (s slow) Delete(ctx context.Context, e offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	time.Sleep(delay)
	return s.Engine.Delete(ctx, e, ids...)
}

type refusing struct{ *softesp.Engine }

func (refusing) Install(_ context.Context, _ offload.Epoch, _ offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	out := make([]offload.Placement, len(sas))
	for i, sa := range sas {
		out[i] = offload.Placement{ID: sa.ID, Err: fmt.Errorf("no room: %w", offload.ErrExhausted)}
	}
	return out, nil
}
