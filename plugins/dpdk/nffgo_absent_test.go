//go:build dpdk && !nffgo

package dpdk_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// TestEngineThatWasNotBuiltSaysSo: the error names what the plugin lacks.
func TestEngineThatWasNotBuiltSaysSo(t *testing.T) {
	_, err := dpdk.New(dpdk.Options{}).Configure(t.Context(), offload.Config{Boot: 1, Settings: map[string]string{"ports": "net_ring0", "engine": "nffgo"}})
	if !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), "built without nff-go") {
		t.Errorf("The error should be invalid and say that nff-go was not built, got %v.", err)
	}
}
