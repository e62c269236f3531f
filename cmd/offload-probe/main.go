// Command offload-probe checks a dataplane plugin against the contract of
// package offload, and names the clauses that it breaks.
//
//	offload-probe run ./evergate-plugin-x
//	offload-probe run --packets ./evergate-plugin-x
//	offload-probe run --json --clause epoch --set tun-name=probe0 ./evergate-plugin-x
//	offload-probe load --sas 100000 --callers 4 ./evergate-plugin-x
//	offload-probe shell ./evergate-plugin-x
//	offload-probe list
//
// It starts the plugin as the daemon would, run anew for every clause, and so needs
// the rights that the plugin needs. load measures how fast SAs come and go; shell
// is for poking the plugin by hand or by a script. The exit status is 0 when all
// went well, 1 when a clause failed, and 2 when the plugin could not be asked, or not
// to the end: SIGINT and SIGTERM end run and load, which report what they know by then.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	err := newCommand().ExecuteContext(ctx)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errBroken):
		os.Exit(1)
	case errors.Is(err, errSaid):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "offload-probe:", err)
		os.Exit(2)
	}
}
