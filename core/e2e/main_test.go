package e2e_test

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
)

func TestMain(m *testing.M) {
	flag.Parse()
	moreAtOnce()
	os.Exit(programs.Run(m, "-race", "/cmd/evergated", "/cmd/evergate", "/cmd/evergate-plugin-softesp", "/core/e2e/testdata/plugin"))
}

// moreAtOnce runs twice as many tests at a time as there are processors, if nobody asks
// for something else: for most of their time they wait, for a client that sends a message
// again or for members that miss one of their own.
func moreAtOnce() {
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		_ = flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))) // the flag is testing's own
	}
}

// startGateway runs evergated in the namespace, with environment variables
// beside those that every test sets. When the test ends, neither the daemon nor
// its dataplane may have met a data race.
func startGateway(ns *netlab.Namespace, config string, env ...string) *gateway.Daemon {
	ns.Lab().TB().Helper()
	d := launchGateway(ns, config, env...)
	d.WaitReady()
	return d
}

// launchGateway is startGateway that does not wait until the gateway works.
func launchGateway(ns *netlab.Namespace, config string, env ...string) *gateway.Daemon {
	tb := ns.Lab().TB()
	tb.Helper()
	reports := ns.Lab().File("race")
	tb.Cleanup(func() {
		found, err := filepath.Glob(reports + ".*")
		if err != nil {
			tb.Errorf("look for data races: %v", err)
		}
		for _, path := range found {
			text, _ := os.ReadFile(path)
			tb.Errorf("%s: the race detector reports:\n%s", ns.Name(), strings.TrimSpace(string(text)))
		}
	})
	return gateway.Launch(ns, gateway.Settings{
		Binary: programs.Path("evergated"), Config: config,
		Env: append([]string{"GORACE=halt_on_error=1 log_path=" + reports}, env...),
	})
}
