package route

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RulePriority is the priority of our first policy rule; the last one is below
// RulePriority + 300.
const RulePriority = 5000

// maxPorts is how many ports have room before dissectPriority: four rules each,
// two for ESP, and two for the mark.
const maxPorts = 8

// dissectPriority is that of the rule that matches nothing.
const dissectPriority = RulePriority + 39

// chainPriority is where the rules of the prefix lengths begin, 129 pairs at
// most.
const chainPriority = RulePriority + 40

// ruleKey identifies one of our rules: the priority says all.
type ruleKey struct {
	family, priority int
}

// findRules notes the rules of an earlier run.
func (t *Table) findRules() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := t.nl.RuleList(family)
		if err != nil {
			return fmt.Errorf("route: list policy rules: %w", err)
		}
		for _, r := range found {
			if r.Protocol == Protocol {
				t.rules[ruleKey{family, r.Priority}] = true
			}
		}
	}
	return nil
}

// addRules adds what is missing of the rules for a capturing prefix.
func (t *Table) addRules(p netip.Prefix) error {
	for _, r := range t.rulesFor(p) {
		key := ruleKey{r.Family, r.Priority}
		if t.rules[key] {
			continue
		}
		if err := t.nl.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add policy rule %d: %w", r.Priority, err)
		}
		t.rules[key] = true
	}
	return nil
}

// removeRules removes the rules that no route needs. Before Sweep those of an
// earlier run may still be needed.
func (t *Table) removeRules() error {
	if !t.swept || len(t.rules) == 0 {
		return nil
	}
	needed := map[ruleKey]bool{}
	for p, s := range t.prefixes {
		if s.table != TableID {
			continue
		}
		for _, r := range t.rulesFor(p) {
			needed[ruleKey{r.Family, r.Priority}] = true
		}
	}
	var failed []error
	for key := range t.rules {
		if needed[key] {
			continue
		}
		r := netlink.NewRule()
		r.Family, r.Priority, r.Protocol = key.family, key.priority, Protocol
		if err := t.nl.RuleDel(r); err != nil && !errors.Is(err, unix.ENOENT) {
			failed = append(failed, fmt.Errorf("remove policy rule %d: %w", key.priority, err))
			continue
		}
		delete(t.rules, key)
	}
	return errors.Join(failed...)
}

// rulesFor lists the rules that a route to p in our table needs.
func (t *Table) rulesFor(p netip.Prefix) []*netlink.Rule {
	family := unix.AF_INET
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	rules := append(outerRules(family, t.config), dissectRule(family))

	// The longest prefix has the lowest priority, that is, comes first.
	position := chainPriority + 2*(p.Addr().BitLen()-p.Bits())
	host := rule(family, position)
	host.Table, host.SuppressPrefixlen = unix.RT_TABLE_MAIN, p.Bits()
	ours := rule(family, position+1)
	ours.Table, ours.SuppressPrefixlen = TableID, p.Bits()-1 // -1 suppresses none
	return append(rules, host, ours)
}

// outerRules let the IKE and ESP packets of this host pass by the tunnels.
func outerRules(family int, c Config) []*netlink.Rule {
	match := func(protocol int, sport, dport uint16) netlink.Rule {
		r := *rule(family, 0)
		r.IifName, r.IPProto = "lo", protocol // packets of this host come from lo
		if sport != 0 {
			r.Sport = netlink.NewRulePortRange(sport, sport)
		}
		if dport != 0 {
			r.Dport = netlink.NewRulePortRange(dport, dport)
		}
		return r
	}
	matches := []netlink.Rule{match(unix.IPPROTO_ESP, 0, 0)}
	for _, port := range c.Ports {
		// By destination too: the check of an arriving packet's return path
		// swaps the ports on newer kernels only.
		matches = append(matches, match(unix.IPPROTO_UDP, port, 0), match(unix.IPPROTO_UDP, 0, port))
	}
	if c.Mark != 0 {
		marked := *rule(family, 0)
		marked.Mark = c.Mark
		matches = append(matches, marked)
	}
	rules := make([]*netlink.Rule, 2*len(matches))
	for i, m := range matches {
		pass, stop := m, m
		pass.Priority, pass.Table = RulePriority+i, unix.RT_TABLE_MAIN
		stop.Priority, stop.Type = RulePriority+len(matches)+i, unix.RTN_UNREACHABLE
		rules[i], rules[len(matches)+i] = &pass, &stop
	}
	return rules
}

// dissectRule matches nothing: no interface has that name. But a rule for a
// protocol that is not for "lo" makes the kernel look at the protocol and ports
// of an arriving packet before it checks the return path; without it the strict
// check (rp_filter 1) does not match outerRules and drops the peer's packets.
func dissectRule(family int) *netlink.Rule {
	r := rule(family, dissectPriority)
	r.IifName, r.IPProto, r.Table = "evg-dissect", unix.IPPROTO_ESP, unix.RT_TABLE_MAIN
	return r
}

func rule(family, priority int) *netlink.Rule {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Protocol = family, priority, Protocol
	return r
}
