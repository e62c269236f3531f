package scale

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/ha/transport"
	"github.com/evergate/evergate/offload"
)

// The members by their index.
const (
	owner = iota
	standby
	members
)

// limit bounds each wait.
const limit = 5 * time.Minute

// patience is for how many heartbeats a member is not taken for dead: 1 s. Members that
// lost sight of each other would end a round on a machine that has other things to do:
// what may have been sent on is not given to a member that stood by any more.
const patience = 20

// bench is one run.
type bench struct {
	*Result
	o        Options
	site     *rig.Site
	settings rig.Settings
	group    [members]*gateway.Daemon
}

func (r *Result) measure(tb netlab.TB, o Options) error {
	ctx := tb.Context()
	b := &bench{Result: r, o: o, site: rig.NewSite(netlab.New(tb), members), settings: rig.Settings{Daemon: o.Daemon, Plugin: o.Plugin, Sync: true, Lost: patience}}
	for i, m := range []*Member{&r.Owner, &r.Standby} {
		b.group[i] = b.site.Start(i, b.settings)
		if err := m.read(b.group[i], func(p *Process, u rig.Usage) { p.Bare, p.Start = u.Resident, u.CPU }); err != nil {
			return err
		}
	}
	b.group[standby].Kill()
	var err error
	if r.Conditions, err = rig.ConditionsOf(b.group[owner]); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{b.dial, b.joins, b.memory, b.idle, b.adoption} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// dial gives the owner its tunnels.
func (b *bench) dial(ctx context.Context) error {
	b.o.Logf("%d clients dial in", b.o.Tunnels)
	b.site.Lead(owner)
	began := time.Now()
	_, err := b.site.Clients().Dial(ctx, b.o.Tunnels, 4, 8)
	b.Dialed = time.Since(began)
	return err
}

// joins starts the standby again and again; it runs afterwards.
func (b *bench) joins(ctx context.Context) error {
	var synced, whole []time.Duration
	for round := range b.o.Rounds {
		if round > 0 {
			b.group[standby].Kill()
		}
		// What the owner knows of the life before is not taken for what is measured.
		if err := b.wait(ctx, func(p rig.Peer) bool { return !p.Alive }); err != nil {
			return err
		}
		b.o.Logf("join %d of %d", round+1, b.o.Rounds)
		j, err := b.join(ctx)
		if err != nil {
			return err
		}
		b.Joins = append(b.Joins, j)
		synced, whole = append(synced, j.Synced), append(whole, j.Started+j.Synced)
	}
	b.Join, b.Sync = median(whole), median(synced)
	b.Rate = rate(b.Tunnels, b.Sync)
	return nil
}

// median sorts all.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// join starts the standby once. The owner is watched while it starts.
func (b *bench) join(ctx context.Context) (j Join, err error) {
	if err := b.Owner.read(b.group[owner], func(p *Process, u rig.Usage) {
		if p == &b.Owner.Daemon {
			j.Owner = -u.CPU
		}
	}); err != nil {
		return j, err
	}
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		if err := b.wait(ctx, func(p rig.Peer) bool { return p.Alive }); err != nil {
			done <- err
			return
		}
		j.Started = time.Since(began)
		err := b.wait(ctx, func(p rig.Peer) bool { return p.Synced })
		j.Synced = time.Since(began) - j.Started
		done <- err
	}()
	b.group[standby].Restart()
	if err := <-done; err != nil {
		return j, err
	}
	err = b.Standby.read(b.group[standby], func(p *Process, u rig.Usage) {
		if p == &b.Standby.Daemon {
			j.Daemon = u.CPU - p.Start
		} else {
			j.Plane = u.CPU - p.Start
		}
	})
	if err != nil {
		return j, err
	}
	err = b.Owner.read(b.group[owner], func(p *Process, u rig.Usage) {
		if p == &b.Owner.Daemon {
			j.Owner += u.CPU
		}
	})
	if err != nil {
		return j, err
	}
	return j, b.holdsAll(ctx)
}

// holdsAll asks the standby's dataplane itself: one that had lost some, or had them in
// one direction only, would have been quick for nothing.
func (b *bench) holdsAll(ctx context.Context) error {
	held, err := b.group[standby].DataplaneSAs(ctx)
	if err != nil {
		return fmt.Errorf("scale: count the SAs of the standby's dataplane: %w", err)
	}
	want := diag.Held{Group: b.site.Members[owner].ID, Role: offload.Standby.String(), In: b.Tunnels, Out: b.Tunnels}
	if len(held) != 1 || held[0] != want {
		return fmt.Errorf("scale: the standby's dataplane holds %+v, want %+v", held, want)
	}
	return nil
}

// wait polls the owner about the standby.
func (b *bench) wait(ctx context.Context, want func(rig.Peer) bool) error {
	return b.site.Wait(ctx, b.group[owner], standby, limit, want)
}

// memory reads what the processes have by now.
func (b *bench) memory(ctx context.Context) error {
	if err := rig.Rest(ctx, b.o.Settle); err != nil {
		return err
	}
	for i, m := range []*Member{&b.Owner, &b.Standby} {
		err := m.read(b.group[i], func(p *Process, u rig.Usage) {
			p.Resident, p.Peak = u.Resident, u.Peak
			p.PerTunnel = float64(p.Resident-p.Bare) / float64(b.Tunnels)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// idle watches both members while nothing happens.
func (b *bench) idle(ctx context.Context) error {
	b.o.Logf("nothing happens for %v", b.o.Idle)
	tap, err := rig.NewTap(b.site.Members[owner].Port4)
	if err != nil {
		return err
	}
	defer tap.Close()
	account := func(sign float64) error {
		for i, m := range []*Member{&b.Owner, &b.Standby} {
			err := m.read(b.group[i], func(p *Process, u rig.Usage) { p.Idle += sign * u.CPU.Seconds() / b.o.Idle.Seconds() })
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := account(-1); err != nil {
		return err
	}
	if err := rig.Rest(ctx, b.o.Idle); err != nil {
		return err
	}
	if err := account(1); err != nil {
		return err
	}
	seen := tap.Seen()
	b.Owner.Silence, b.Standby.Silence = b.silence(seen, owner), b.silence(seen, standby)
	return tap.Close()
}

// silence is the longest time between two heartbeats of a member.
func (b *bench) silence(seen []rig.Seen, member int) (longest time.Duration) {
	const udp = 17
	from := netip.MustParseAddr(b.site.Members[member].SyncAddr())
	var last time.Time
	for _, s := range seen {
		if s.Proto() != udp || s.Src() != from || binary.BigEndian.Uint16(s.Payload()) != transport.DefaultPort {
			continue
		}
		if !last.IsZero() {
			longest = max(longest, s.At.Sub(last))
		}
		last = s.At
	}
	return longest
}

// adoption ends the owner. The other member is asked with patience: it is busy.
func (b *bench) adoption(ctx context.Context) error {
	b.o.Logf("the owner dies")
	survivor := admin.Dial(b.group[standby].Socket())
	began := time.Now()
	b.group[owner].Kill()
	err := netlab.Poll(ctx, limit, func() error {
		stats, err := survivor.IKEStats(ctx)
		if err != nil {
			return err
		}
		for _, c := range stats {
			if c.Name == "ha.takeovers" && c.Value >= uint64(b.Tunnels) {
				return nil
			}
		}
		return fmt.Errorf("scale: not all of %d tunnels were adopted", b.Tunnels)
	})
	b.Adopted = time.Since(began)
	return err
}

// read looks at both processes of a member.
func (m *Member) read(d *gateway.Daemon, note func(*Process, rig.Usage)) error {
	daemon, plane, err := rig.Processes(d)
	if err != nil {
		return err
	}
	for pid, p := range map[int]*Process{daemon: &m.Daemon, plane: &m.Plane} {
		u, err := rig.UsageOf(pid)
		if err != nil {
			return err
		}
		note(p, u)
	}
	return nil
}
