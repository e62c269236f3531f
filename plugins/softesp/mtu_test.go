package softesp

import (
	"net/netip"
	"testing"

	"github.com/evergate/evergate/plugins/softesp/device"
)

func TestPathReportConcerns(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.2:4500")
	for _, c := range []struct {
		report device.PathError
		want   bool
		why    string
	}{
		{device.PathError{Remote: peer}, true, "a router names address and port"},
		{device.PathError{Remote: netip.MustParseAddrPort("192.0.2.2:0"), Local: true}, true, "the kernel names no port for its own interface"},
		{device.PathError{Remote: netip.MustParseAddrPort("192.0.2.2:0")}, false, "a router speaks of raw ESP to that address"},
		{device.PathError{Remote: netip.MustParseAddrPort("192.0.2.3:0"), Local: true}, false, "it is another address"},
		{device.PathError{Remote: netip.MustParseAddrPort("192.0.2.2:4501")}, false, "it is another port"},
	} {
		r := pathReport{PathError: c.report}
		if got := r.concerns(peer); got != c.want {
			t.Errorf("a report about %v (local: %t) concerns %v: %t, want %t, for %s", c.report.Remote, c.report.Local, peer, got, c.want, c.why)
		}
	}
}
