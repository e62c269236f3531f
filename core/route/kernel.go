package route

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernelKey tells the kernel's routes apart.
type kernelKey struct {
	prefix netip.Prefix
	table  int
	metric uint32
}

// settle makes the kernel's route of a prefix that of the newest claim. The new
// one is there before the old one goes.
func (t *Table) settle(p netip.Prefix) error {
	s := t.prefixes[p]
	old, had := s.key(p)
	if s.newest == nil {
		if !had {
			return nil
		}
		if err := t.delete(old); err != nil {
			return err
		}
		t.hasNone(p)
		return t.removeRules()
	}
	r := s.newest.route(p)
	key := kernelKey{p, unix.RT_TABLE_MAIN, r.Metric}
	if r.captures() {
		key.table = TableID
		if err := t.addRules(p); err != nil {
			return err
		}
	}
	if err := t.install(key, r.Interface); err != nil {
		return err
	}
	t.has(key)
	delete(t.stale, key)
	if had && old != key {
		if err := t.delete(old); err != nil {
			return err
		}
	}
	return t.removeRules()
}

// install puts a route into the kernel. One that is there already and ours is
// replaced, in one step; a new one must not hide or be hidden by another's.
func (t *Table) install(key kernelKey, iface string) error {
	r := key.netlink()
	switch err := t.by(iface, r, t.nl.RouteAdd); {
	case errors.Is(err, unix.EEXIST):
		if err := t.conflict(key); err != nil {
			return err
		}
		return wrap("replace", t.by(iface, r, t.nl.RouteReplace))
	case err != nil:
		return wrap("add", err)
	}
	if err := t.preferred(key); err != nil {
		return errors.Join(err, t.delete(key))
	}
	return nil
}

// by makes a change that leads a route to an interface. The kernel does not use
// the index of one that went for another, so the one that we know is tried first.
func (t *Table) by(iface string, r *netlink.Route, change func(*netlink.Route) error) error {
	if index, known := t.indexes[iface]; known {
		r.LinkIndex = index
		if err := change(r); !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	link, err := t.nl.LinkByName(iface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", iface, err)
	}
	r.LinkIndex = link.Attrs().Index
	t.indexes[iface] = r.LinkIndex
	return change(r)
}

// conflict names the route of another that has the place of key.
func (t *Table) conflict(key kernelKey) error {
	if f, ok, err := t.chosen(key); err == nil && ok && uint32(f.Priority) == key.metric {
		if f.Protocol == Protocol {
			return nil
		}
		return t.conflictWith(key.prefix, f)
	}
	// It has a worse metric than another's, or its interface is down.
	r := key.netlink()
	found, err := t.nl.RouteListFiltered(r.Family, r, netlink.RT_FILTER_DST|netlink.RT_FILTER_TABLE)
	if err != nil {
		return wrap("list", err)
	}
	for _, f := range found {
		if uint32(f.Priority) == key.metric && f.Protocol != Protocol {
			return t.conflictWith(key.prefix, f)
		}
	}
	return nil
}

// preferred returns a conflict when the kernel takes another's route of the same
// prefix, because that has a better metric.
func (t *Table) preferred(key kernelKey) error {
	if key.metric == 0 { // there is no better one
		return nil
	}
	f, ok, err := t.chosen(key)
	if err != nil || !ok || f.Protocol == Protocol {
		return err
	}
	return t.conflictWith(key.prefix, f)
}

// chosen is the route of a prefix that the kernel takes, if it is one of the main
// table: the one with the best metric.
func (t *Table) chosen(key kernelKey) (f netlink.Route, ok bool, err error) {
	if key.table == TableID { // it is ours alone
		return f, false, nil
	}
	found, err := t.nl.RouteGetWithOptions(key.prefix.Addr().AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return f, false, nil // by an interface that is down, nothing leads there
	case err != nil:
		return f, false, wrap("look up", err)
	case len(found) == 0:
		return f, false, nil
	}
	f = found[0]
	return f, f.Table == unix.RT_TABLE_MAIN && prefixOf(f, key.netlink().Family) == key.prefix, nil
}

func (t *Table) conflictWith(p netip.Prefix, f netlink.Route) error {
	via := "nowhere"
	if link, err := t.nl.LinkByIndex(f.LinkIndex); err == nil {
		via = link.Attrs().Name
	}
	if len(f.Gw) > 0 {
		via += " via " + f.Gw.String()
	}
	return &ConflictError{Prefix: p, Protocol: f.Protocol.String(), Via: via, Metric: uint32(f.Priority)}
}

// delete removes a route of ours; one that is gone already is fine: the kernel
// removes routes with their interface.
func (t *Table) delete(key kernelKey) error {
	if err := t.nl.RouteDel(key.netlink()); err != nil && !errors.Is(err, unix.ESRCH) {
		return wrap("delete", err)
	}
	return nil
}

// netlink is what identifies the route to the kernel. The protocol is part of
// it: another's route is never deleted.
func (k kernelKey) netlink() *netlink.Route {
	r := &netlink.Route{
		Dst:    &net.IPNet{IP: k.prefix.Addr().AsSlice(), Mask: net.CIDRMask(k.prefix.Bits(), k.prefix.Addr().BitLen())},
		Family: unix.AF_INET, Table: k.table, Priority: int(k.metric), Protocol: Protocol, Scope: netlink.SCOPE_LINK,
	}
	if k.prefix.Addr().Is6() {
		r.Family, r.Scope = unix.AF_INET6, netlink.SCOPE_UNIVERSE
	}
	return r
}

// prefixOf is the destination of a kernel's route; none means all.
func prefixOf(r netlink.Route, family int) netip.Prefix {
	if r.Dst == nil {
		if family == unix.AF_INET6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	if family == unix.AF_INET {
		a = a.Unmap()
	}
	bits, _ := r.Dst.Mask.Size()
	return netip.PrefixFrom(a, bits)
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s the kernel's route: %w", doing, err)
}
