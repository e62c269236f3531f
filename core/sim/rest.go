package sim

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
)

// maxSettle is how long a healed cluster may take to come to rest: clients find
// out that a tunnel is dead, and wait between two tries to dial.
const maxSettle = 60 * time.Second

// fresh is how long ago packets may have passed last.
const fresh = 500 * time.Millisecond

// Settle heals everything and waits until the cluster is at rest. An error is
// the first breach, or what keeps it from resting.
func (c *Cluster) Settle() error {
	c.Heal()
	c.Play(500 * time.Millisecond)
	kept := c.keepers()
	why := c.rest()
	if why == "" {
		c.still = true // nothing is under way that nobody asked for
		why = c.rest()
	}
	if why != "" {
		c.breach("after the healing the cluster does not come to rest: %s", why)
	}
	for _, cl := range c.clients {
		if k, ok := kept[cl]; ok {
			c.checkKept(cl, k)
		}
	}
	return c.broken
}

// rest waits until the cluster is at rest, and says what keeps it from that.
func (c *Cluster) rest() (why string) {
	for end := c.clock.Now().Add(maxSettle); c.broken == nil && c.clock.Now().Before(end); {
		c.Play(fresh)
		before := why
		if why = c.unrest(); why == "" {
			return ""
		}
		if why != before {
			c.tracef("cluster", "not at rest: %s", why)
		}
	}
	return why
}

// keeper is a client whose keys the cluster has when all is healed.
type keeper struct {
	dials int
	out   ipsec.SAID
}

// keepers are the clients that need not dial again: somebody owns their tunnel or
// may follow its owner, and every copy is where the client is. In a divided group
// two members may have gone on with one IKE SA; then the one that keeps it may be
// behind, which RFC 6311 is for.
func (c *Cluster) keepers() map[*client]keeper {
	kept := make(map[*client]keeper)
	for _, cl := range c.clients {
		theirs, out, ok := cl.standing()
		if !ok || !cl.wanted {
			continue
		}
		owners, id := 0, c.tunnelOf(out)
		for _, m := range c.members {
			switch has, able, current := m.copyOf(theirs.IKE, id, out); {
			case has && !current:
				owners = -len(c.members)
			case able:
				owners++
			}
		}
		if owners > 0 {
			kept[cl] = keeper{cl.dials, out}
		}
	}
	return kept
}

// tunnelOf is the tunnel of an SA, as any member knows it, 0 for none.
func (c *Cluster) tunnelOf(out ipsec.SAID) ipsec.TunnelID {
	for _, m := range c.members {
		if id, ok := m.tunnelOf(out); ok {
			return id
		}
	}
	return 0
}

// copyOf tells whether m has a client's tunnel, whether it owns it or may take it
// over, and whether its copy is where the client is: theirs, which sends on out.
func (m *member) copyOf(theirs ike.Status, id ipsec.TunnelID, out ipsec.SAID) (has, able, current bool) {
	if !m.daemon.up {
		return false, false, false
	}
	st, ok := m.node.Tunnel(id)
	if _, knows := m.tunnelOf(out); !ok || !knows {
		return ok, false, false
	}
	able = !m.leaving && (st.Owned || st.Orphan && m.armed(st.Owner)) // who is last to stop tells the client
	for _, t := range append(m.tunnels(), m.replica.Tunnels(m.now())...) {
		if t.ID == id {
			return true, able, st.Complete && t.IKE.SPIi == theirs.SPIi && t.IKE.SPIr == theirs.SPIr && t.IKE.Doing == "" &&
				t.IKE.NextRequest == theirs.NextExpected && t.IKE.NextExpected == theirs.NextRequest
		}
	}
	return true, able, false
}

// armed tells whether tunnels of another member may start at m.
func (m *member) armed(owner ipsec.MemberID) bool {
	return slices.ContainsFunc(m.node.Peers(), func(p ha.PeerStatus) bool { return p.Member == owner && p.Armed })
}

// checkKept checks that a client did not have to begin anew.
func (c *Cluster) checkKept(cl *client, k keeper) {
	if c.broken == nil && cl.dials != k.dials {
		c.breach("%s dialed again after the healing, although a member had its SA %v", cl.name, k.out)
	}
	c.sum.Kept++
}

// standing is the tunnel that a client uses and the SA that it sends on, by its name
// here, false while it is not up and idle. A client of IKEv1 may have another one,
// which is as good: when its call crosses the members' rekeying of a phase 1 that it
// has just left, neither end sees that the two are one.
func (cl *client) standing() (used engine.TunnelStatus, out ipsec.SAID, ok bool) {
	sa := cl.plane.outbound(lan().Addr().Next())
	if !cl.daemon.up || sa == nil {
		return used, out, false
	}
	all := cl.tunnels()
	for _, t := range all {
		if t.Name == "" || t.IKE.Doing != "" {
			return used, out, false
		}
		if t.ID == sa.desc.Tunnel {
			used, ok = t, true
		}
	}
	return used, here(sa), ok && (len(all) == 1 || cl.c.cfg.Dialect != IKEv2)
}

// tunnelOf finds the tunnel of an SA that a member holds.
func (m *member) tunnelOf(id ipsec.SAID) (ipsec.TunnelID, bool) {
	if !m.daemon.up {
		return 0, false
	}
	return m.node.TunnelOf(id)
}

// unrest says what is not yet as it should be when nothing disturbs the cluster,
// or nothing.
func (c *Cluster) unrest() string {
	for _, m := range c.members {
		if why := m.unrest(); why != "" {
			return m.name + " " + why
		}
	}
	if why := c.unrestUnits(); why != "" {
		return why
	}
	known := make(map[ipsec.TunnelID]bool)
	for _, cl := range c.clients {
		if !cl.daemon.up {
			continue
		}
		id, why := cl.unrest()
		if why != "" {
			return cl.name + " " + why
		}
		known[id] = true
	}
	if c.cfg.Dialect != IKEv2 {
		c.answered(known)
	}
	for _, m := range c.members {
		for _, id := range m.node.Tunnels() {
			if !known[id] {
				return fmt.Sprintf("%s holds %v, which no client has", m.name, id)
			}
			c.checkEnded(id)
		}
	}
	return ""
}

// answered adds the tunnels whose client was heard of not long ago. A client of
// IKEv1 may have one beside the one that it uses, or count two of the members' as
// one: only who asks it finds out.
func (c *Cluster) answered(known map[ipsec.TunnelID]bool) {
	for _, m := range c.members {
		for _, t := range m.tunnels() {
			known[t.ID] = known[t.ID] || t.IKE.DPD.Heard < 4*time.Second
		}
	}
}

// unrest of a member: it knows all others and all tunnels, and neither its
// dataplane nor its routes hold anything else.
func (m *member) unrest() string {
	switch {
	case !m.daemon.up:
		return "is down"
	case m.node.Role() != ha.Standby:
		return fmt.Sprintf("is still syncing: %+v", m.node.Peers())
	}
	for _, p := range m.node.Peers() {
		if !p.Alive || p.Unfit || !p.Synced || !p.Complete || p.Armed {
			return fmt.Sprintf("is not at peace with %+v", p)
		}
	}
	var wanted []ipsec.SAID
	for _, id := range m.node.Tunnels() {
		st, _ := m.node.Tunnel(id)
		if !st.Complete {
			return fmt.Sprintf("has %v in part only", id)
		}
		for _, ch := range st.Children {
			wanted = append(wanted, ch.In.ID, ch.Out.ID)
		}
	}
	return m.strays(wanted)
}

// strays are SAs and routes that nobody needs, and those that are missing. A
// replaced pair keeps its inbound SA for a while; its outbound one is gone at its
// owner, and there at those who stand by. Of several it tells of the same one in every
// run of a seed.
func (m *member) strays(wanted []ipsec.SAID) string {
	all, ok := m.plane.inventory()
	if !ok {
		return "has no dataplane"
	}
	here := make(map[ipsec.SAID]bool)
	for _, sa := range all {
		here[sa.ID] = true
		if !slices.Contains(wanted, sa.ID) {
			return fmt.Sprintf("has %v in its dataplane, which is of no tunnel", sa.ID)
		}
	}
	for _, id := range wanted {
		tunnel, _ := m.node.TunnelOf(id)
		if st, _ := m.node.Tunnel(tunnel); !here[id] && !(st.Owned && id.Dst != gatewayAddr()) {
			return fmt.Sprintf("lacks %v in its dataplane", id)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(m.routes), netip.Prefix.Compare) {
		for _, id := range slices.Sorted(maps.Keys(m.routes[p])) {
			if _, ok := m.node.Tunnel(id); !ok {
				return fmt.Sprintf("has a route to %v for %v, which is gone", p, id)
			}
		}
	}
	return ""
}

// unrest of a client: its tunnel is up, with one owner and all others standing
// by, and packets pass both ways.
func (cl *client) unrest() (ipsec.TunnelID, string) {
	c := cl.c
	if !cl.wanted {
		return 0, "is about to dial again"
	}
	_, out, ok := cl.standing()
	if !ok {
		return 0, fmt.Sprintf("has no tunnel that is up: %s", cl.describe())
	}
	var id ipsec.TunnelID
	owners, versions := 0, make(map[ha.Version]int)
	for _, m := range c.members {
		here, ok := m.tunnelOf(out)
		if !ok {
			return 0, fmt.Sprintf("uses %v, which %s does not know", out, m.name)
		}
		id = here
		st, _ := m.node.Tunnel(id)
		versions[st.Version]++
		if st.Owned {
			owners++
		}
		if why := m.roles(st); why != "" {
			return 0, why
		}
	}
	switch {
	case owners != 1:
		return 0, fmt.Sprintf("has %d owners for %v", owners, id)
	case len(versions) != 1:
		return 0, fmt.Sprintf("has %v in versions %v", id, versions)
	case c.clock.Now().Sub(cl.upAt) > fresh:
		return 0, fmt.Sprintf("sent no packet that arrived for %v", c.clock.Now().Sub(cl.upAt))
	case c.clock.Now().Sub(cl.downAt) > fresh:
		return 0, fmt.Sprintf("got no packet for %v: %s", c.clock.Now().Sub(cl.downAt), c.describeSA(cl))
	}
	return id, ""
}

// roles checks what a member's dataplane and shards make of a tunnel.
func (m *member) roles(st ha.TunnelStatus) string {
	runs := slices.ContainsFunc(m.shardOf(st.Tunnel).machine.Tunnels(m.now()), func(t engine.TunnelStatus) bool { return t.ID == st.Tunnel })
	if runs != st.Owned {
		return fmt.Sprintf("has %v, which %s owns: %v, and runs: %v", st.Tunnel, m.name, st.Owned, runs)
	}
	all, _ := m.plane.inventory()
	for _, sa := range all {
		if sa.Tunnel == st.Tunnel && (sa.Role == offload.Active) != st.Owned {
			return fmt.Sprintf("has %v, which %s owns: %v, and whose SA %v is %v there", st.Tunnel, m.name, st.Owned, sa.ID, sa.Role)
		}
	}
	if announces := m.routes[netOf(st)][st.Tunnel]; announces != st.Owned {
		return fmt.Sprintf("has %v, which %s owns: %v, and announces: %v", st.Tunnel, m.name, st.Owned, announces)
	}
	return ""
}

// netOf is the network behind a tunnel's client.
func netOf(st ha.TunnelStatus) (p netip.Prefix) {
	for _, ch := range st.Children {
		for _, ts := range ch.Out.Selectors.Remote {
			for _, p := range ts.Prefixes() {
				return p
			}
		}
	}
	return p
}

// describe says how a client's tunnels stand.
func (cl *client) describe() string {
	var out []string
	for _, t := range cl.tunnels() {
		out = append(out, fmt.Sprintf("%v %v doing %q, %d retransmissions, %d children", t.ID, t.IKE.State, t.IKE.Doing, t.IKE.Retransmissions, len(t.Children)))
	}
	return "[" + strings.Join(out, "; ") + "]"
}

// describeSA says what every member makes of the packets for a client.
func (c *Cluster) describeSA(cl *client) string {
	var out []string
	for _, m := range c.members {
		sa := m.plane.outbound(cl.hostAddr())
		if sa == nil {
			out = append(out, m.name+" has no SA for it")
			continue
		}
		all, _ := m.plane.inventory()
		for _, k := range all {
			if k.ID == sa.desc.ID {
				out = append(out, fmt.Sprintf("%s has %v for it, %v, next %d of %d", m.name, k.ID, k.Role, k.Sequence.Next, k.Sequence.Ceiling))
			}
		}
	}
	return strings.Join(out, "; ")
}

// Established counts the clients whose tunnel is up.
func (c *Cluster) Established() (n int) {
	for _, cl := range c.clients {
		for _, t := range cl.tunnels() {
			if t.Name != "" && len(t.Children) > 0 {
				n++
			}
		}
	}
	return n
}
