package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/netlab"
)

const offloaded = "crypto offload parameters: dev "

// TestANetworkCardTakesSAs gives SAs to the simulated card and asks both the
// kernel and the card which of them it has.
func TestANetworkCardTakesSAs(t *testing.T) {
	const device = "/sys/bus/netdevsim/devices/netdevsim7"
	control(t, "new_device", "7 1")
	t.Cleanup(func() { control(t, "del_device", "7") })
	cards, err := os.ReadDir(device + "/net")
	if err != nil || len(cards) != 1 {
		t.Fatalf("The simulated device should have one interface: %v, %v", cards, err)
	}
	card := cards[0].Name()
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	run("address", "add", clientAddr+"/24", "dev", card)
	run("link", "set", card, "up")
	t.Cleanup(func() { run("xfrm", "state", "flush") })
	add := func(spi string, algorithm, device string) error {
		args := "xfrm state add src " + clientAddr + " dst " + gatewayAddr + " proto esp spi " + spi + " mode tunnel " +
			algorithm + " offload dev " + device + " dir out"
		return exec.Command("ip", strings.Fields(args)...).Run()
	}
	show := func(spi string) string {
		t.Helper()
		return run("xfrm", "state", "get", "src", clientAddr, "dst", gatewayAddr, "proto", "esp", "spi", spi)
	}
	gcm, cbc := "aead rfc4106(gcm(aes)) "+key(20)+" 128", "enc cbc(aes) "+key(16)+" auth hmac(sha1) "+key(20)

	if err := add("0x2001", gcm, card); err != nil {
		t.Fatalf("The card should take AES-GCM: %v", err)
	}
	if sa := show("0x2001"); !strings.Contains(sa, offloaded+card+" dir out") {
		t.Errorf("The kernel should name %s as the SA's device:\n%s", card, sa)
	}
	held, err := os.ReadFile(filepath.Join("/sys/kernel/debug/netdevsim/netdevsim7/ports/0/ipsec"))
	if err != nil || !strings.Contains(string(held), "spi=0x00002001") {
		t.Errorf("The card should hold the SA: %v\n%s", err, held)
	}
	if add("0x2002", cbc, card) == nil {
		t.Error("The card took AES-CBC, which it does not know.")
	}
	if err := add("0x2003", gcm, "lo"); err != nil {
		t.Errorf("An offload to lo should be accepted, and not be made: %v", err)
	}
	if sa := show("0x2003"); strings.Contains(sa, offloaded) {
		t.Errorf("The loopback interface has no IPsec hardware:\n%s", sa)
	}
}

// control writes to a control file of netdevsim.
func control(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile("/sys/bus/netdevsim/"+file, []byte(text), 0o200); err != nil {
		t.Fatalf("Tell netdevsim %s: %v", file, err)
	}
}

// TestRoutesCanLeadIntoTunnels makes the interfaces of route-based tunnels.
func TestRoutesCanLeadIntoTunnels(t *testing.T) {
	ns := netlab.New(t).Namespace("gateway")
	ip(t, ns, "link", "add", "ipsec7", "type", "xfrm", "dev", "lo", "if_id", "7")
	ip(t, ns, "link", "add", "vti7", "type", "vti", "local", clientAddr, "remote", gatewayAddr, "key", "7")
	ip(t, ns, "link", "add", "customer", "type", "vrf", "table", "7")
	if shown := ip(t, ns, "-d", "link", "show", "ipsec7"); !strings.Contains(shown, "if_id 0x7") {
		t.Errorf("The xfrm interface should have if_id 7:\n%s", shown)
	}
}
