package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
)

// nft runs a script of nftables in the namespace.
func (n *Namespace) nft(script string) error {
	cmd := exec.CommandContext(n.lab.tb.Context(), n.lab.Tool("nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	_, err := n.Output(cmd)
	return err
}

// NAT is a source address translation at an interface of a router.
type NAT struct {
	out        *Interface
	generation int
}

// natPorts is the number of ports that one generation of mappings uses, and
// natGenerations how many ranges there are before the first comes again.
const (
	natFirstPort   = 20000
	natPorts       = 1000
	natGenerations = 40
)

// Masquerade hides what is routed out of the interface behind the interface's
// own address, for IPv4 and IPv6. TCP and UDP source ports always change, the
// IKE ports too; nothing unasked comes in.
func (i *Interface) Masquerade() *NAT {
	i.ns.lab.tb.Helper()
	nat := &NAT{out: i}
	nat.load("add")
	return nat
}

func (nat *NAT) load(verb string) {
	nat.out.ns.lab.tb.Helper()
	first := natFirstPort + nat.generation%natGenerations*natPorts
	script := fmt.Sprintf(`
%[1]s table inet nat_%[2]s
add table inet nat_%[2]s
add chain inet nat_%[2]s post { type nat hook postrouting priority srcnat; }
add rule inet nat_%[2]s post oifname "%[2]s" meta l4proto { tcp, udp } masquerade to :%[3]d-%[4]d
add rule inet nat_%[2]s post oifname "%[2]s" masquerade
add chain inet nat_%[2]s guard { type filter hook forward priority filter; }
add rule inet nat_%[2]s guard iifname "%[2]s" ct state new,invalid drop
`, verb, nat.out.name, first, first+natPorts-1)
	if err := nat.out.ns.nft(script); err != nil {
		nat.out.ns.lab.tb.Fatalf("netlab: masquerade at %s: %v", nat.out, err)
	}
}

// Rebind forgets every mapping, as a NAT does that restarts: the next packet
// from inside gets a source port that it did not have before, and what still
// arrives for the old ones is dropped.
func (nat *NAT) Rebind() {
	ns := nat.out.ns
	ns.lab.tb.Helper()
	nat.generation++
	nat.load("delete")
	if err := ns.nl.ConntrackTableFlush(netlink.ConntrackTable); err != nil {
		ns.lab.tb.Fatalf("netlab: flush the mappings at %s: %v", nat.out, err)
	}
}

// Remove ends the translation for new flows and forgets the present ones.
// After it, the namespace is a plain router.
func (nat *NAT) Remove() {
	ns := nat.out.ns
	ns.lab.tb.Helper()
	err := errors.Join(
		ns.nft(fmt.Sprintf("delete table inet nat_%s\n", nat.out.name)),
		ns.nl.ConntrackTableFlush(netlink.ConntrackTable))
	if err != nil {
		ns.lab.tb.Fatalf("netlab: remove the translation at %s: %v", nat.out, err)
	}
}

// Pattern says which of the packets that match are lost.
type Pattern struct{ nft string }

// numgenMax keeps a counter from wrapping in any test.
const numgenMax = 1<<31 - 1

// All loses every packet.
func All() Pattern { return Pattern{} }

// Nth loses one packet, counted from 1.
func Nth(n int) Pattern { return Pattern{fmt.Sprintf("numgen inc mod %d %d", numgenMax, n-1)} }

// First loses the first n packets.
func First(n int) Pattern { return Pattern{fmt.Sprintf("numgen inc mod %d < %d", numgenMax, n)} }

// Every loses one packet of n, the first of them first.
func Every(n int) Pattern { return Pattern{fmt.Sprintf("numgen inc mod %d 0", n)} }

// Loss is a rule that drops packets.
type Loss struct {
	at    *Interface
	table string
}

// Drop loses packets that arrive at the interface and match an expression of
// nftables ("udp dport 500", "meta l4proto icmp"; empty for all), before anything but a capture
// sees them. To lose what a host sends, drop at the other end of its link.
func (i *Interface) Drop(match string, which Pattern) *Loss {
	i.ns.lab.tb.Helper()
	loss := &Loss{at: i, table: i.ns.lab.unique("loss")}
	script := fmt.Sprintf(`
add table netdev %[1]s
add chain netdev %[1]s in { type filter hook ingress device "%[2]s" priority 0; }
add rule netdev %[1]s in %[3]s %[4]s counter drop
`, loss.table, i.name, match, which.nft)
	if err := i.ns.nft(script); err != nil {
		i.ns.lab.tb.Fatalf("netlab: drop %q at %s: %v", match, i, err)
	}
	return loss
}

// Remove ends the loss.
func (loss *Loss) Remove() {
	ns := loss.at.ns
	ns.lab.tb.Helper()
	if err := ns.nft(fmt.Sprintf("delete table netdev %s\n", loss.table)); err != nil {
		ns.lab.tb.Fatalf("netlab: end the loss at %s: %v", loss.at, err)
	}
}

// Count returns the number of packets lost so far.
func (loss *Loss) Count() int {
	ns := loss.at.ns
	ns.lab.tb.Helper()
	out, err := ns.Output(exec.CommandContext(ns.lab.tb.Context(), ns.lab.Tool("nft"), "-j", "list", "table", "netdev", loss.table))
	if err != nil {
		ns.lab.tb.Fatalf("netlab: count the loss at %s: %v", loss.at, err)
	}
	n, err := parseCounter(out)
	if err != nil {
		ns.lab.tb.Fatalf("netlab: count the loss at %s: %v", loss.at, err)
	}
	return n
}

// parseCounter finds the one counter in what nft -j lists.
func parseCounter(list []byte) (int, error) {
	var doc struct {
		Nftables []struct {
			Rule struct {
				Expr []struct {
					Counter *struct{ Packets int }
				}
			}
		}
	}
	if err := json.Unmarshal(list, &doc); err != nil {
		return 0, fmt.Errorf("parse nft's list: %w", err)
	}
	for _, object := range doc.Nftables {
		for _, expr := range object.Rule.Expr {
			if expr.Counter != nil {
				return expr.Counter.Packets, nil
			}
		}
	}
	return 0, errors.New("parse nft's list: no counter in it")
}
