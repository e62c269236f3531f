package failover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// limit bounds each wait, which is for milliseconds or a few seconds.
const limit = 2 * time.Minute

// gaps of all rounds.
type gaps struct{ in, out, steadyIn, steadyOut []time.Duration }

// takeover makes a group, gives one member all tunnels, kills it, and sends one
// packet through each tunnel by way of a survivor; and then another.
func (r *Result) takeover(tb netlab.TB, o Options, all *gaps) error {
	ctx := tb.Context()
	site := rig.NewSite(netlab.New(tb), members)
	group, err := startGroup(ctx, site, rig.Settings{Daemon: o.Daemon, Plugin: o.Plugin, Sync: true})
	if err != nil {
		return err
	}
	if r.Conditions, err = rig.ConditionsOf(group[0]); err != nil {
		return err
	}
	site.Lead(0)
	tunnels, err := site.Clients().Dial(ctx, o.Tunnels, 4, 4)
	if err != nil {
		return err
	}
	survivor := group[1]
	if err := waitPhase1(ctx, survivor, func(up, standby int) bool { return standby == o.Tunnels }); err != nil {
		return err
	}

	killed := time.Now()
	group[0].Kill()
	for _, d := range group[1:] {
		if err := site.Wait(ctx, d, 0, limit, func(p rig.Peer) bool { return !p.Alive }); err != nil {
			return err
		}
	}
	noticed := time.Since(killed)
	site.Lead(1)
	stop, err := site.Echo(ctx)
	if err != nil {
		return err
	}
	defer stop()
	sender, err := site.NewSender(ctx)
	if err != nil {
		return err
	}
	defer sender.Close()
	send := func() error { return sender.Send(ctx, tunnels, o.Every) }
	first, err := pass(ctx, site.Members[1], tunnels, send)
	if err != nil {
		return err
	}
	if err := waitPhase1(ctx, survivor, func(up, _ int) bool { return up == o.Tunnels-first.lost }); err != nil {
		return err
	}
	second, err := pass(ctx, site.Members[1], tunnels, send)
	if err != nil {
		return err
	}
	all.in, all.out = append(all.in, first.in...), append(all.out, first.out...)
	all.steadyIn, all.steadyOut = append(all.steadyIn, second.in...), append(all.steadyOut, second.out...)
	r.Rounds = append(r.Rounds, Round{
		Noticed: noticed, Inbound: rig.SpreadOf(first.in), Outbound: rig.SpreadOf(first.out), Lost: first.lost,
	})
	return nil
}

func startGroup(ctx context.Context, site *rig.Site, s rig.Settings) ([]*gateway.Daemon, error) {
	var group []*gateway.Daemon
	for i := range site.Members {
		group = append(group, site.Start(i, s))
	}
	return group, site.WaitSynced(ctx, group...)
}

// waitPhase1 waits until a member has as many tunnels of its own and of others as
// it should.
func waitPhase1(ctx context.Context, d *gateway.Daemon, want func(up, standby int) bool) error {
	return netlab.Poll(ctx, limit, func() error {
		s, err := d.Status()
		if err == nil && !want(s.Phase1[0].Up, s.Phase1[0].Standby) {
			err = fmt.Errorf("failover: a member has %d tunnels of its own and stands by for %d", s.Phase1[0].Up, s.Phase1[0].Standby)
		}
		return err
	})
}

// passage is what became of one packet through each tunnel, and of its answer.
type passage struct {
	in, out []time.Duration
	lost    int
}

// pass has a packet sent through each tunnel by way of a member, and measures how
// long it and its answer spend there.
func pass(ctx context.Context, m *gateway.GroupMember, tunnels []rig.Dialed, send func() error) (p passage, err error) {
	outside, err := rig.NewTap(m.Port2)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, outside.Close()) }()
	inside, err := rig.NewTap(m.Port3)
	if err != nil {
		return p, err
	}
	defer func() { err = errors.Join(err, inside.Close()) }()
	if err := send(); err != nil {
		return p, err
	}
	// What has no answer by then is lost.
	_ = netlab.Poll(ctx, patience, func() error {
		if p = match(tunnels, outside.Seen(), inside.Seen()); p.lost > 0 {
			return fmt.Errorf("failover: %d packets have no answer", p.lost)
		}
		return nil
	})
	return p, ctx.Err()
}

// patience is how long the last answers may take.
const patience = 5 * time.Second

// match finds the first packet of each tunnel, and the first answer, as they come
// to a member and leave it.
func match(tunnels []rig.Dialed, outside, inside []rig.Seen) (p passage) {
	const esp, udp = 50, 17
	sealed, plain := make(map[ipsec.SPI]time.Time), make(map[key]time.Time)
	for _, s := range outside {
		if s.Proto() == esp {
			note(sealed, ipsec.SPI(binary.BigEndian.Uint32(s.Payload())), s.At)
		}
	}
	for _, s := range inside {
		if s.Proto() == udp {
			note(plain, key{s.Src().As4(), s.Dst().As4()}, s.At)
		}
	}
	for _, t := range tunnels {
		client, server := t.Out.Selectors.Local[0].Min.As4(), t.Out.Selectors.Remote[0].Min.As4()
		arrived, ok1 := sealed[t.Out.ID.SPI]
		forwarded, ok2 := plain[key{client, server}]
		answered, ok3 := plain[key{server, client}]
		returned, ok4 := sealed[t.In.ID.SPI]
		if !ok1 || !ok2 || !ok3 || !ok4 {
			p.lost++
			continue
		}
		p.in, p.out = append(p.in, forwarded.Sub(arrived)), append(p.out, returned.Sub(answered))
	}
	return p
}

// key tells inner packets apart.
type key struct{ src, dst [4]byte }

// note keeps the first time.
func note[K comparable](m map[K]time.Time, k K, at time.Time) {
	if old, ok := m[k]; !ok || at.Before(old) {
		m[k] = at
	}
}
