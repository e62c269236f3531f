//go:build dpdk

package dpdk_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// TestWhatCannotBeOpenedIsNamed: the error names the setting that asks for it and says
// what to do. What was opened before is given back, so the right settings work then.
func TestWhatCannotBeOpenedIsNamed(t *testing.T) { // B7
	lab := netlab.New(t)
	gateway := lab.Namespace("gateway")
	right, _ := cable(t, lab, gateway, lab.Namespace("peer"), "192.0.2.2/24")
	e := dpdk.New(dpdk.Options{EAL: process})
	configure := func(key, value string) error {
		settings := maps.Clone(right)
		if key != "" {
			settings[key] = value
		}
		return gateway.Do(func() error {
			_, err := e.Configure(t.Context(), offload.Config{Boot: 1, Settings: settings})
			return err
		})
	}
	for _, c := range []struct{ key, value, names, says string }{
		{"ports", "net_af_packet99,iface=absent", "setting ports", "is there what they name"},
		{"ports", "net_absent0", "setting ports", "does this DPDK have the driver"},
		{"ports", "0000:ff:1f.7", "setting ports", "bound to vfio-pci"},
		{"tun-name", "wire", "setting tun-name", "no tun device"},
		{"host-interfaces", "wire", "setting host-interfaces", "no tap device"},
		{"buffers", "4000000", "setting eal", "lower buffers"},
	} {
		if err := configure(c.key, c.value); err == nil || !strings.Contains(err.Error(), c.names) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("With %s of %q the error should name %s and say %q, got %v.", c.key, c.value, c.names, c.says, err)
		}
	}
	if err := configure("", ""); err != nil {
		t.Errorf("After all that the right settings should work, got %v.", err)
	}
	if err := e.Close(); err != nil {
		t.Errorf("The dataplane did not end cleanly: %v.", err)
	}
}
