package e2e_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// binEnv tells the tests of this process where TestMain has put the programs.
const binEnv = "EVERGATE_TEST_BIN"

func TestMain(m *testing.M) {
	flag.Parse()
	moreAtOnce()
	os.Exit(run(m))
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

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "evergate-bin-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv(binEnv, dir)
	}
	if err == nil {
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// build builds every program that the tests run.
func build(dir string) error {
	cmd := exec.Command("go", "build", "-race", "-buildvcs=false", "-o", dir,
		"github.com/evergate/evergate/cmd/evergated", "github.com/evergate/evergate/cmd/evergate",
		"github.com/evergate/evergate/cmd/evergate-plugin-softesp", "github.com/evergate/evergate/core/e2e/testdata/plugin")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs under test: %w\n%s", err, out)
	}
	return nil
}

// program returns the path of a program of cmd/.
func program(name string) string { return filepath.Join(os.Getenv(binEnv), name) }

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
		Binary: program("evergated"), Config: config,
		Env: append([]string{"GORACE=halt_on_error=1 log_path=" + reports}, env...),
	})
}
