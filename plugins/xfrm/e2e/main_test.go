package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/programs"
	"github.com/evergate/evergate/core/netlab/vm"
)

// limit is how long tests wait for what must come.
const limit = 2 * time.Minute

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
	remove, err := programs.Build("-ldflags=-s -w", "/cmd/evergated", "/cmd/evergate-plugin-xfrm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer remove()
	return vm.RunTests(vm.Machine{Modules: append(vm.ESP(), "bridge"), Sealed: true})
}

// readPrograms brings the programs into the machine's memory. They come from the host
// page by page, which is the one thing that a busy host can slow down: a first start
// would take longer than it may.
func readPrograms() error {
	names, err := os.ReadDir(programs.Dir())
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := os.ReadFile(programs.Path(name.Name())); err != nil {
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
	return gateway.Start(ns, gateway.Settings{
		Binary: programs.Path("evergated"),
		Config: config + fmt.Sprintf("\nplugin-dirs: [%s]\ndataplane: {%s}\n", programs.Dir(), strings.Join(append(more, "plugin: xfrm"), ", ")),
	})
}

// startSoft runs evergated on the dataplane in Go.
func startSoft(ns *netlab.Namespace, config string) *gateway.Daemon {
	return gateway.Start(ns, gateway.Settings{Binary: programs.Path("evergated"), Config: config})
}
