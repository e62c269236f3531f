package sparse_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab/vm"
)

// TestMain moves the tests to a machine whose kernel loads no module by itself.
func TestMain(m *testing.M) {
	if !vm.Inside() {
		os.Exit(vm.RunTests(vm.Machine{Sealed: true}))
	}
	goleak.VerifyTestMain(m)
}
