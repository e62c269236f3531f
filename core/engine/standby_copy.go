package engine

import (
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// standbyTunnel is what the engine does for a tunnel of another member.
type standbyTunnel struct {
	facts facts
	class string
	// sas are those that are in the dataplane. They are few: two for each Child SA.
	sas []*standbySA
}

// standbySA is an SA of another member, with the routes that it needs and the
// dataplane's last word on it.
type standbySA struct {
	id     ipsec.SAID
	of     *standbyTunnel
	routes []Route
	count  count
}

// onOrder follows what the machine does to the dataplane: routes come and go with
// the SAs that stand by, and shards hear of higher ceilings.
func (r *Replica) onOrder(o ha.Order) {
	switch o.Kind {
	case ha.Install:
		for _, desc := range o.SAs {
			r.stand(desc)
		}
	case ha.Discard:
		for _, id := range o.IDs {
			r.unstand(id)
		}
	case ha.Update:
		for _, c := range o.Changes {
			if c.Sequence != nil && c.Sequence.Ceiling != 0 && r.bySA[c.ID] == nil {
				id, ok := r.node.TunnelOf(c.ID)
				if owner, _ := r.node.Owner(id); ok && owner == r.member {
					r.toShard(id, Raised{Tunnel: id, SA: c.ID, Sequence: *c.Sequence})
				}
			}
		}
	case ha.Arm, ha.Disarm, ha.Promote: // of no SA in particular
	}
}

// stand notes an SA of another member. Traffic for its networks is to reach the
// dataplane here too, so that the first packet after a failover finds it.
func (r *Replica) stand(desc ipsec.SA) {
	t := r.standby[desc.Tunnel]
	if t == nil {
		if t = r.learn(desc.Tunnel); t == nil {
			return
		}
	}
	if sa := r.bySA[desc.ID]; sa != nil && sa.of == t {
		return
	}
	sa := &standbySA{id: desc.ID, of: t}
	r.bySA[desc.ID] = sa
	if conn := r.policy.Connection(t.class); conn != nil && conn.AddRoute {
		for _, p := range routePrefixes(desc) {
			sa.routes = append(sa.routes, Route{
				Prefix: p, Peer: desc.Remote, Tunnel: desc.Tunnel, Name: t.facts.Name, Metric: conn.Priority, Standby: true,
			})
		}
	}
	t.sas = append(t.sas, sa)
	r.rd.AddRoutes = append(r.rd.AddRoutes, sa.routes...)
}

// learn reads the facts of a tunnel that stands by, nil when there is none: what
// it is called, and by which SPIs its messages are known, which change with every
// rekeying of the IKE SA.
func (r *Replica) learn(id ipsec.TunnelID) *standbyTunnel {
	m, ok := r.node.IKE(id)
	if owner, _ := r.node.Owner(id); !ok || owner == r.member {
		return nil
	}
	r.hush(id) // we may have been about to end it ourselves (I7)
	t := r.standby[id]
	if t == nil {
		t = &standbyTunnel{}
		r.standby[id] = t
	}
	f, err := readFacts(m.Facts)
	if err != nil {
		r.log.Error("facts of a tunnel were not understood", "tunnel", id.String(), "error", err)
		return t
	}
	for _, spi := range t.facts.SPIs {
		delete(r.bySPI, spi)
	}
	t.facts, t.class = f, m.Class
	for _, spi := range f.SPIs {
		r.bySPI[spi] = id
	}
	r.addresses.note(id, f)
	return t
}

// unstand forgets an SA of another member.
func (r *Replica) unstand(id ipsec.SAID) {
	sa := r.bySA[id]
	if sa == nil {
		return
	}
	delete(r.bySA, id)
	r.rd.DelRoutes = append(r.rd.DelRoutes, sa.of.withdraw(id)...)
}

// withdraw returns the routes that only this SA needs.
func (t *standbyTunnel) withdraw(id ipsec.SAID) []Route {
	var out []Route
	i := slices.IndexFunc(t.sas, func(sa *standbySA) bool { return sa.id == id })
	if i < 0 {
		return nil
	}
	mine := t.sas[i].routes
	t.sas = slices.Delete(t.sas, i, i+1)
	for _, route := range mine {
		if !t.needs(route.Prefix) {
			out = append(out, route)
		}
	}
	return out
}

// routes are those of all SAs.
func (t *standbyTunnel) routes() []Route {
	var out []Route
	for _, sa := range t.sas {
		out = append(out, sa.routes...)
	}
	return out
}

// needs tells whether an SA needs a route to p.
func (t *standbyTunnel) needs(p netip.Prefix) bool {
	return slices.ContainsFunc(t.sas, func(sa *standbySA) bool {
		return slices.ContainsFunc(sa.routes, func(r Route) bool { return r.Prefix == p })
	})
}

// drop forgets a tunnel that stood by, with its routes.
func (r *Replica) drop(id ipsec.TunnelID) {
	t := r.standby[id]
	if t == nil {
		return
	}
	for len(t.sas) > 0 {
		said := t.sas[0].id
		r.rd.DelRoutes = append(r.rd.DelRoutes, t.withdraw(said)...)
		delete(r.bySA, said)
	}
	r.forgetStandby(id, t)
	if r.addresses != nil && t.facts.Version == 1 {
		r.addresses.Release(id)
	}
}

func (r *Replica) forgetStandby(id ipsec.TunnelID, t *standbyTunnel) {
	for _, spi := range t.facts.SPIs {
		if r.bySPI[spi] == id {
			delete(r.bySPI, spi)
		}
	}
	for _, sa := range t.sas {
		delete(r.bySA, sa.id)
	}
	delete(r.standby, id)
	delete(r.waiting, id)
}
