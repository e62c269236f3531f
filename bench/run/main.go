// Command run measures failover, scale and throughput with real parts, and prints
// a table and a line of JSON:
//
//	go run ./bench/run failover -daemon bin/evergated
//	go run ./bench/run scale -daemon bin/evergated -tunnels 100000
//	go run ./bench/run throughput -plugin bin/evergate-plugin-softesp -wireguard bin/bench/wireguard-go -strongswan
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/evergate/evergate/bench/failover"
	"github.com/evergate/evergate/bench/scale"
	"github.com/evergate/evergate/bench/throughput"
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
		return errors.New("say which one: failover, scale or throughput")
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
	case "throughput":
		o := throughputFlags(flags)
		measure = func() (result, error) {
			o.Rounds, o.Logf = *rounds, logf
			return throughput.Run(ctx, *o)
		}
	default:
		return fmt.Errorf("there is no benchmark %q: failover, scale or throughput", args[0])
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

// throughputFlags are those of throughput alone.
func throughputFlags(flags *flag.FlagSet) *throughput.Options {
	o := &throughput.Options{Settings: make(map[string]string)}
	flags.StringVar(&o.Plugin, "plugin", "bin/evergate-plugin-softesp", "path of the dataplane plugin")
	flags.Func("set", "a setting of the plugin, `name=value`; may be repeated", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("want name=value")
		}
		o.Settings[name] = value
		return nil
	})
	flags.StringVar(&o.Proposal, "proposal", "", "algorithms of ESP, as in a phase 2 (default aes128gcm)")
	flags.BoolVar(&o.Raw, "raw", false, "measure the plugin without UDP, too")
	flags.StringVar(&o.WireGuard, "wireguard", "", "path of wireguard-go; without it that is left out")
	flags.BoolVar(&o.StrongSwan, "strongswan", false, "measure strongSwan, too")
	flags.DurationVar(&o.Time, "time", 0, "how long each test takes (default 1s)")
	flags.Func("tests", fmt.Sprintf("`names` of tests, with commas between them, of %s (default all)", strings.Join(throughput.Tests(), ",")), func(s string) error {
		o.Tests = strings.Split(s, ",")
		return nil
	})
	flags.Func("sas", "`numbers` of SA pairs, with commas between them (default 1)", func(s string) error {
		for _, one := range strings.Split(s, ",") {
			n, err := strconv.Atoi(one)
			if err != nil {
				return err
			}
			o.SAs = append(o.SAs, n)
		}
		return nil
	})
	return o
}

// logf tells what is being done.
func logf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
