package sparse_test

import (
	"errors"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm"
)

func load(t *testing.T, modules ...string) {
	t.Helper()
	if out, err := exec.Command("/sbin/modprobe", append([]string{"--all"}, modules...)...).CombinedOutput(); err != nil {
		t.Fatalf("The modules %v cannot be loaded: %v: %s.", modules, err, out)
	}
}

// try configures a new engine in a network namespace of its own, and has it install an SA of a link.
func try(t *testing.T, settings map[string]string) (info offload.Info, link, err error) {
	t.Helper()
	e, err := xfrm.New(xfrm.Options{})
	if err != nil {
		t.Fatalf("There is no engine: %v.", err)
	}
	defer e.Close()
	configured := make(chan error)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			info, err = e.Configure(t.Context(), offload.Config{Boot: 1, Settings: settings})
		}
		configured <- err
	}()
	if err := <-configured; err != nil {
		return info, nil, err
	}
	sa := ipsec.SA{
		ID:        ipsec.SAID{SPI: 0x10000001, Dst: netip.MustParseAddr("192.0.2.2"), Proto: ipsec.ESP},
		Direction: ipsec.Outbound, Link: &ipsec.Link{Member: 2}, Generation: 1,
		Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("192.0.2.2"),
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 256, ESN: true}, Encryption: ipsec.NewKey(make([]byte, 36)),
	}
	placed, err := e.Install(t.Context(), 0, offload.Active, sa)
	if err != nil {
		t.Fatalf("Install failed: %v.", err)
	}
	return info, placed[0].Err, nil
}

// TestWhatTheKernelLacksIsNamed gives the kernel one part after the other that the
// error before has named.
func TestWhatTheKernelLacksIsNamed(t *testing.T) { // B7
	for _, c := range []struct {
		want string // in the error
		then []string
	}{
		{"module xfrm_user", []string{"xfrm_user"}},
		{"(CONFIG_NETFILTER_NETLINK)", []string{"nfnetlink"}},
		{"(CONFIG_NETFILTER_NETLINK_LOG)", []string{"nfnetlink_log"}},
		{"nf_tables (CONFIG_NF_TABLES_INET)", []string{"nf_tables"}},
		{"nft_xfrm", []string{"nft_xfrm", "nft_limit", "nft_log"}},
		{"module esp4", []string{"gcm", "ctr", "cbc", "ecb", "authenc", "authencesn", "seqiv", "echainiv", "drbg", "sha512_generic", "ghash_generic", "esp4"}},
		{"module esp6", []string{"esp6"}},
		{"module xfrm_interface", nil},
	} {
		if _, _, err := try(t, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Fatalf("The error should name %s, got %v.", c.want, err)
		}
		if len(c.then) > 0 {
			load(t, c.then...)
		}
	}
	info, link, err := try(t, map[string]string{"interface": "none"})
	if err != nil || info.Links || !errors.Is(link, offload.ErrUnsupported) {
		t.Fatalf("Without interfaces there should be policies, and no links: links %v (%v), %v.", info.Links, link, err)
	}
	load(t, "xfrm_interface")
	info, link, err = try(t, nil)
	if err != nil || info.Links || !errors.Is(link, offload.ErrUnsupported) {
		t.Fatalf("A kernel that cannot send a copy of a packet should have tunnels and no links: links %v (%v), %v.", info.Links, link, err)
	}
	load(t, "nft_dup_ipv4", "nft_dup_ipv6")
	info, link, err = try(t, nil)
	if err != nil || !info.Links || link != nil {
		t.Errorf("Now there should be links: %v (%v), %v.", info.Links, link, err)
	}
	gcm := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	chacha := ipsec.Algorithms{Encryption: ipsec.EncrChaCha20Poly1305}
	if !info.Supports(gcm) || info.Supports(chacha) {
		t.Errorf("The kernel has AES-GCM and no ChaCha20, Info lists %d sets of algorithms.", len(info.Transforms))
	}
}
