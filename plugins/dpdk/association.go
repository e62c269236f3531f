//go:build dpdk

package dpdk

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// nattPort is where ESP in UDP arrives (RFC 3948).
const nattPort = 4500

// association is one installed SA: its newest description, and its part in the loop,
// which is the same for its whole life. Engine.mu guards it.
type association struct {
	ipsec.SA
	serial uint64 // order of first installation
	loop   *loop.SA
	tunnel *tunnel
	ended  *tunnel // the tunnel, when it ended with the SA
	at     place
	path   loop.Path
	placed bool // path is set
}

// tunnel joins the SAs that change roles together.
type tunnel struct {
	loop *loop.Tunnel
	n    int
}

// group is where an SA is; those of links are in none.
func (a *association) group() (offload.Group, bool) {
	return a.loop.Usage().Group, a.Link == nil
}

func (a *association) placement() offload.Placement {
	return offload.Placement{
		ID: a.ID, NPU: a.at.npu, WhyNot: a.at.whyNot, Role: a.loop.Usage().Role,
		SelectorIDs: []offload.SelectorID{offload.SelectorID(a.serial)}, // one for all selectors
	}
}

// counters are what an SA did.
func (a *association) counters() offload.Counters {
	u := a.loop.Usage()
	c := offload.Counters{
		Placement: a.placement(), Direction: a.Direction, Tunnel: a.Tunnel, Group: u.Group, Link: a.Link,
		Generation: a.Generation, Packets: u.Packets, Bytes: u.Bytes, Idle: u.Idle, Sequence: a.loop.Sequence(),
		PathMTU: u.MTUTold, Relayed: u.Relayed, Drops: u.Drops,
	}
	if a.Direction == ipsec.Outbound && u.Role == offload.Active {
		c.PathMTU = u.MTUKnown // a standby sends nothing on its path, so knows what it was told
	}
	return c
}

// checkSA tells what is wrong with sa, or too much for this dataplane.
func checkSA(sa ipsec.SA) error {
	if err := offload.CheckSA(sa); err != nil {
		return err
	}
	if sa.Mode != ipsec.Tunnel {
		return fmt.Errorf("%w: transport mode", offload.ErrUnsupported)
	}
	return checkEncap(sa.Encap)
}

// checkEncap refuses UDP ports of ours on which nobody looks for ESP.
func checkEncap(c *ipsec.Encap) error {
	if c != nil && c.LocalPort != nattPort {
		return fmt.Errorf("%w: udp encapsulation from port %d, it is always %d", offload.ErrUnsupported, c.LocalPort, nattPort)
	}
	return nil
}

// ivPrefix is the part of explicit IVs that sets apart members and their boots.
func (e *Engine) ivPrefix(sa ipsec.SA) uint64 {
	return uint64(sa.Sender)<<(counterBits+bootBits) | uint64(e.config.Boot)<<counterBits
}

// fingerprint tells keys apart without keeping them.
func (e *Engine) fingerprint(sa ipsec.SA) uint64 {
	return maphash.Bytes(e.seed, sa.Encryption.Reveal())
}

// add installs an SA that is not there.
func (e *Engine) add(s *survey, role offload.Role, sa ipsec.SA) error {
	if len(e.sas) >= e.settings.maxSAs {
		return offload.ErrExhausted
	}
	described, at, err := e.describe(s, sa, e.ivPrefix(sa))
	if err != nil {
		return err
	}
	e.serial++
	made, err := loop.NewSA(e.serial, sa, e.ledger.start(e.fingerprint(sa)))
	if err != nil {
		described.Free()
		at.release()
		return err
	}
	a := &association{SA: sa, serial: e.serial, loop: made, at: at}
	e.network.plane.SetDescription(made, described)
	made.SetRole(role)
	made.SetGroup(offload.Group(sa.Group))
	made.SetLifetime(sa.Lifetime)
	made.SetMTU(sa.PathMTU)
	made.Merge(sa.Sequence)
	e.name(a)
	if err := e.publish(s, a); err != nil {
		e.remove(a)
		e.drain()
		e.forget(a)
		return err
	}
	return nil
}

// name lets events find an SA.
func (e *Engine) name(a *association) {
	e.sas[a.ID] = a
	e.names.Lock()
	defer e.names.Unlock()
	e.serials[a.serial] = a.ID
}

// publish lets packets find an SA.
func (e *Engine) publish(s *survey, a *association) error {
	if err := e.setPath(s, a, offload.Endpoint{Local: a.Local, Remote: a.Remote, Encap: a.Encap}); err != nil {
		return err
	}
	if err := e.join(a); err != nil {
		return err
	}
	if a.loop.Usage().Role == offload.Standby {
		a.tunnel.loop.Rest() // its start is news again
	}
	if err := e.selectFor(a); err != nil {
		return err
	}
	e.network.plane.List(a.loop)
	return nil
}

// selectFor lets an outbound SA send what it selects, or what goes over its link.
func (e *Engine) selectFor(a *association) error {
	switch {
	case a.Direction == ipsec.Inbound:
	case a.Link != nil:
		e.chooseLink(a.Link.Member)
	default:
		for _, p := range remotePrefixes(a.SA) {
			if err := e.network.plane.Select(p, a.loop); err != nil {
				return err
			}
		}
	}
	return nil
}

// deselect ends what selectFor began.
func (e *Engine) deselect(a *association) {
	switch {
	case a.Direction == ipsec.Inbound:
	case a.Link != nil:
		e.chooseLink(a.Link.Member)
	default:
		for _, p := range remotePrefixes(a.SA) {
			if err := e.network.plane.Deselect(p, a.loop); err != nil {
				e.log.Error("policy not removed", "error", err)
			}
		}
	}
}

// chooseLink makes the newest link to a member the one that carries.
func (e *Engine) chooseLink(m ipsec.MemberID) {
	var newest *association
	for _, a := range e.sas {
		if a.Link != nil && a.Link.Member == m && a.Direction == ipsec.Outbound && (newest == nil || a.serial > newest.serial) {
			newest = a
		}
	}
	if newest == nil {
		e.network.plane.SetLink(m, nil)
		return
	}
	e.network.plane.SetLink(m, newest.loop)
}

// remotePrefixes are the prefixes under which an SA is found, each once.
func remotePrefixes(sa ipsec.SA) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range sa.Selectors.Remote {
		for _, p := range s.Prefixes() {
			if !slices.Contains(ps, p) {
				ps = append(ps, p)
			}
		}
	}
	return ps
}

// join makes an SA part of its tunnel.
func (e *Engine) join(a *association) error {
	t := e.tunnels[a.Tunnel]
	if t == nil {
		made, err := loop.NewTunnel(a.Tunnel)
		if err != nil {
			return err
		}
		t = &tunnel{loop: made}
		e.tunnels[a.Tunnel] = t
	}
	if err := e.network.plane.Join(t.loop, a.loop); err != nil {
		return err
	}
	t.n++
	a.tunnel = t
	return nil
}

// leave takes an SA out of a tunnel. It returns the tunnel when it has ended: it is
// freed after a drain.
func (e *Engine) leave(id ipsec.TunnelID, a *association, t *tunnel) *tunnel {
	n, err := e.network.plane.Leave(t.loop, a.loop)
	if err != nil {
		e.log.Error("sa not taken out of its tunnel", "error", err)
	}
	if t.n--; t.n > 0 || n > 0 {
		return nil
	}
	delete(e.tunnels, id)
	return t
}

// remove hides an SA, which may have got no tunnel, from packets. It is forgotten
// after a drain.
func (e *Engine) remove(a *association) {
	delete(e.sas, a.ID)
	e.network.plane.Unlist(a.loop)
	e.deselect(a)
	if a.tunnel != nil {
		a.ended = e.leave(a.Tunnel, a, a.tunnel)
	}
	a.at.release()
}

// forget frees an SA that no packet can use any more, and its tunnel with the last
// one.
func (e *Engine) forget(a *association) {
	if a.ended != nil {
		a.ended.loop.Free()
	}
	if u := a.loop.Usage(); a.Direction == ipsec.Outbound && u.IVCounter != 0 {
		e.ledger.record(e.fingerprint(a.SA), u.IVCounter)
	}
	e.names.Lock()
	delete(e.serials, a.serial)
	e.names.Unlock()
	a.loop.Free()
}
