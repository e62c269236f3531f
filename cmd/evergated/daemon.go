package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/heap"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netio"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/core/route"
	"github.com/evergate/evergate/core/state"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp"
)

const (
	// drainTime is how long a stopping gateway waits for its peers to confirm
	// that their tunnels are closed.
	drainTime = 3 * time.Second
	// configureTime bounds the start of the dataplane, and a change of it.
	configureTime = 30 * time.Second
)

// daemon is a running gateway: the parts and the configuration that they have.
type daemon struct {
	log     *slog.Logger
	level   *slog.LevelVar // of log
	started time.Time
	dir     string // of the sockets

	host   *pluginhost.Host
	mux    *netio.Mux
	routes *route.Table
	engine *engine.Engine
	// cluster is nil for a gateway that stands alone, unit for one that is a gateway
	// by itself.
	cluster  *cluster
	unit     *unit
	network  *network
	withheld *withheld
	keep     *keep // nil where nothing is kept
	// works: all parts run, so that whatever operators ask for is answered.
	works atomic.Bool

	mu  sync.Mutex // guards cfg; held during a reload
	cfg *config.Config
}

// run is the gateway's life: it makes the parts, serves, and lets go of them.
func run(ctx context.Context, cfg *config.Config, log *slog.Logger, level *slog.LevelVar) (err error) {
	for _, w := range cfg.Warnings {
		log.Warn("configuration should be looked at", "problem", w.Error())
	}
	d := &daemon{log: log, level: level, cfg: cfg, started: time.Now(), dir: filepath.Dir(cfg.Admin.Socket)}
	listener, err := admin.Listen(ctx, cfg.Admin.Socket, cfg.Admin.Group)
	if err != nil {
		return err
	}
	defer listener.Close()
	defer func() { err = errors.Join(err, d.keep.close()) }()
	if err := d.makeHost(); err != nil {
		return err
	}
	if d.routes, err = route.Open(route.Config{Mark: offload.OuterMark, Log: log}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.routes.Close()) }()
	if d.mux, err = netio.New(netio.Config{IKESocket: d.ikeSocket(), Log: log, Deliver: d.engine.Receive}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.mux.Close()) }()
	return d.serve(ctx, listener)
}

// makeHost makes the supervisor of the dataplane, and the engine over it.
func (d *daemon) makeHost() error {
	st, err := state.Open(d.cfg.StateDir)
	if err != nil {
		return err
	}
	boot, err := st.NextBoot()
	if err != nil {
		return err
	}
	spec, err := pluginSpec(d.cfg)
	if err != nil {
		return err
	}
	if d.keep, err = openKeep(d.cfg, d.log); err != nil {
		return err
	}
	owner := ""
	if d.cfg.Group() != nil {
		if d.cluster, err = newCluster(d.cfg, st, d.log); err != nil {
			return fmt.Errorf("standalone-cluster: %w", err)
		}
		owner = d.cluster.owner
	}
	d.host, err = pluginhost.New(pluginhost.Config{
		Plugin: spec, RuntimeDir: d.dir, Boot: st.NextBoot, Log: d.log, Outlive: outlive(d.cfg), Owner: owner,
		Down: func() { d.engine.PlaneDown() }, // there is one by the time that the host runs
	})
	if err != nil {
		return err
	}
	if d.network, err = newNetwork(d.cfg, d.log); err != nil {
		return err
	}
	if err := d.makeUnit(); err != nil {
		return err
	}
	o := engine.Options{
		Shards: runtime.GOMAXPROCS(0), Epoch: offload.NewEpoch(uint64(boot), 0), Policy: policyOf(d.cfg),
		Env:   ike.Env{Rand: rand.Reader, Boot: boot},
		Plane: d.host, Network: sender{d}, Routes: tunnelRoutes{d}, Log: d.log,
	}
	if d.keep != nil {
		o.Journal = d.keep
	}
	if group := d.cfg.Group(); group != nil {
		o.Member = group.Member
		links, err := d.cluster.linkOptions()
		if err != nil {
			return fmt.Errorf("standalone-cluster: %w", err)
		}
		unit := d.cfg.Unit()
		o.Replication = &engine.Replication{
			Node: d.cluster.node, Mesh: d.cluster, Store: d.cluster, Fit: d.network.group, Links: links,
			ForgetMTU: unit != nil && !unit.SyncMTU,
		}
	}
	d.engine = engine.New(o)
	if d.cluster != nil {
		d.cluster.engine = d.engine
	}
	if d.unit != nil {
		d.unit.engine = d.engine
	}
	return nil
}

// makeUnit makes our part in a unit, if we are in one.
func (d *daemon) makeUnit() error {
	cfg := d.cfg.Unit()
	wait := time.Duration(0)
	if cfg != nil {
		wait = cfg.RouteWait
	}
	d.withheld = newWithheld(wait, func(routes ...engine.Route) {
		for i, err := range (tunnelRoutes{d}).install(routes) {
			if err != nil {
				d.log.Error("route was not added", "tunnel", routes[i].Name, "prefix", routes[i].Prefix, "error", err)
			}
		}
	})
	if cfg == nil {
		return nil
	}
	var err error
	if d.unit, err = newUnit(cfg, d.withheld.flush, d.log); err != nil { // routes before packets
		return fmt.Errorf("ha: %w", err)
	}
	d.network.hold = d.unit.mover.Hold
	return nil
}

// ikeSocket is where IKE of port 4500 passes between daemon and dataplane.
func (d *daemon) ikeSocket() string { return filepath.Join(d.dir, "ike.sock") }

// sender is the engine's way out; the sockets are there before the engine runs.
type sender struct{ d *daemon }

func (s sender) Send(dgs []ike.Datagram) int { return s.d.mux.Send(dgs) }

// pluginSpec says which program is the dataplane.
func pluginSpec(cfg *config.Config) (pluginhost.Spec, error) {
	p := cfg.Dataplane
	if p.Plugin == softesp.Name && len(p.SHA256) == 0 {
		return pluginhost.AsPlugin(softesp.Name), nil
	}
	spec, err := pluginhost.Find(p.Plugin, cfg.PluginDirs)
	if err != nil {
		return spec, fmt.Errorf("dataplane.plugin: %w", err)
	}
	spec.SHA256 = p.SHA256
	return spec, nil
}

// serve runs the parts until ctx ends or one of them fails. The dataplane
// outlives the engine, which outlives the operator's socket: whoever stops needs
// those behind it. All of them serve on while the network is led elsewhere.
func (d *daemon) serve(ctx context.Context, operators net.Listener) error {
	plane, stopPlane := context.WithCancel(context.WithoutCancel(ctx))
	defer stopPlane()
	work, stopWork := context.WithCancel(plane)
	defer stopWork()
	front, stopFront := context.WithCancel(plane)
	defer stopFront()
	stay, leave := context.WithCancel(ctx)
	defer leave()

	var parts errgroup.Group
	part := func(name string, run func() error) {
		parts.Go(func() error {
			err := run()
			leave()
			if err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	// Whoever hears that we are ready may ask for a reload at once: from then on
	// d.cfg is Reload's, and SIGHUP must not end us.
	cfg, hup := d.cfg, make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)

	attend := sync.OnceFunc(func() {
		part("admin socket", func() error { return admin.NewServer(d, d.log).Serve(front, operators) })
		part("metrics", func() error { return d.serveMetrics(front, cfg.Metrics.Listen) })
	})
	part("dataplane", func() error { return d.host.Run(plane) })
	err := d.begin(stay, cfg, attend)
	if err == nil {
		adopted := d.adopt()
		part("engine", func() error { return d.engine.Run(work) })
		if d.cluster == nil || !adopted {
			err = d.sweep(ctx)
		} else {
			part("tunnels of the last life", func() error { return d.rejoined(work) })
		}
	}
	if err == nil {
		if d.cluster != nil {
			part("standalone-cluster", func() error { return d.cluster.run(work) })
		}
		if d.unit != nil {
			part("ha", func() error { return d.unit.run(work) })
		}
		part("heap", func() error { heap.Keep(work); return nil })
		part("network", func() error { return d.network.run(work, d.host) })
		d.works.Store(true)
		attend()
		part("signals", func() error { return d.hear(front, hup) })
		d.log.Info("gateway ready", "version", version, "config", cfg.Path, "dataplane", cfg.Dataplane.Plugin)
		notify(d.log, ready)
		<-stay.Done()
		d.log.Info("gateway stops")
		notify(d.log, stopping)
		d.network.drain()
		stopFront()
		d.part(ctx, cfg)
	} else if stay.Err() != nil {
		err = nil // we were stopped before we worked, or a part has failed and says why
	}
	stopFront()
	stopWork()
	d.withheld.close()
	stopPlane()
	return errors.Join(err, parts.Wait())
}

// part leaves the tunnels to the next process, to other members, or to nobody.
func (d *daemon) part(ctx context.Context, cfg *config.Config) {
	left := d.stays(ctx, cfg)
	if left != leftHere {
		d.stop(cfg.Flush)
	}
	if left != leftNowhere {
		d.log.Info("dataplane is left to the next process", "for", cfg.Dataplane.OrphanTime, "tunnels", left == leftHere)
		d.host.Leave()
	}
}

// stop tells the peers: of all tunnels, or of those that no other member has.
func (d *daemon) stop(all bool) {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	end := d.engine.Drain
	if all {
		end = d.engine.Flush
	}
	if err := end(ctx); err != nil {
		d.log.Warn("gateway stopped before its peers", "error", err)
	}
}

// configure opens our addresses in the dataplane and on the daemon's sockets.
// Port 4500 changes hands in an order in which it is never wanted twice.
func (d *daemon) configure(ctx context.Context, cfg *config.Config, addrs []netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, configureTime)
	defer cancel()
	info, err := d.host.Info(ctx)
	if err != nil {
		return fmt.Errorf("start the dataplane: %w", err)
	}
	sources := netio.Sources{Addresses: addrs, PlaneOwnsNATT: info.OwnsNATT, NATTOptions: info.SocketOptions}
	if err := d.mux.Set(sources); err != nil {
		return err
	}
	if d.cluster != nil && info.Links {
		addrs = append(slices.Clone(addrs), d.cluster.local)
	}
	info, err = d.host.Configure(ctx, offload.Config{
		Member: d.member(), Addresses: addrs, IKESocket: d.ikeSocket(), Settings: cfg.Dataplane.Settings,
	})
	switch {
	case errors.Is(err, offload.ErrInvalid):
		return fmt.Errorf("dataplane.settings: configure the dataplane: %w", err)
	case err != nil:
		return fmt.Errorf("configure the dataplane: %w", err)
	}
	if d.cluster != nil {
		if err := engine.Joinable(info); err != nil {
			return err
		}
	}
	d.engine.PlaneIs(info)
	return unsupported(cfg, info)
}

// unsupported finds the phase 2 entries that the dataplane can do nothing for.
func unsupported(cfg *config.Config, info offload.Info) error {
	var errs []error
	for _, c := range cfg.Connections() {
		for _, child := range c.Children {
			if !slices.ContainsFunc(child.Proposals, func(p ipsec.Proposal) bool { return supports(info, p) }) {
				errs = append(errs, fmt.Errorf("phase2 %s: dataplane %s has none of its proposals", child.Name, info.Name))
			}
		}
	}
	return errors.Join(errs...)
}

// supports tells whether some choice from p can be installed.
func supports(info offload.Info, p ipsec.Proposal) bool {
	for _, e := range p.OfType(ipsec.TypeEncryption) {
		a := ipsec.Algorithms{Encryption: ipsec.EncryptionID(e.ID), KeyBits: e.KeyBits}
		if a.Encryption.AEAD() && info.Supports(a) {
			return true
		}
		for _, i := range p.OfType(ipsec.TypeIntegrity) {
			a.Integrity = ipsec.IntegrityID(i.ID)
			if info.Supports(a) {
				return true
			}
		}
	}
	return false
}

// member is our id in the group.
func (d *daemon) member() ipsec.MemberID {
	if d.cluster == nil {
		return 0
	}
	return d.cluster.cfg.Member
}

// tunnelRoutes leads the engine's routes into the dataplane's interface.
type tunnelRoutes struct{ d *daemon }

// Add implements engine.Routes. The network hears of what is routed here only.
func (t tunnelRoutes) Add(routes ...engine.Route) []error {
	now := routes[:0:0]
	var at []int
	for i, r := range routes {
		if !t.d.withheld.keep(r) {
			now, at = append(now, r), append(at, i)
		}
	}
	failed := t.install(now)
	if failed == nil {
		return nil
	}
	errs := make([]error, len(routes))
	for n, i := range at {
		errs[i] = failed[n]
	}
	return errs
}

// install makes routes now.
func (t tunnelRoutes) install(routes []engine.Route) (errs []error) {
	// Without an interface policies divert the traffic, whatever its route.
	if to := t.d.plaintextInterface(); to != "" {
		claims := make([]route.Claim, len(routes))
		for i, r := range routes {
			claims[i] = route.Claim{
				Owner: owner(r), Route: route.Route{Prefix: r.Prefix, Interface: to, Metric: uint32(r.Metric), Peer: r.Peer},
			}
		}
		errs = t.d.routes.AddAll(claims)
	}
	for i, r := range routes {
		if errs == nil || errs[i] == nil {
			t.d.network.add(r)
		}
	}
	return errs
}

// Del implements engine.Routes.
func (t tunnelRoutes) Del(r engine.Route) error {
	t.d.withheld.drop(r)
	t.d.network.del(r)
	return t.d.routes.Remove(owner(r), r.Prefix)
}

// Yield implements engine.Routes. For the kernel the route is the same.
func (t tunnelRoutes) Yield(r engine.Route) error {
	t.d.network.yield(r)
	return nil
}

// Refresh implements engine.Routes.
func (t tunnelRoutes) Refresh() error { return t.d.routes.Refresh() }

// owner tells tunnels of one name apart: one that goes and one that comes.
func owner(r engine.Route) string { return fmt.Sprintf("%s (%v)", r.Name, r.Tunnel) }

func (d *daemon) plaintextInterface() string { return d.host.Status().Info.PlaintextInterface }

// digest is the short form of a hash that members compare.
func digest(s string) uint64 {
	sum := sha256.Sum256([]byte(s))
	return binary.BigEndian.Uint64(sum[:])
}

// policyOf is what the engine makes of a configuration.
func policyOf(cfg *config.Config) *engine.Policy {
	var cs []*engine.Connection
	for _, c := range cfg.Connections() {
		cs = append(cs, &engine.Connection{
			Connection: c.Connection, Dialup: c.Dialup, Interface: c.Interface, AddRoute: c.AddRoute,
			Priority: c.Priority, Passive: c.Passive, AutoNegotiate: c.AutoNegotiate, Sync: c.Sync, MaxSeq: c.MaxSeq, Hash: c.Hash, Shared: digest(c.Shared),
		})
	}
	return engine.NewPolicy(cs...)
}
