package main

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/witness"
)

// network tells the routers around this gateway whether, and for which clients,
// it is the one to send to.
type network struct {
	witness *witness.Witness
	log     *slog.Logger
	// announce, when the gateway starts: what it says later needs another start.
	announce bool
	hidden   bool // the gateways are
	clients  bool
	delay    time.Duration // of a planned stop
	// hold says whether the addresses of the unit are to be here; nil without one.
	hold func(bool)
	why  string // we are fit

	mu      sync.Mutex
	health  ha.Health
	serving bool
	// tunnels are the networks behind each tunnel, true for those that we own.
	tunnels map[string]map[netip.Prefix]bool
}

// newNetwork says nothing yet.
func newNetwork(cfg *config.Config, log *slog.Logger) (*network, error) {
	c := witnessConfig(cfg, log)
	w, err := witness.New(c)
	if err != nil {
		return nil, err
	}
	n := &network{
		witness: w, log: log, announce: cfg.BGP != nil, hidden: c.HideGateways, clients: cfg.BGP != nil && cfg.BGP.Announce.Clients,
		delay: c.DrainDelay, tunnels: make(map[string]map[netip.Prefix]bool),
	}
	n.why = "synced"
	if cfg.Unit() != nil {
		n.why = "primary"
	}
	if cfg.Group() == nil {
		n.health = ha.Health{Fit: true, Why: "stands alone"}
	} else {
		n.health = ha.Health{Why: "starting"}
	}
	return n, nil
}

// witnessConfig is what the configuration says of the network.
func witnessConfig(cfg *config.Config, log *slog.Logger) witness.Config {
	c := witness.Config{Health: cfg.Health.Listen, DrainDelay: witness.DefaultDrainDelay, Log: log}
	b := cfg.BGP
	if b == nil {
		return c
	}
	c.Gateways, c.HideGateways = cfg.SharedGateways(), !b.Announce.LocalGW
	c.DrainDelay = b.GracefulShutdown.Delay
	c.BGP = witness.BGP{
		AS: b.AS, RouterID: b.RouterID, NextHop4: b.NextHop, NextHop6: b.NextHop6,
		HoldTime: b.HoldTime, Keepalive: b.Keepalive, AnnounceStandby: b.Announce.Standby,
	}
	for _, n := range b.Neighbors {
		c.BGP.Neighbors = append(c.BGP.Neighbors, neighborOf(n))
	}
	return c
}

func neighborOf(n *config.BGPNeighbor) witness.Neighbor {
	out := witness.Neighbor{
		Address: n.Address, AS: n.RemoteAS, Source: n.Source, Passive: n.Passive, Password: n.Password,
		MultihopTTL: n.MultihopTTL, TTLSecurity: n.TTLSecurity,
	}
	for _, f := range n.Families {
		out.IPv4 = out.IPv4 || f == config.IPv4
		out.IPv6 = out.IPv6 || f == config.IPv6
	}
	return out
}

// run speaks to the network until ctx ends.
func (n *network) run(ctx context.Context, host *pluginhost.Host) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { n.watch(ctx, host) })
	defer watch.Wait()
	defer cancel()
	return n.witness.Run(ctx)
}

// watch follows the dataplane: without one no packet should come here.
func (n *network) watch(ctx context.Context, host *pluginhost.Host) {
	for {
		serving, changed := host.Serving()
		n.mu.Lock()
		n.serving = serving
		n.judge()
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// group hears what the other members make of us.
func (n *network) group(h ha.Health) {
	if h.Fit {
		h.Why = n.why
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.health = h
	n.judge()
}

// judge tells whether we are fit. The caller holds mu.
func (n *network) judge() {
	if n.hold != nil {
		n.hold(n.serving && (n.health.Fit || n.health.Handing))
	}
	if !n.serving {
		n.witness.Fit(false, "no dataplane")
		return
	}
	n.witness.Fit(n.health.Fit, n.health.Why)
}

// gateways replaces the addresses that all members share.
func (n *network) gateways(cfg *config.Config) error {
	if !n.announce {
		return nil
	}
	return n.witness.SetGateways(cfg.SharedGateways()...)
}

// add notes a network behind a tunnel. Who owns the tunnel goes on to do so until
// it yields.
func (n *network) add(r engine.Route) {
	n.change(r, func(t map[netip.Prefix]bool) { t[r.Prefix] = t[r.Prefix] || !r.Standby })
}

// yield notes that another member owns the tunnel now.
func (n *network) yield(r engine.Route) {
	n.change(r, func(t map[netip.Prefix]bool) {
		if _, known := t[r.Prefix]; known {
			t[r.Prefix] = false
		}
	})
}

func (n *network) del(r engine.Route) {
	n.change(r, func(t map[netip.Prefix]bool) { delete(t, r.Prefix) })
}

// change changes the networks of one tunnel, and tells what is new.
func (n *network) change(r engine.Route, change func(map[netip.Prefix]bool)) {
	if !n.clients {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	name := owner(r)
	t := n.tunnels[name]
	if t == nil {
		t = make(map[netip.Prefix]bool)
		n.tunnels[name] = t
	}
	ours, known := t[r.Prefix]
	change(t)
	if now, still := t[r.Prefix]; now != ours || still != known {
		n.tell(name, t)
	}
	if len(t) == 0 {
		delete(n.tunnels, name)
	}
}

// tell announces the networks of one tunnel. The caller holds mu.
func (n *network) tell(name string, networks map[netip.Prefix]bool) {
	var owned, others []netip.Prefix
	for p, ours := range networks {
		if ours {
			owned = append(owned, p)
		} else {
			others = append(others, p)
		}
	}
	if err := n.witness.Own(name, owned); err != nil {
		n.log.Warn("network of a tunnel is not announced", "tunnel", name, "error", err)
	}
	if err := n.witness.StandBy(name+" of another member", others); err != nil {
		n.log.Debug("network of a standby is not announced", "tunnel", name, "error", err)
	}
}

// drain moves the traffic elsewhere before a stop, as far as somebody listens.
func (n *network) drain() {
	ctx, cancel := context.WithTimeout(context.Background(), n.delay+drainTime)
	defer cancel()
	if err := n.witness.Drain(ctx); err != nil {
		n.log.Warn("gateway stops before its traffic has moved", "error", err)
	}
}

// describe is what an operator sees.
func (n *network) describe() diag.Network {
	s := n.witness.Status()
	out := diag.Network{Fit: s.Fit, Reason: s.Reason, Draining: s.Draining, Owned: s.Owned, Standby: s.Standby}
	if !n.hidden {
		out.Gateways = s.Gateways
	}
	for _, p := range s.Neighbors {
		neighbor := diag.Neighbor{
			Address: p.Address, AS: p.AS, State: p.State, Prefixes: p.Announced, Lost: p.Lost, LastError: p.LastError,
		}
		if !p.Since.IsZero() {
			neighbor.Uptime = time.Since(p.Since)
		}
		if !p.LastErrorAt.IsZero() {
			neighbor.LastErrorAt = &p.LastErrorAt
		}
		out.Neighbors = append(out.Neighbors, neighbor)
	}
	return out
}
