package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/vm"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm"
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
	if err := errors.Join(readPrograms(), warmUp()); err != nil {
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
	return vm.RunTests(vm.Machine{Modules: append(vm.ESP(), "bridge"), Sealed: true, CPUs: 4})
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
// page by page, and on a busy one a first start would take longer than it may.
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

// warmUp has the kernel load its cryptography, for which it starts many programs.
// Where processors are emulated that takes longer than a call of the dataplane may.
func warmUp() error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with its namespace
		failed <- warmUpHere()
	}()
	return <-failed
}

func warmUpHere() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	e, err := xfrm.New(xfrm.Options{})
	if err != nil {
		return err
	}
	defer e.Close()
	_, err = e.Configure(context.Background(), offload.Config{Boot: 1, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}})
	return err
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
