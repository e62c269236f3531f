package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/vm"
)

// limit is how long tests wait for what must come.
const limit = 2 * time.Minute

// binEnv tells the tests where TestMain has put the programs.
const binEnv = "EVERGATE_TEST_BIN"

// TestMain builds the programs and moves the tests to a machine whose kernel has
// ESP.
func TestMain(m *testing.M) {
	if !vm.Inside() {
		os.Exit(outside())
	}
	if err := readPrograms(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func outside() int {
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
	return vm.RunTests(vm.Machine{Modules: append(vm.ESP(), "bridge"), Sealed: true})
}

func build(dir string) error {
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", dir,
		"github.com/evergate/evergate/cmd/evergated", "github.com/evergate/evergate/cmd/evergate-plugin-xfrm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs under test: %w\n%s", err, out)
	}
	return nil
}

// readPrograms brings the programs into the machine's memory. They come from the host
// page by page, which is the one thing that a busy host can slow down: a first start
// would take longer than it may.
func readPrograms() error {
	dir := os.Getenv(binEnv)
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := os.ReadFile(filepath.Join(dir, name.Name())); err != nil {
			return err
		}
	}
	return nil
}

// startGateway runs evergated on the kernel's ESP.
func startGateway(ns *netlab.Namespace, config string) *gateway.Daemon {
	return startGatewayWith(ns, config)
}

// startGatewayWith does, with more settings of the dataplane.
func startGatewayWith(ns *netlab.Namespace, config string, more ...string) *gateway.Daemon {
	dir := os.Getenv(binEnv)
	return gateway.Start(ns, gateway.Settings{
		Binary: filepath.Join(dir, "evergated"),
		Config: config + fmt.Sprintf("\nplugin-dirs: [%s]\ndataplane: {%s}\n", dir, strings.Join(append(more, "plugin: xfrm"), ", ")),
	})
}

// startSoft runs evergated on the dataplane in Go.
func startSoft(ns *netlab.Namespace, config string) *gateway.Daemon {
	return gateway.Start(ns, gateway.Settings{Binary: filepath.Join(os.Getenv(binEnv), "evergated"), Config: config})
}
