package handshake

import (
	"context"
	"fmt"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// responder is a gateway that is measured, and the clients that dial in at it.
type responder struct {
	name string
	// daemon and plane are its processes; plane is 0 where ESP is in the daemon.
	daemon, plane int
	clients       *rig.Clients
}

// start starts those that are asked for.
func (r *Result) start(tb netlab.TB, o Options, m Method) ([]*responder, error) {
	names := []string{Evergate}
	if o.StrongSwan {
		names = append(names, StrongSwan)
	}
	host, sites := rig.NewResponders(netlab.New(tb), names...)
	var out []*responder
	for i, site := range sites {
		p := &responder{name: names[i], clients: rig.NewClients(host, rig.Call{Gateway: site.Addr, Groups: []ipsec.GroupID{m.Group}})}
		if p.name == StrongSwan {
			p.daemon = startCharon(site, m)
			out = append(out, p)
			continue
		}
		d := gateway.Start(site.Host, gateway.Settings{Binary: o.Daemon, Config: evergateConfig(o, site, m)})
		var err error
		if p.daemon, p.plane, err = rig.Processes(d); err != nil {
			return nil, err
		}
		conditions, err := rig.ConditionsOf(d)
		if err != nil {
			return nil, err
		}
		r.Conditions.Daemon, r.Conditions.Dataplane = conditions.Daemon, conditions.Dataplane
		out = append(out, p)
	}
	return out, nil
}

func evergateConfig(o Options, site rig.Responder, m Method) string {
	config := rig.Dialup(site.Addr.String(), m.Group, false) + "log: {level: warn}\n"
	if o.Plugin != "" {
		config += fmt.Sprintf("dataplane: {plugin: %q}\n", o.Plugin)
	}
	return config
}

// startCharon starts a charon that is tuned for many clients, as its documentation
// tells: hash tables instead of lists, no checks for duplicates, no cookies.
func startCharon(site rig.Responder, m Method) int {
	d := strongswan.Start(site.Host, strongswan.Settings{Quiet: true, More: map[string]string{
		"ikesa_table_size": "16384", "ikesa_table_segments": "16", "dos_protection": "no",
	}})
	d.Load(rig.StrongSwan(site.Addr.String(), m.Name))
	return d.Process().PID()
}

// dial has n clients dial in.
func (p *responder) dial(ctx context.Context, n, atOnce int) ([]time.Duration, error) {
	const workers = 2
	tunnels, err := p.clients.Dial(ctx, n, workers, max(1, atOnce/workers))
	if err != nil {
		return nil, fmt.Errorf("handshake: %s: %w", p.name, err)
	}
	waits := make([]time.Duration, len(tunnels))
	for i, t := range tunnels {
		waits[i] = t.Took
	}
	return waits, nil
}

// usage is that of all processes of p, and of the daemon.
func (p *responder) usage() (all, daemon rig.Usage, err error) {
	if daemon, err = rig.UsageOf(p.daemon); err != nil || p.plane == 0 {
		return daemon, daemon, err
	}
	plane, err := rig.UsageOf(p.plane)
	return rig.Usage{Resident: daemon.Resident + plane.Resident, CPU: daemon.CPU + plane.CPU}, daemon, err
}
