package engine

import (
	"fmt"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1"
)

// machine is a tunnel of either version of IKE, an ike.Tunnel or a v1.Tunnel. Only
// the shard steps it, by machines.step.
type machine interface {
	ID() ipsec.TunnelID
	Connection() *ike.Connection
	LocalSPIs() []ipsec.IKESPI
	Established() bool
	Installed()
	NextTimeout() time.Time
	Status(now time.Time) ike.Status
	Snapshot(now time.Time) []byte
	Pair(now time.Time, id ipsec.SAID) (in, out ipsec.SA, ok bool)
}

var (
	_ machine = (*ike.Tunnel)(nil)
	_ machine = (*v1.Tunnel)(nil)
)

// version is that of IKE: 1 or 2.
func version(m machine) int {
	if _, old := m.(*v1.Tunnel); old {
		return 1
	}
	return 2
}

// machines are the tunnels of a shard, those of each version behind a Demux of its
// own.
type machines struct {
	v1 *v1.Demux
	v2 *ike.Demux
}

// step gives an input to a tunnel. Those of version 1 may give work to others: see
// Shard.wake.
func (m *machines) step(now time.Time, t machine, in ike.Input) ike.Ready {
	switch t := t.(type) {
	case *v1.Tunnel:
		return m.v1.Step(now, t, in)
	case *ike.Tunnel:
		return m.v2.Step(now, t, in)
	default:
		panic(fmt.Sprintf("engine: a tunnel of type %T", t))
	}
}

// initiate makes a tunnel to the peer of a connection.
func (m *machines) initiate(now time.Time, c *ike.Connection) machine {
	if c.V1 != nil {
		return m.v1.Initiate(now, c)
	}
	return m.v2.Initiate(now, c)
}

// adopt puts a restored tunnel into the index.
func (m *machines) adopt(t machine) {
	switch t := t.(type) {
	case *v1.Tunnel:
		m.v1.Adopt(t)
	case *ike.Tunnel:
		m.v2.Adopt(t)
	}
}

// forget takes a tunnel out of the index.
func (m *machines) forget(t machine) {
	switch t := t.(type) {
	case *v1.Tunnel:
		m.v1.Forget(t)
	case *ike.Tunnel:
		m.v2.Forget(t)
	}
}

// restore makes a standby of a snapshot of a version.
func restore(version int, env ike.Env, p ike.Policy, snapshot []byte, now time.Time) (machine, error) {
	// Neither a nil *v1.Tunnel nor a nil *ike.Tunnel may become a machine.
	if version == 1 {
		t, err := v1.Restore(env, p, snapshot, now)
		if err != nil {
			return nil, err
		}
		return t, nil
	}
	t, err := ike.Restore(env, p, snapshot, now)
	if err != nil {
		return nil, err
	}
	return t, nil
}
