package main

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/evergate/evergate/core/diag"
)

// peers shows what DC1_VM1 knows of its group. The slots of members that do not
// exist are left out, as in FortiOS's manual.
func (f *fgspScene) peers() {
	const command = "diagnose sys ha standalone-peers"
	text := f.evergate(0, strings.Fields(command)...)
	empty := regexp.MustCompile(`(\n *standalone_id=\d+:)(\n *standalone_id=\d+:)+$`)
	text = empty.ReplaceAllString(strings.TrimRight(text, "\n"), "$1\n        ...$2")
	f.show("DC1_VM1", "evergate "+command, text)
}

// lists shows a tunnel on all members: whole at the first, at the others what
// differs.
func (f *fgspScene) lists(tunnel string) {
	args := []string{"diagnose", "vpn", "tunnel", "list", "name", tunnel}
	command := "evergate " + strings.Join(args, " ")
	first := f.evergate(0, args...)
	f.show("DC1_VM1", command, first)
	for i := 1; i < synced; i++ {
		f.show(fmt.Sprintf("DC1_VM%d", i+1), command, differing(first, f.evergate(i, args...)))
	}
	f.show("DC1_VM4", command, f.evergate(synced, args...))
}

// differing returns the lines of text that are not in other, and says how many
// are.
func differing(other, text string) string {
	known := make(map[string]bool)
	for line := range strings.Lines(other) {
		known[strings.TrimSpace(line)] = true
	}
	var out strings.Builder
	same := 0
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		if line = strings.TrimRight(line, "\n"); known[strings.TrimSpace(line)] {
			same++
			continue
		}
		fmt.Fprintln(&out, line)
	}
	fmt.Fprintf(&out, "... and %d lines that are the same\n", same)
	return out.String()
}

// compare checks that all members with sync have one tunnel, key for key, and
// the one without has none.
func (f *fgspScene) compare(tunnel string) {
	f.step("compare SPIs, keys and selectors on the four", func() string {
		want := secrets(f.members[0].Tunnel(tunnel))
		for i, d := range f.members[:synced] {
			if got := secrets(d.Tunnel(tunnel)); got != want {
				f.tb.Fatalf("DC1_VM%d has other SAs than DC1_VM1", i+1)
			}
		}
		if n := len(f.members[synced].Tunnels("")); n > 0 {
			f.tb.Fatalf("DC1_VM4 has fgsp-sync disabled, and %d tunnels", n)
		}
		return "byte for byte the same on three, nothing on DC1_VM4"
	})
}

// secrets is what all members must have alike of a tunnel.
func secrets(t diag.Tunnel) string {
	var b strings.Builder
	fmt.Fprint(&b, t.Name, t.IKESPIs)
	for _, p := range t.Proxies {
		fmt.Fprint(&b, p.Src, p.Dst)
		for _, sa := range p.SAs {
			fmt.Fprint(&b, sa.Dec.SPI, sa.Dec.Key, sa.Dec.HashKey, sa.Enc.SPI, sa.Enc.Key, sa.Enc.HashKey)
		}
	}
	return b.String()
}
