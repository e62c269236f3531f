//go:build dpdk && nffgo

package dpdk_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// TestSettingsThatNFFGoCannotKeepAreNamed: nff-go has threads and buffers of its own.
func TestSettingsThatNFFGoCannotKeepAreNamed(t *testing.T) {
	for _, c := range []struct {
		key, value, says string
	}{
		{"workers", "2", `workers is "2", want 1 with engine nffgo`},
		{"idle", "sleep", `idle is "sleep", want spin with engine nffgo`},
		{"buffers", "2048", `buffers is "2048", want at least`},
		{"frame", "9000", `frame is "9000", want at most 2048`},
		{"cpus", "0,1", "scheduler, a receiver for each port, host, burst function"},
		{"cpus", "0,1,0,1", "processor 0 is named twice"},
		{"cpus", "1020,1021,1022,1023", "processor 1020 is none of those"},
	} {
		_, err := dpdk.New(dpdk.Options{}).Configure(t.Context(), offload.Config{Boot: 1, Settings: map[string]string{
			"ports": "net_ring0", "engine": "nffgo", c.key: c.value,
		}})
		if !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("With %s of %q the error should be invalid and say %q, got %v.", c.key, c.value, c.says, err)
		}
	}
}
