//go:build dpdk

package dpdk_test

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/plugins/dpdk"
)

var (
	gcm = ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	cbc = ipsec.Algorithms{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96}
)

// library is the emulation of an NPU of three SAs by a library.
var library = map[string]string{"npu-emulation": "crypto_aesni_gcm", "npu-slots": "3"}

// emulating is a dataplane whose port is deaf, but would lead to the peer; more says
// what plays an NPU.
func emulating(t *testing.T, port string, more map[string]string) (*offloadtest.Harness, offload.Info) {
	t.Helper()
	e := dpdk.New(dpdk.Options{Version: "test", EAL: process})
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("The dataplane did not end cleanly: %v.", err)
		}
	})
	h := &offloadtest.Harness{Engine: e, Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2")}
	var info offload.Info
	settings := map[string]string{"ports": port + ",no-rx=1", "buffers": "1024", "max-sas": "64"}
	maps.Copy(settings, more)
	host := netlab.New(t).Namespace("host")
	err := host.Do(func() (err error) {
		info, err = e.Configure(t.Context(), offload.Config{Boot: 1, Addresses: []netip.Addr{h.Local}, Settings: settings})
		return err
	})
	if err != nil {
		t.Fatalf("The dataplane cannot be configured: %v.", err)
	}
	run(t, host, "ip", "address", "add", h.Local.String()+"/24", "dev", "evgx0")
	return h, info
}

// deaf names a port that hears nothing.
func deaf() string { return fmt.Sprintf("net_null%d", planes.Add(1)) }

func install(t *testing.T, h *offloadtest.Harness, a ipsec.Algorithms, n uint32) (in, out offload.Placement) {
	t.Helper()
	x, y := h.Pair(a, n, 1)
	placed, err := h.Engine.Install(t.Context(), offload.NewEpoch(1, 1), offload.Active, x, y)
	if err != nil || placed[0].Err != nil || placed[1].Err != nil {
		t.Fatalf("The SAs should be installed, got %+v, %v.", placed, err)
	}
	return placed[0], placed[1]
}

// TestEmulatedNPUFillsUp: each direction of a tunnel goes into the NPU while there is
// room, and what is not in it says why.
func TestEmulatedNPUFillsUp(t *testing.T) {
	h, info := emulating(t, deaf(), library)
	if len(info.NPUs) != 1 || !info.NPUs[0].Emulated || info.NPUs[0].Name != "crypto_aesni_gcm" {
		t.Errorf("Info should list one NPU and say that it is emulated, got %+v.", info.NPUs)
	}
	for _, c := range info.Transforms {
		if want := c.Algorithms.Encryption == ipsec.EncrAESGCM16; want && !(c.NPUInbound && c.NPUOutbound) {
			t.Errorf("Info should say that the NPU takes %v in both directions.", c.Algorithms)
		}
	}
	for _, want := range []placed{
		{"a tunnel of CBC, which the NPU lacks", cbc, offload.NPUImpossible, [2]offload.NoNPU{offload.NoAlgorithm, offload.NoAlgorithm}},
		{"the first tunnel of GCM", gcm, offload.NPUBoth, [2]offload.NoNPU{}},
		{"the second one, for which half the room is left", gcm, offload.NPUInbound, [2]offload.NoNPU{1: offload.NoRoom}},
		{"the third one", gcm, offload.NPUNeither, [2]offload.NoNPU{offload.NoRoom, offload.NoRoom}},
	} {
		want.check(t, h)
	}
}

// placed is where the SAs of a tunnel should go.
type placed struct {
	what   string
	a      ipsec.Algorithms
	flag   offload.NPUFlag
	whyNot [2]offload.NoNPU // inbound, outbound
}

func (want placed) check(t *testing.T, h *offloadtest.Harness) {
	t.Helper()
	in, out := install(t, h, want.a, uint32(len(want.what))) // a number of its own
	if got := offload.FlagOf(in, out); got != want.flag || in.WhyNot != want.whyNot[0] || out.WhyNot != want.whyNot[1] {
		t.Errorf("Of %s npu_flag should be %02x, because %q and %q; got %02x, %q and %q.", want.what, want.flag, want.whyNot[0], want.whyNot[1], got, in.WhyNot, out.WhyNot)
	}
}

// TestDeletedSAsLeaveRoomInTheNPU deletes what fills it.
func TestDeletedSAsLeaveRoomInTheNPU(t *testing.T) {
	h, _ := emulating(t, deaf(), library)
	for n := range uint32(5) {
		in, out := install(t, h, gcm, n+1)
		if got := offload.FlagOf(in, out); got != offload.NPUBoth {
			t.Fatalf("Tunnel %d should be in the NPU, got npu_flag %02x: %q, %q.", n, got, in.WhyNot, out.WhyNot)
		}
		if _, err := h.Engine.Delete(t.Context(), offload.NewEpoch(1, 1), in.ID, out.ID); err != nil {
			t.Fatalf("Delete failed: %v.", err)
		}
	}
}

// TestSettingsThatNeedARestartSaySo: ports stay what they were.
func TestSettingsThatNeedARestartSaySo(t *testing.T) {
	h, _ := emulating(t, deaf(), library)
	_, err := h.Engine.Configure(t.Context(), offload.Config{Boot: 1, Settings: map[string]string{"ports": "net_null_other"}})
	if err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("Other ports should be refused until a restart, got %v.", err)
	}
}
