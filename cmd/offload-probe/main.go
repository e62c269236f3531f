// Command offload-probe checks a dataplane plugin against the contract of
// package offload, and names the clauses that it breaks.
//
//	offload-probe run ./evergate-plugin-x
//	offload-probe run --json --clause epoch --set tun-name=probe0 ./evergate-plugin-x
//	offload-probe list
//
// It starts the plugin anew for every clause, as the daemon would, and so needs
// the rights that the plugin needs. The exit status is 0 when no clause failed,
// 1 when one did, and 2 when the plugin could not be checked.
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
	default:
		fmt.Fprintln(os.Stderr, "offload-probe:", err)
		os.Exit(2)
	}
}
