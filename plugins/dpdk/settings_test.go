//go:build dpdk

package dpdk_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// TestWrongSettingsAreNamed: the error names each setting that is wrong, and no port
// is touched.
func TestWrongSettingsAreNamed(t *testing.T) {
	for _, c := range []struct {
		settings map[string]string
		says     []string
	}{
		{nil, []string{`ports is ""`}},
		{map[string]string{"ports": ";"}, []string{`ports is ";"`}},
		{map[string]string{"ports": "net_ring0", "colour": "red", "workers": "17"}, []string{"colour is unknown", `workers is "17"`}},
		{map[string]string{"ports": "net_ring0;net_ring1", "host-interfaces": "a"}, []string{"host-interfaces", "one for each of 2 ports"}},
		{map[string]string{"ports": "net_ring0", "cpus": "1,2"}, []string{"cpus", "one for each of 1 workers"}},
		{map[string]string{"ports": "net_ring0", "cpus": "1023"}, []string{"cpus", "that this process may use"}},
		{map[string]string{"ports": "net_af_packet0,iface=x,qpairs=2,blocksz=4096"}, []string{"qpairs=1 at most, one for each worker"}},
		{map[string]string{"ports": "net_ring0", "idle": "maybe", "forward": "no"}, []string{`idle is "maybe"`, `forward is "no"`}},
		{map[string]string{"ports": "net_ring0", "tun-name": "a name", "tun-mtu": "9"}, []string{"tun-name", "tun-mtu"}},
		{map[string]string{"ports": "net_ring0", "npu-emulation": "crypto_none"}, []string{"npu-emulation", "crypto_aesni_gcm"}},
	} {
		_, err := dpdk.New(dpdk.Options{}).Configure(t.Context(), offload.Config{Boot: 1, Settings: c.settings})
		for _, says := range c.says {
			if !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), says) {
				t.Errorf("Of %v the error should be invalid and say %q, got %v.", c.settings, says, err)
			}
		}
	}
}
