package diag

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestLinksAreThePhysicalOnes needs root, because it makes a network namespace.
func TestLinksAreThePhysicalOnes(t *testing.T) { // F18
	links := make(chan []Link, 1)
	problem := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its namespace
		got, err := linksOfANamespace()
		problem <- err
		links <- got
	}()
	if err := <-problem; err != nil {
		t.Fatalf("The interfaces of a namespace were not listed: %v.", err)
	}
	got := <-links
	want := []Link{
		{"port9", "02:00:00:00:00:09", true},
		{"port1", "02:00:00:00:00:01", true},
		{"port8", "02:00:00:00:00:08", false},
		{"port2", "02:00:00:00:00:02", false},
	}
	if !slices.Equal(got, want) {
		t.Errorf("The interfaces are %v, they should be %v: neither loopback nor bridge, in the kernel's order.", got, want)
	}
}

// linksOfANamespace makes two cables, the second of which is dead at one end, and
// interfaces that are not physical. The kernel makes the far end of a cable first.
func linksOfANamespace() ([]Link, error) {
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	named := func(name string) netlink.LinkAttrs {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return attrs
	}
	cable := func(a, b string) *netlink.Veth {
		v := &netlink.Veth{LinkAttrs: named(a), PeerName: b, PeerHardwareAddr: mac(b)}
		v.HardwareAddr = mac(a)
		return v
	}
	for _, l := range []netlink.Link{cable("port1", "port9"), &netlink.Bridge{LinkAttrs: named("switch")}, cable("port2", "port8")} {
		if err := netlink.LinkAdd(l); err != nil {
			return nil, fmt.Errorf("add %s: %w", l.Attrs().Name, err)
		}
	}
	for _, name := range []string{"lo", "port1", "port9", "switch", "port2"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return nil, err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return nil, fmt.Errorf("bring up %s: %w", name, err)
		}
	}
	return LocalLinks()
}

// mac is 02:00:00:00:00:01 for port1.
func mac(name string) []byte { return []byte{2, 0, 0, 0, 0, name[len(name)-1] - '0'} }

func TestLinksOfAnotherMember(t *testing.T) { // F18
	sent := seedPeers().Links[2]
	b, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseLinks(b)
	if err != nil || !slices.Equal(got, sent) {
		t.Errorf("The interfaces arrived as %v (%v), they should be %v.", got, err, sent)
	}
	many, err := json.Marshal(slices.Repeat(sent, 7))
	if err != nil {
		t.Fatal(err)
	}
	for text, why := range map[string]string{
		string(many):         "70 interfaces; at most 64",
		`[{"mac": "00:0c"}]`: "interface 0",
		`[{"name": "a\u001b[2J", "mac": "00:0c:29:06:4e:d6"}]`:                      "no name",
		`[{"name": "` + strings.Repeat("x", 16) + `", "mac": "00:0c:29:06:4e:d6"}]`: "no name",
		`{}`: "interfaces of a member",
		``:   "interfaces of a member",
	} {
		if links, err := ParseLinks([]byte(text)); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.60q became %v (%v), the error should speak of %q.", text, links, err, why)
		}
	}
}
