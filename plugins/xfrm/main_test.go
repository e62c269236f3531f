package xfrm_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab/vm"
)

// TestMain moves the tests to a machine whose kernel has ESP.
func TestMain(m *testing.M) {
	if !vm.Inside() {
		os.Exit(vm.RunTests(vm.Machine{Modules: vm.ESP(), Sealed: true, NetDevSim: true}))
	}
	goleak.VerifyTestMain(m)
}
