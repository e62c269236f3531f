package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// ErrNoSuchTunnel answers for a name that no tunnel and no connection has.
var ErrNoSuchTunnel = errors.New("engine: no such tunnel")

// Tunnels describes all tunnels, in order of their serial numbers; those whose
// IKE SA is not up yet come first. The counters are fresh where the dataplane
// answers in time.
func (e *Engine) Tunnels(ctx context.Context) ([]TunnelStatus, error) {
	fresh, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := e.checkpoint(fresh, offload.AllGroups); err != nil {
		e.o.Log.Debug("dataplane counters were not read", "error", err)
	}
	var out []TunnelStatus
	err := e.all(ctx, nil, func(s *Shard, _ Ready) { out = append(out, s.Tunnels(time.Now())...) })
	if err == nil && e.replica != nil {
		err = e.lookReplica(ctx, func(r *Replica) {
			kept := make(map[string]bool)
			for i := range out {
				phase1 := out[i].Phase1
				if _, asked := kept[phase1]; !asked {
					kept[phase1] = r.Kept(phase1)
				}
				out[i].Synced = kept[phase1] && out[i].Sync && out[i].Name != ""
			}
			out = append(out, r.Tunnels(time.Now())...)
		})
	}
	slices.SortFunc(out, func(a, b TunnelStatus) int {
		return cmp.Or(cmp.Compare(a.Serial, b.Serial), cmp.Compare(a.ID, b.ID))
	})
	return out, err
}

// Stats adds up the counters of all shards.
func (e *Engine) Stats(ctx context.Context) (Stats, error) {
	var sum Stats
	err := e.all(ctx, nil, func(s *Shard, _ Ready) { sum.Add(s.Stats()) })
	for _, r := range e.shards {
		sum.InboxFull += r.inboxFull.Load()
	}
	return sum, err
}

// Group describes the group, nil members when this gateway stands alone.
func (e *Engine) Group(ctx context.Context) (role ha.Role, members []ha.PeerStatus, stats ReplicaStats, err error) {
	if e.replica == nil {
		return ha.Syncing, nil, ReplicaStats{}, nil
	}
	err = e.lookReplica(ctx, func(r *Replica) { role, members, stats = r.Role(), r.Members(), r.Stats() })
	return role, members, stats, err
}

// Unit describes the unit that this member is part of; false outside of one.
func (e *Engine) Unit(ctx context.Context) (status ha.UnitStatus, ok bool, err error) {
	if e.replica == nil {
		return ha.UnitStatus{}, false, nil
	}
	err = e.lookReplica(ctx, func(r *Replica) { status, ok = r.node.UnitStatus(time.Now()) })
	return status, ok, err
}

// Monitored says how many of the interfaces that are watched cannot carry packets.
// It does nothing outside of a unit.
func (e *Engine) Monitored(failed int) {
	if e.replica != nil {
		e.replica.in.push(replicaMessage{in: Node{ha.Monitored{Failed: uint8(min(failed, 255))}}})
	}
}

// Yield makes this member step back behind the others of its unit, or takes that
// back.
func (e *Engine) Yield(ctx context.Context, on bool) error {
	if e.replica == nil || !e.replica.unit {
		return errors.New("engine: this gateway is in no unit")
	}
	return e.say(ctx, ha.Yield{On: on})
}

// Traffic adds up the traffic of all shards by connection.
func (e *Engine) Traffic(ctx context.Context) (map[string]Traffic, error) {
	sum := make(map[string]Traffic)
	err := e.all(ctx, nil, func(s *Shard, _ Ready) {
		for name, t := range s.Traffic() {
			all := sum[name]
			all.add(ipsec.Inbound, t.PacketsIn, t.BytesIn, t.Drops)
			all.add(ipsec.Outbound, t.PacketsOut, t.BytesOut, offload.Drops{})
			sum[name] = all
		}
	})
	return sum, err
}

// Up initiates a connection.
func (e *Engine) Up(ctx context.Context, name string) error {
	c := e.Policy().Connection(name)
	switch {
	case c == nil:
		return fmt.Errorf("%w: no phase1 is named %q", ErrNoSuchTunnel, name)
	case c.Dialup:
		return fmt.Errorf("engine: %q is a dialup server: its clients initiate", name)
	case c.Passive:
		return fmt.Errorf("engine: %q is passive: its peer initiates", name)
	}
	matched := 0
	err := e.all(ctx, Up{Name: name}, func(_ *Shard, rd Ready) { matched += rd.Matched })
	if err == nil && matched == 0 {
		return errors.New("engine: this member of the unit is not its primary, who alone calls peers")
	}
	return err
}

// Down closes a tunnel, or all tunnels of a connection, by name.
func (e *Engine) Down(ctx context.Context, name string) error {
	return e.matched(ctx, name, Down{Name: name})
}

// matched gives an input to all shards; one of them must have what it names.
func (e *Engine) matched(ctx context.Context, name string, in Input) error {
	n := 0
	err := e.all(ctx, in, func(_ *Shard, rd Ready) { n += rd.Matched })
	if err == nil && n == 0 {
		return fmt.Errorf("%w: nothing named %q is up", ErrNoSuchTunnel, name)
	}
	return err
}

// Rekey makes new keys for a tunnel, or for all tunnels of a connection: for the
// IKE SA, or for all children. It does not wait for the exchange.
func (e *Engine) Rekey(ctx context.Context, name string, ike bool) error {
	return e.matched(ctx, name, Rekey{Name: name, IKE: ike})
}

// Policy is the set of connections in use.
func (e *Engine) Policy() *Policy {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.policy
}

// Reload puts another set of connections in place. Tunnels of connections that
// did not change stay.
func (e *Engine) Reload(ctx context.Context, p *Policy) error {
	e.mu.Lock()
	e.policy = p
	e.mu.Unlock()
	if e.replica != nil {
		e.replica.in.push(replicaMessage{in: Reconfigured{Policy: p}})
	}
	return e.all(ctx, Reload{Policy: p}, nil)
}

// Drain ends all tunnels. Those that other members hold are given up to them;
// the peers of the others are told, and Drain waits until they have confirmed, or
// ctx ends.
func (e *Engine) Drain(ctx context.Context) error {
	kept := false
	if e.replica != nil {
		var err error
		if kept, err = e.leave(ctx); err != nil {
			return err
		}
	}
	return e.drain(ctx, kept)
}

// Flush ends all tunnels and tells their peers, also those that other members hold:
// they lose them too (C11).
func (e *Engine) Flush(ctx context.Context) error { return e.drain(ctx, false) }

func (e *Engine) drain(ctx context.Context, kept bool) error {
	if err := e.all(ctx, Drain{Keep: kept}, nil); err != nil {
		return err
	}
	for {
		left := 0
		if err := e.all(ctx, nil, func(s *Shard, _ Ready) { left += len(s.tunnels) }); err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("engine: %d tunnels were not confirmed closed: %w", left, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
