package vm_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab/vm"
)

// againEnv makes this test binary one whose tests run in a machine: there it
// says what it was called with, and ends with againStatus.
const (
	againEnv    = "VM_TEST_AGAIN"
	againStatus = 5
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(againEnv) == "":
		goleak.VerifyTestMain(m)
	case vm.Inside():
		fmt.Fprintln(os.Stdout, os.Args[1:])
		os.Exit(againStatus)
	default:
		os.Exit(vm.RunTests(vm.Machine{}))
	}
}
