package route

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	netlinkconn "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Protocol marks our routes and rules (rtm_protocol): the number of ESP, which
// no entry of iproute2's rt_protos has.
const Protocol = 50

// TableID is the kernel's number of the table for prefixes that contain the
// peer.
const TableID = 50

// Route is a way into a tunnel.
type Route struct {
	// Prefix must be in canonical form: no bit set right of its length.
	Prefix netip.Prefix
	// Interface is the name of the network interface that leads to the tunnel
	// (offload.Info.PlaintextInterface).
	Interface string
	// Metric orders routes of one prefix, lower wins; for IPv6 0 means 1024, as
	// the kernel has it.
	Metric uint32
	// Peer is the outer address of the tunnel's other end, if it is known.
	Peer netip.Addr
}

// captures tells whether r would draw the tunnel's own packets into the tunnel.
func (r Route) captures() bool { return r.Peer.IsValid() && r.Prefix.Contains(r.Peer.Unmap()) }

// ConflictError says that somebody else's route stands in the way of ours.
type ConflictError struct {
	Prefix netip.Prefix
	// Protocol is who made the other route, Via where it leads, for people.
	Protocol, Via string
	Metric        uint32
}

// Error names the prefix and the owner.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("route: %v already leads to %s (protocol %s, metric %d); give ours a better metric or remove that one",
		e.Prefix, e.Via, e.Protocol, e.Metric)
}

// Config of a Table.
type Config struct {
	// Ports of IKE, at most eight; empty means 500 and 4500.
	Ports []uint16
	// Mark is the firewall mark of outer packets that show no ports where the
	// kernel looks for their route: those of raw sockets. 0 means that there are
	// none.
	Mark uint32
	Log  *slog.Logger
}

// Table keeps the routes of one network namespace, that in which it was opened.
// It is safe for concurrent use.
type Table struct {
	config Config
	nl     *netlink.Handle
	// conn takes many messages at once.
	conn *netlinkconn.Conn

	mu       sync.Mutex
	prefixes map[netip.Prefix]standing
	stale    map[kernelKey]bool // of an earlier run, claimed by nobody yet
	rules    map[ruleKey]bool   // in the kernel
	// indexes are those of interfaces, as they were last.
	indexes map[string]int
	swept   bool
}

// Open finds what an earlier run left behind and changes nothing. Close it.
func Open(c Config) (*Table, error) {
	if len(c.Ports) == 0 {
		c.Ports = []uint16{500, 4500}
	}
	if len(c.Ports) > maxPorts {
		return nil, fmt.Errorf("route: %d ports of IKE, at most %d", len(c.Ports), maxPorts)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("route: open netlink: %w", err)
	}
	conn, err := netlinkconn.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		nl.Close()
		return nil, fmt.Errorf("route: open netlink: %w", err)
	}
	t := &Table{
		config: c, nl: nl, conn: conn, prefixes: map[netip.Prefix]standing{},
		stale: map[kernelKey]bool{}, rules: map[ruleKey]bool{}, indexes: map[string]int{},
	}
	if err := errors.Join(t.findRoutes(), t.findRules()); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// findRoutes notes the routes of an earlier run.
func (t *Table) findRoutes() error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, table := range []int{unix.RT_TABLE_MAIN, TableID} {
			filter := &netlink.Route{Table: table, Protocol: Protocol}
			found, err := t.nl.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
			if err != nil {
				return fmt.Errorf("route: list table %d: %w", table, err)
			}
			for _, r := range found {
				t.stale[kernelKey{prefixOf(r, family), table, uint32(r.Priority)}] = true
			}
		}
	}
	return nil
}

// Sweep removes what an earlier run left behind and nobody has claimed since.
// It is called once the tunnels that survived have claimed theirs.
func (t *Table) Sweep() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.swept = true
	var failed []error
	for key := range t.stale {
		if err := t.delete(key); err != nil {
			failed = append(failed, err)
			continue
		}
		delete(t.stale, key)
		t.config.Log.Info("stale route removed", "prefix", key.prefix, "table", key.table)
	}
	return errors.Join(append(failed, t.removeRules())...)
}

// Add claims a route for owner, a tunnel's name, and makes it the newest claim
// of its prefix. Nothing changes when owner has the same claim already, but that
// the route is put back if it is missing. After an error the claim is not made;
// owner's older claim of the prefix, if any, is what it was. The error is a
// *ConflictError where another's route stands in the way.
func (t *Table) Add(owner string, r Route) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.add(owner, r)
}

func (t *Table) add(owner string, r Route) error {
	if !canonical(r.Prefix) {
		return fmt.Errorf("route: add %v for %s: not a network in canonical form", r.Prefix, owner)
	}
	r.Metric = metricOf(r)
	before := t.prefixes[r.Prefix].newest
	t.want(r.Prefix, newClaim(owner, r, before.without(owner)))
	if err := t.settle(r.Prefix); err != nil {
		t.restore(r.Prefix, before)
		return fmt.Errorf("route: add %v for %s: %w", r.Prefix, owner, err)
	}
	return nil
}

// restore takes a claim back that failed.
func (t *Table) restore(p netip.Prefix, before *claim) {
	t.want(p, before)
	if err := t.settle(p); err != nil {
		t.config.Log.Error("route could not be put back", "prefix", p, "error", err)
	}
}

// Remove releases owner's claim of a prefix; without one it does nothing. When
// it returns the kernel's route is gone, or belongs to the next claim.
func (t *Table) Remove(owner string, p netip.Prefix) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remove(owner, p)
}

// RemoveAll releases all claims of owner.
func (t *Table) RemoveAll(owner string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed []error
	for p := range t.prefixes {
		failed = append(failed, t.remove(owner, p))
	}
	return errors.Join(failed...)
}

func (t *Table) remove(owner string, p netip.Prefix) error {
	before := t.prefixes[p].newest
	after := before.without(owner)
	if after == before {
		return nil
	}
	t.want(p, after)
	if err := t.settle(p); err != nil {
		return fmt.Errorf("route: remove %v of %s: %w", p, owner, err)
	}
	return nil
}

// Refresh puts back what is missing, as after an interface went and came again,
// which takes its routes along, and removes what could not be removed before.
func (t *Table) Refresh() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed []error
	for p := range t.prefixes {
		if err := t.settle(p); err != nil {
			failed = append(failed, fmt.Errorf("route: refresh %v: %w", p, err))
		}
	}
	return errors.Join(failed...)
}

// Close lets go of the kernel. Routes stay; RemoveAll removes them.
func (t *Table) Close() error {
	t.nl.Close()
	if err := t.conn.Close(); err != nil {
		return fmt.Errorf("route: close netlink: %w", err)
	}
	return nil
}
