package netlab

import (
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// AnswerBack makes the namespace answer each flow through the gateway that the
// flow's last packet came from, whatever the routes say: load balancers call it
// the auto last hop. gateways are the addresses behind interfaces of the
// namespace. What does not answer anything follows the routes.
func (n *Namespace) AnswerBack(gateways map[*Interface]string) {
	n.lab.tb.Helper()
	var script strings.Builder
	script.WriteString(`
add table inet answerback
add chain inet answerback in { type filter hook prerouting priority mangle; }
add chain inet answerback out { type route hook output priority mangle; }
add rule inet answerback out ct mark != 0 meta mark set ct mark
`)
	for from, gateway := range gateways {
		mark := uint32(from.Index())
		fmt.Fprintf(&script, "add rule inet answerback in iifname %q ct mark set %d\n", from.name, mark)
		route := &netlink.Route{Gw: net.ParseIP(gateway), Table: answerTable + int(mark)}
		if err := n.nl.RouteReplace(route); err != nil {
			n.lab.tb.Fatalf("netlab: route answers of %s via %s: %v", n.name, gateway, err)
		}
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table, rule.Priority = unix.AF_INET, mark, route.Table, answerTable
		if err := n.nl.RuleAdd(rule); err != nil {
			n.lab.tb.Fatalf("netlab: tell answers of %s via %s from the rest: %v", n.name, gateway, err)
		}
	}
	if err := n.nft(script.String()); err != nil {
		n.lab.tb.Fatalf("netlab: mark what %s answers: %v", n.name, err)
	}
}

// answerTable is the first of the routing tables of AnswerBack, and the priority
// of their rules.
const answerTable = 1000
