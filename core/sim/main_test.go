package sim_test

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestMain(m *testing.M) {
	debug.SetGCPercent(400) // runs make much garbage, and hold little else
	os.Exit(m.Run())
}
