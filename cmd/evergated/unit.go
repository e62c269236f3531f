package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/transport"
	"github.com/evergate/evergate/ha/witness/address"
	"github.com/evergate/evergate/ha/witness/carrier"
)

// unit is what a member of a unit has to do with the networks around: it watches
// its interfaces, and moves the unit's addresses.
type unit struct {
	cfg     *config.HA
	log     *slog.Logger
	mover   *address.Mover
	watcher *carrier.Watcher

	mu     sync.Mutex
	engine *engine.Engine
	failed []string // interfaces that are watched
}

// newUnit opens what it needs. Nothing moves yet. prepare is called before the
// addresses come here.
func newUnit(cfg *config.HA, prepare func(), log *slog.Logger) (*unit, error) {
	u := &unit{cfg: cfg, log: log}
	c := address.Config{
		Announcements: cfg.ARPs, Interval: cfg.ARPsInterval, VirtualMAC: cfg.VirtualMAC, Unit: cfg.Group,
		Prepare: prepare, Log: log,
	}
	for _, a := range cfg.Addresses {
		for _, p := range a.IPs {
			c.Addresses = append(c.Addresses, address.Address{Interface: a.Interface, Prefix: p})
		}
	}
	var err error
	if u.mover, err = address.New(c); err != nil {
		return nil, err
	}
	u.watcher, err = carrier.New(cfg.Monitor, u.watched, log)
	return u, err
}

// unitOf is our part in the unit, for the replication machine; nil for none.
func unitOf(cfg *config.Config) *ha.Unit {
	u := cfg.Unit()
	if u == nil {
		return nil
	}
	return &ha.Unit{
		ID: u.Group, Priority: u.Priority, Override: u.Override, AgeMargin: u.UptimeMargin,
		Serial: cmp.Or(u.Serial, fmt.Sprintf("EG%02d", cfg.Group().Member)),
	}
}

// heartbeatLinks are the ways to the members of our unit beside the first one, and
// adds the members' addresses there to peers.
func heartbeatLinks(cfg *config.Config, peers []transport.Peer) ([]transport.Link, error) {
	var links []transport.Link
	for _, l := range cfg.HeartbeatLinks() {
		local, err := l.LocalAddress()
		if err != nil {
			return nil, err
		}
		links = append(links, transport.Link{Local: local, Interface: l.Interface})
		for i, p := range peers {
			if p.Member != nil {
				peers[i].Links = append(p.Links, l.Peers[*p.Member])
			}
		}
	}
	return links, nil
}

// run watches and moves until ctx ends.
func (u *unit) run(ctx context.Context) error {
	var watch sync.WaitGroup
	watch.Go(func() { u.watcher.Run(ctx) })
	defer watch.Wait()
	return u.mover.Run(ctx)
}

// watched hears which of the interfaces have failed.
func (u *unit) watched(failed []string) {
	if len(failed) > 0 {
		u.log.Warn("monitored interfaces have failed", "interfaces", failed)
	}
	u.mu.Lock()
	u.failed = failed
	e := u.engine
	u.mu.Unlock()
	e.Monitored(len(failed))
}

// HAStatus implements admin.Gateway.
func (d *daemon) HAStatus(ctx context.Context) (diag.HAStatus, error) {
	status, ok, err := d.engine.Unit(ctx)
	if err != nil || !ok {
		return diag.HAStatus{Mode: "standalone"}, err
	}
	_, members, stats, err := d.engine.Group(ctx)
	if err != nil {
		return diag.HAStatus{}, err
	}
	u := d.unit
	s := diag.HAStatus{
		Mode: "a-p", Group: u.cfg.Group, GroupName: u.cfg.GroupName, Member: d.member(), Override: u.cfg.Override,
		Failover: status.Standing.Yielded > 0, Unsettled: status.Unsure != 0, Health: d.network.describe().Reason,
		Elections: stats.HA.Reigns, Promotions: stats.HA.Promoted,
	}
	if status.Settled {
		s.Primary = &status.Primary
	}
	s.Members = append(s.Members, haMember(d.member(), status.Standing, true, true))
	for _, m := range status.Mates {
		i := slices.IndexFunc(members, func(p ha.PeerStatus) bool { return p.Member == m.Member })
		synced := i >= 0 && members[i].Synced && members[i].Complete
		s.Members = append(s.Members, haMember(m.Member, m.Standing, m.Alive, synced))
	}
	slices.SortFunc(s.Members, func(a, b diag.HAMember) int { return cmp.Compare(a.Member, b.Member) })
	s.Heartbeats = d.cluster.heartbeats(status)
	u.describe(&s)
	return s, nil
}

func haMember(id ipsec.MemberID, s ha.Standing, alive, synced bool) diag.HAMember {
	m := diag.HAMember{
		Member: id, Serial: s.Serial, Role: "subordinate", Priority: s.Priority, Override: s.Override,
		Age: s.Age, Failed: int(s.Failed), Yielded: s.Yielded > 0, Synced: synced,
	}
	switch {
	case !alive:
		m.Role = "dead"
	case s.Primary:
		m.Role = "primary"
	}
	return m
}

// heartbeats are the links to the members of our unit.
func (c *cluster) heartbeats(status ha.UnitStatus) []diag.HALink {
	silence := c.cfg.Heartbeat * time.Duration(c.cfg.Lost)
	var out []diag.HALink
	for _, p := range c.mesh.Peers() {
		mate := p.Member != nil && slices.ContainsFunc(status.Mates, func(m ha.MateStatus) bool { return m.Member == *p.Member })
		if !mate {
			continue
		}
		for _, l := range p.Links {
			link := diag.HALink{
				Member: *p.Member, Interface: l.Interface, Local: l.Local, Address: l.Addr,
				Received: l.Received, Unsent: l.Unsent, Sync: l.Session,
			}
			if !l.Last.IsZero() {
				link.Silent = time.Since(l.Last)
				link.Up = link.Silent <= silence
			}
			out = append(out, link)
		}
	}
	return out
}

// describe adds the interfaces and the addresses.
func (u *unit) describe(s *diag.HAStatus) {
	u.mu.Lock()
	for _, name := range u.cfg.Monitor {
		s.Monitored = append(s.Monitored, diag.HAMonitored{Interface: name, Up: !slices.Contains(u.failed, name)})
	}
	u.mu.Unlock()
	m := u.mover.Status()
	s.Held, s.Moves, s.Announced = m.Held, m.Moves, m.Announced
	if m.Err != nil {
		s.Trouble = m.Err.Error()
	}
	for _, a := range u.cfg.Addresses {
		for _, p := range a.IPs {
			s.Addresses = append(s.Addresses, diag.HAAddress{Interface: a.Interface, Prefix: p})
		}
	}
}

// Failover implements admin.Gateway.
func (d *daemon) Failover(ctx context.Context, on bool) error {
	d.log.Warn("operator asked for a failover", "set", on)
	return d.engine.Yield(ctx, on)
}
