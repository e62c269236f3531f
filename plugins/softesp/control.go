package softesp

import (
	"context"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp/esp"
)

// Install adds SAs, or replaces those whose generation is older.
func (e *Engine) Install(_ context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	if err := offload.CheckRole(role); err != nil {
		return nil, fmt.Errorf("softesp: install: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("softesp: install: %w", err)
	}
	errs := make([]error, len(sas))
	var touched []*group
	for i, sa := range sas {
		if errs[i] = checkSA(sa); errs[i] == nil {
			touched = append(touched, e.groupsOf(sa)...)
		}
	}
	if err := e.enter(epoch, touched...); err != nil {
		return nil, fmt.Errorf("softesp: install: %w", err)
	}
	out := make([]offload.Placement, len(sas))
	quiet := false
	for i, sa := range sas {
		if errs[i] == nil {
			var stopped bool
			stopped, errs[i] = e.install(role, sa)
			quiet = quiet || stopped
		}
		out[i] = e.placement(sa.ID, errs[i])
	}
	e.outbound.commit()
	e.succeed(out)
	if quiet {
		e.drain()
	}
	return out, nil
}

// checkSA tells what is wrong with sa, or too much for this dataplane.
func checkSA(sa ipsec.SA) error {
	if err := offload.CheckSA(sa); err != nil {
		return err
	}
	return checkEncap(sa.Encap)
}

// checkEncap refuses UDP ports of ours that have no socket.
func checkEncap(c *ipsec.Encap) error {
	if c != nil && c.LocalPort != nattPort {
		return fmt.Errorf("%w: udp encapsulation from port %d, it is always %d", offload.ErrUnsupported, c.LocalPort, nattPort)
	}
	return nil
}

// groupsOf lists the groups that an installation touches: the one that the SA
// names, and the one in which an SA of the same name is now.
func (e *Engine) groupsOf(sa ipsec.SA) []*group {
	gs := []*group{e.groupOf(sa)}
	if old := e.sas[sa.ID]; old != nil {
		gs = append(gs, old.group.Load())
	}
	return gs
}

// groupOf is the group that an SA begins in.
func (e *Engine) groupOf(sa ipsec.SA) *group {
	if sa.Link != nil {
		return e.unowned
	}
	return e.groups[sa.Group]
}

// install adds or replaces one SA that makes sense. It tells whether an SA
// stopped sending.
func (e *Engine) install(role offload.Role, sa ipsec.SA) (stopped bool, err error) {
	old := e.sas[sa.ID]
	switch {
	case old != nil && old.Generation >= sa.Generation:
		return false, nil
	case old != nil && old.Direction != sa.Direction:
		return false, fmt.Errorf("%w: %v is installed for the other direction", offload.ErrInvalid, sa.ID)
	case old != nil && (old.Link == nil) != (sa.Link == nil):
		return false, fmt.Errorf("%w: %v is installed, and either it or the new one is of a link", offload.ErrInvalid, sa.ID)
	case old == nil && len(e.sas) >= maxSAs:
		return false, offload.ErrExhausted
	}
	if sa.Link != nil {
		role = offload.Active
	}
	a, err := e.newAssociation(role, sa, old)
	if err != nil {
		return false, err
	}
	e.publish(old, a)
	e.ask(a)
	if role == offload.Standby {
		a.tunnel.started.Store(false) // its start is news again
	}
	return old != nil && old.active() && !a.active(), nil
}

// newAssociation builds the packet path's form of sa, with the state of old if
// there is one.
func (e *Engine) newAssociation(role offload.Role, sa ipsec.SA, old *association) (*association, error) {
	a := &association{SA: sa, geometry: esp.GeometryOf(sa.Algorithms), tunnel: e.tunnelOf(sa.Tunnel)}
	if err := e.tryCipher(sa); err != nil {
		return nil, err
	}
	prefix, err := esp.NewIVPrefix(sa.Sender, e.config.Boot)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", offload.ErrInvalid, err)
	}
	a.iv = prefix
	a.group.Store(e.groupOf(sa))
	a.role.Store(uint32(role))
	a.lifetime.Store(&a.Lifetime) // not sa's, which would be kept whole for it
	a.path.Store(e.pathOf(a.tunnel, offload.Endpoint{Local: sa.Local, Remote: sa.Remote, Encap: sa.Encap}))
	a.shareSelectors()
	if old != nil {
		a.inherit(old)
		return a, nil
	}
	e.serial++
	a.serial = e.serial
	a.usage = new(usage)
	a.mtu = newPathMTU(sa.PathMTU)
	if sa.Direction == ipsec.Inbound {
		a.window = esp.NewWindow(sa.Window())
		a.window.Import(sa.Sequence)
		return a, nil
	}
	a.out = newSequencer(sa.Algorithms, sa.Sequence, e.ledger.start(e.fingerprint(sa)))
	return a, nil
}

// tryCipher tells whether ciphers can be made of the keys of sa, whose lengths are
// right: the first SA with its algorithms shows that. Those that do the work are
// made with the first packet, as most SAs of a member that stands by never see one.
func (e *Engine) tryCipher(sa ipsec.SA) error {
	if e.tried[sa.Algorithms] {
		return nil
	}
	if _, err := esp.New(sa.Algorithms, sa.Encryption, sa.Integrity); err != nil {
		return err
	}
	e.tried[sa.Algorithms] = true
	return nil
}

// inherit takes over the state of the older description of the SA. The replay
// window keeps its first size.
func (a *association) inherit(old *association) {
	a.serial, a.usage = old.serial, old.usage
	a.out, a.window, a.mtu = old.out, old.window, old.mtu
	a.relimit(old.lifetime.Load())
	if a.PathMTU != 0 {
		a.mtu.set(int(a.PathMTU))
	}
	a.advance(a.Sequence)
}

// publish puts a in the place of old everywhere; either may be nil.
func (e *Engine) publish(old, a *association) {
	at := a
	if at == nil {
		at = old
	}
	switch {
	case at.Direction == ipsec.Inbound:
		e.inbound.replace(old, a)
	case at.Link != nil:
		e.links.replace(old, a)
	case old == nil:
		e.outbound.stage(a) // Install commits
	default:
		e.outbound.replace(old, a)
	}
	if old != nil && (a == nil || old.tunnel != a.tunnel) {
		old.tunnel.replace(old, nil)
		if old.tunnel.empty() {
			delete(e.tunnels, old.tunnel.id)
		}
		if a != nil {
			a.tunnel.replace(nil, a)
		}
	} else {
		a.tunnel.replace(old, a)
	}
	if a != nil {
		e.tunnels[a.tunnel.id] = a.tunnel
	}
	e.names.Lock()
	defer e.names.Unlock()
	if a != nil {
		e.sas[a.ID] = a
	} else {
		delete(e.sas, old.ID)
	}
}

func (e *Engine) tunnelOf(id ipsec.TunnelID) *tunnel {
	if t := e.tunnels[id]; t != nil {
		return t
	}
	return &tunnel{id: id}
}

// pathOf is the path of an SA of t: mostly another one of t has it already.
func (e *Engine) pathOf(t *tunnel, end offload.Endpoint) *path {
	for _, a := range t.all() {
		if p := a.path.Load(); p.leads(end) {
			return p
		}
	}
	return newPath(end, e.slot(end.Local))
}

// shareSelectors takes those of another SA of the tunnel where they are equal, as those
// of a pair are. Nobody changes them.
func (a *association) shareSelectors() {
	for _, o := range a.tunnel.all() {
		if slices.Equal(o.Selectors.Local, a.Selectors.Local) && slices.Equal(o.Selectors.Remote, a.Selectors.Remote) {
			a.Selectors = o.Selectors
			return
		}
	}
}

// slot is the place of a local address in the socket sets; it is kept for good.
func (e *Engine) slot(a netip.Addr) int {
	n, known := e.slots[a]
	if !known {
		n = len(e.slots)
		e.slots[a] = n
	}
	return n
}

// fingerprint tells keys apart without keeping them. Two keys with the same one
// share a floor for their counters, which harms nothing.
func (e *Engine) fingerprint(sa ipsec.SA) uint64 {
	return maphash.Bytes(e.seed, sa.Encryption.Reveal())
}

// placement answers for one item of a call.
func (e *Engine) placement(id ipsec.SAID, err error) offload.Placement {
	if a := e.sas[id]; a != nil && err == nil {
		return a.placement()
	}
	return offload.Placement{ID: id, Err: err}
}

// placement reports where an SA is: never in an NPU. One id stands for all of
// its selectors.
func (a *association) placement() offload.Placement {
	return offload.Placement{
		ID: a.ID, WhyNot: offload.NoSuchNPU, Role: offload.Role(a.role.Load()),
		SelectorIDs: []offload.SelectorID{offload.SelectorID(a.serial)},
	}
}

// Delete removes SAs. It returns when no packet uses them any more, so the
// counters are final.
func (e *Engine) Delete(_ context.Context, epoch offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("softesp: delete: %w", err)
	}
	var gone []*association
	var gs []*group
	for _, id := range ids {
		if a := e.sas[id]; a != nil && !slices.Contains(gone, a) {
			gone = append(gone, a)
			gs = append(gs, a.group.Load())
		}
	}
	if err := e.enter(epoch, gs...); err != nil {
		return nil, fmt.Errorf("softesp: delete: %w", err)
	}
	for _, a := range gone {
		e.publish(a, nil)
	}
	e.drain()
	out := make([]offload.Counters, len(gone))
	for i, a := range gone {
		out[i] = e.countersOf(a)
		if a.out != nil && a.out.used() {
			e.ledger.record(e.fingerprint(a.SA), a.out.counter.Load())
		}
	}
	return out, nil
}
