// Command run measures failover and scale with real parts, and prints a table
// and a line of JSON:
//
//	go run ./bench/run failover -daemon bin/evergated
//	go run ./bench/run scale -daemon bin/evergated -tunnels 100000
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/evergate/evergate/bench/failover"
	"github.com/evergate/evergate/bench/scale"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// result is what each benchmark returns.
type result interface{ Write(w io.Writer) error }

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say which one: failover or scale")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	daemon := flags.String("daemon", "bin/evergated", "path of evergated")
	tunnels := flags.Int("tunnels", 0, "how many tunnels; 0 for the default")
	rounds := flags.Int("rounds", 0, "how often to repeat; 0 for the default")
	var measure func() (result, error)
	switch args[0] {
	case "failover":
		measure = func() (result, error) {
			return failover.Run(ctx, failover.Options{Daemon: *daemon, Tunnels: *tunnels, Rounds: *rounds, Logf: logf})
		}
	case "scale":
		measure = func() (result, error) {
			return scale.Run(ctx, scale.Options{Daemon: *daemon, Tunnels: *tunnels, Rounds: *rounds, Logf: logf})
		}
	default:
		return fmt.Errorf("there is no benchmark %q: failover or scale", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	r, err := measure()
	if err != nil {
		return err
	}
	return r.Write(os.Stdout)
}

// logf tells what is being done.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
