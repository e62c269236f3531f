package xfrm_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab/vm"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm"
)

// TestMain moves the tests to a machine whose kernel has ESP.
func TestMain(m *testing.M) {
	if !vm.Inside() {
		os.Exit(vm.RunTests(vm.Machine{Modules: vm.ESP(), Sealed: true, NetDevSim: true}))
	}
	if err := warmUp(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
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
