package offloadtest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/offloadtest"
)

// broken is a plane in memory with a bug: a hook that is set stands in front of
// the call of the same name.
type broken struct {
	*mem.Engine
	options mem.Options

	configure      func(offload.Config) (offload.Info, error)
	info           func(offload.Info) offload.Info
	install        func(offload.Epoch, offload.Role, []ipsec.SA) ([]offload.Placement, error)
	update         func(offload.Epoch, []offload.Change) ([]offload.Placement, error)
	remove         func(offload.Epoch, []ipsec.SAID) ([]offload.Counters, error)
	arm            func(offload.Group, offload.Epoch) error
	promote        func(offload.Group, offload.Epoch) error
	demote         func(offload.Group, offload.Epoch) error
	export         func(offload.Group) iter.Seq2[offload.Counters, error]
	exported       func(*offload.Counters)
	stats          func([]offload.Stat) []offload.Stat
	event          func(offload.Event) []offload.Event
	eventsEnd      func(context.Context) error
	reset          func()
	send           func(ipsec.SA, int) []offloadtest.Sent
	sendOver       func(ipsec.SA, []ipsec.SA) ipsec.SA
	deliverOver    func(ipsec.SA, []ipsec.SA) ipsec.SA
	forwardsAlways bool
	forwardsNever  bool
}

func (b *broken) Configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	if b.configure != nil {
		return b.configure(c)
	}
	info, err := b.Engine.Configure(ctx, c)
	return b.seen(info), err
}

func (b *broken) Info(ctx context.Context) (offload.Info, error) {
	info, err := b.Engine.Info(ctx)
	return b.seen(info), err
}

func (b *broken) seen(info offload.Info) offload.Info {
	if b.info != nil {
		return b.info(info)
	}
	return info
}

func (b *broken) Install(ctx context.Context, e offload.Epoch, r offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	if b.install != nil {
		return b.install(e, r, sas)
	}
	return b.Engine.Install(ctx, e, r, sas...)
}

func (b *broken) Update(ctx context.Context, e offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	if b.update != nil {
		return b.update(e, changes)
	}
	return b.Engine.Update(ctx, e, changes...)
}

func (b *broken) Delete(ctx context.Context, e offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	if b.remove != nil {
		return b.remove(e, ids)
	}
	return b.Engine.Delete(ctx, e, ids...)
}

func (b *broken) Arm(ctx context.Context, g offload.Group, e offload.Epoch) error {
	if b.arm != nil {
		return b.arm(g, e)
	}
	return b.Engine.Arm(ctx, g, e)
}

func (b *broken) Promote(ctx context.Context, g offload.Group, e offload.Epoch) error {
	if b.promote != nil {
		return b.promote(g, e)
	}
	return b.Engine.Promote(ctx, g, e)
}

func (b *broken) Demote(ctx context.Context, g offload.Group, e offload.Epoch) error {
	if b.demote != nil {
		return b.demote(g, e)
	}
	return b.Engine.Demote(ctx, g, e)
}

func (b *broken) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	if b.export != nil {
		return b.export(g)
	}
	return func(yield func(offload.Counters, error) bool) {
		for c, err := range b.Engine.Export(ctx, g) {
			if b.exported != nil {
				b.exported(&c)
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

func (b *broken) Stats(ctx context.Context) ([]offload.Stat, error) {
	list, err := b.Engine.Stats(ctx)
	if b.stats != nil {
		list = b.stats(list)
	}
	return list, err
}

func (b *broken) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		for ev, err := range b.Engine.Events(ctx) {
			events := []offload.Event{ev}
			if b.event != nil && err == nil {
				events = b.event(ev)
			}
			for _, ev := range events {
				if !yield(ev, err) {
					return
				}
			}
		}
		if b.eventsEnd != nil {
			if err := b.eventsEnd(ctx); err != nil {
				yield(nil, err)
			}
		}
	}
}

func (b *broken) Send(ctx context.Context, sa ipsec.SA, n int) ([]offloadtest.Sent, error) {
	if b.send != nil {
		return b.send(sa, n), nil
	}
	return played{b.Engine}.Send(ctx, sa, n)
}

func (b *broken) Deliver(ctx context.Context, sa ipsec.SA, seqs ...uint64) (int, error) {
	n, err := played{b.Engine}.Deliver(ctx, sa, seqs...)
	switch {
	case b.forwardsAlways:
		return len(seqs), err
	case b.forwardsNever:
		return 0, err
	}
	return n, err
}

func (b *broken) SendHeld(ctx context.Context, sa ipsec.SA, n int, successor ipsec.SA, install func() error) ([]offloadtest.Sent, error) {
	return played{b.Engine}.SendHeld(ctx, sa, n, successor, install)
}

func (b *broken) Reset(ctx context.Context) error {
	if b.reset != nil {
		b.reset()
		return nil
	}
	return played{b.Engine}.Reset(ctx)
}

func (b *broken) Flood(ctx context.Context, n int) error { return played{b.Engine}.Flood(ctx, n) }

// TestEveryClauseFindsItsBug breaks each clause once: a suite that passes on a
// good plane proves nothing.
func TestEveryClauseFindsItsBug(t *testing.T) { // B8
	bugs := slices.Concat(controlBugs(), groupBugs(), trafficBugs(), linkBugs())
	found := make(map[string]bool)
	for _, bug := range bugs {
		clauses, err := offloadtest.Select(bug.clause)
		if err != nil || len(clauses) != 1 {
			t.Fatalf("There is no clause %q.", bug.clause)
		}
		found[bug.clause] = true
		t.Run(bug.clause, func(t *testing.T) {
			r := clauses[0].Check(t.Context(), func(context.Context) (*offloadtest.Harness, error) {
				b := &broken{}
				bug.seed(t.Context(), b)
				if b.Engine == nil {
					b.Engine = mem.New(b.options)
				}
				return &offloadtest.Harness{Engine: b, Traffic: b, Links: b, Holds: b, Faults: b, Close: b.Close}, nil
			})
			if r.Outcome != offloadtest.Failed {
				t.Errorf("A plane that %s should fail %s, but the clause %s: %q.", bug.what, bug.clause, r.Outcome, r.Notes)
			}
		})
	}
	for _, c := range offloadtest.Clauses() {
		if !found[c.ID] {
			t.Errorf("No broken plane shows that %s can fail.", c.ID)
		}
	}
}

// A bug is what a plane does wrong, and the clause that must find it.
type bug struct {
	clause, what string
	seed         func(context.Context, *broken)
}

func controlBugs() []bug {
	return []bug{
		{"configure.first", "works without being configured", func(ctx context.Context, b *broken) {
			b.Engine = mem.New(mem.Options{})
			_, _ = b.Engine.Configure(ctx, offload.Config{})
		}},
		{"configure.again", "promotes on Configure", func(ctx context.Context, b *broken) {
			b.configure = func(c offload.Config) (offload.Info, error) {
				info, err := b.Engine.Configure(ctx, c)
				_ = b.Engine.Promote(ctx, 4, 1<<60)
				return info, err
			}
		}},
		{"configure.settings", "ignores unknown settings", func(ctx context.Context, b *broken) {
			b.configure = func(c offload.Config) (offload.Info, error) {
				c.Settings = nil
				return b.Engine.Configure(ctx, c)
			}
		}},
		{"configure.boot", "takes any boot counter", func(ctx context.Context, b *broken) {
			b.configure = func(c offload.Config) (offload.Info, error) {
				c.Boot = 9
				return b.Engine.Configure(ctx, c)
			}
		}},
		{"info.stable", "counts its versions", func(_ context.Context, b *broken) {
			n := 0
			b.info = func(i offload.Info) offload.Info {
				n++
				i.Version = strconv.Itoa(n)
				return i
			}
		}},
		{"info.honest", "claims that an NPU which it lacks takes everything", func(_ context.Context, b *broken) {
			b.info = func(i offload.Info) offload.Info {
				i.Transforms[0].NPUInbound = true
				return i
			}
		}},
		{"stats.names", "names only what happened", func(_ context.Context, b *broken) {
			asked := false
			b.stats = func(list []offload.Stat) []offload.Stat {
				if asked {
					return list
				}
				asked = true
				return list[:1]
			}
		}},
		{"stats.counts", "counts since it was asked last", func(_ context.Context, b *broken) {
			left := uint64(10)
			b.stats = func(list []offload.Stat) []offload.Stat {
				left--
				list[0].Value = left
				return list
			}
		}},
		{"boot.fresh", "has always the same boot id", func(_ context.Context, b *broken) {
			b.info = func(i offload.Info) offload.Info {
				i.BootID = "1"
				return i
			}
		}},
		{"install.places", "answers in reverse order", reversesPlacements},
		{"install.idempotent", "replaces an SA by deleting it", deletesFirst},
		{"install.generation", "takes every generation for newer", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				for i := range sas {
					sas[i].Generation += 1000
					_, _ = b.Engine.Delete(ctx, e, sas[i].ID)
				}
				return b.Engine.Install(ctx, e, r, sas...)
			}
		}},
		{"install.merge", "replaces an SA by deleting it", deletesFirst},
		{"install.partial", "installs all or nothing", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				for _, sa := range sas {
					if err := offload.CheckSA(sa); err != nil {
						return nil, err
					}
				}
				return b.Engine.Install(ctx, e, r, sas...)
			}
		}},
		{"install.port", "takes one peer for the other", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				for i := range sas {
					sas[i].ID.Port = 0
				}
				return b.Engine.Install(ctx, e, r, sas...)
			}
		}},
		{"install.role", "takes no role for active", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, _ offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				return b.Engine.Install(ctx, e, offload.Active, sas...)
			}
		}},
		{"install.invalid", "hides what is wrong with an SA", hidesRefusals},
		{"install.unsupported", "hides what it cannot do", hidesRefusals},
		{"install.transforms", "lists 3DES and refuses it", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				placed, err := b.Engine.Install(ctx, e, r, sas...)
				for i := range placed {
					if sas[i].Algorithms.Encryption == ipsec.Encr3DES {
						placed[i].Err = offload.ErrUnsupported
					}
				}
				return placed, err
			}
		}},
		{"install.exhausted", "takes more SAs than it says", func(_ context.Context, b *broken) {
			b.info = func(i offload.Info) offload.Info {
				i.MaxSAs = 10
				return i
			}
		}},
		{"keys.hidden", "writes keys into errors", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				placed, err := b.Engine.Install(ctx, e, r, sas...)
				for i := range placed {
					placed[i].Err = fmt.Errorf("%w: key %x", offload.ErrInvalid, sas[i].Encryption.Reveal())
				}
				return placed, err
			}
		}},
		{"delete.counters", "answers in reverse order", func(ctx context.Context, b *broken) {
			b.remove = func(e offload.Epoch, ids []ipsec.SAID) ([]offload.Counters, error) {
				last, err := b.Engine.Delete(ctx, e, ids...)
				slices.Reverse(last)
				return last, err
			}
		}},
		{"delete.unknown", "fails to delete what is not there", missesUnknown},
		{"delete.idempotent", "fails to delete what is not there", missesUnknown},
		{"update.places", "answers in reverse order", func(ctx context.Context, b *broken) {
			b.update = func(e offload.Epoch, changes []offload.Change) ([]offload.Placement, error) {
				placed, err := b.Engine.Update(ctx, e, changes...)
				slices.Reverse(placed)
				return placed, err
			}
		}},
		{"update.fields", "ignores a new group", changesChanges(func(c *offload.Change) { c.Group = nil })},
		{"update.idempotent", "adds sequence numbers up", func(ctx context.Context, b *broken) {
			n := uint64(0)
			changesChanges(func(c *offload.Change) {
				n++
				c.Sequence = &ipsec.Sequence{Next: c.Sequence.Next + n}
			})(ctx, b)
		}},
		{"update.idempotent", "makes up another path MTU each time", func(_ context.Context, b *broken) {
			var made uint16
			b.exported = func(c *offload.Counters) {
				if made++; c.Direction == ipsec.Outbound {
					c.PathMTU = 1500 + made
				}
			}
		}},
		{"update.sequence", "shows the sequence state that it was given last", func(ctx context.Context, b *broken) {
			given := make(map[ipsec.SAID]ipsec.Sequence)
			changesChanges(func(c *offload.Change) { given[c.ID] = *c.Sequence })(ctx, b)
			b.exported = func(c *offload.Counters) { c.Sequence = given[c.ID] }
		}},
		{"update.endpoint", "loses an SA that moves", func(ctx context.Context, b *broken) {
			b.update = func(e offload.Epoch, changes []offload.Change) ([]offload.Placement, error) {
				placed, err := b.Engine.Update(ctx, e, changes...)
				_, _ = b.Engine.Delete(ctx, e, changes[0].ID)
				return placed, err
			}
		}},
		{"batch.large", "answers in reverse order", reversesPlacements},
		{"batch.empty", "refuses an empty batch", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				if len(sas) == 0 {
					return nil, offload.ErrInvalid
				}
				return b.Engine.Install(ctx, e, r, sas...)
			}
		}},
		{"concurrent.calls", "exports other groups too", exportsAll},
		{"export.complete", "has never been idle", func(_ context.Context, b *broken) {
			b.exported = func(c *offload.Counters) { c.Idle = 0 }
		}},
		{"export.groups", "exports other groups too", exportsAll},
		{"export.break", "goes on where an earlier export was broken off", func(ctx context.Context, b *broken) {
			done := 0
			b.export = func(g offload.Group) iter.Seq2[offload.Counters, error] {
				return func(yield func(offload.Counters, error) bool) {
					i := 0
					for c, err := range b.Engine.Export(ctx, g) {
						if i++; i <= done {
							continue
						}
						done++
						if !yield(c, err) {
							return
						}
					}
				}
			}
		}},
		{"events.end", "takes the end of a stream for an error", func(_ context.Context, b *broken) {
			b.eventsEnd = context.Context.Err
		}},
		{"events.single", "takes a newer stream for an error", func(_ context.Context, b *broken) {
			b.eventsEnd = func(context.Context) error { return offload.ErrDown }
		}},
		{"events.overrun", "has lost one event at most", func(_ context.Context, b *broken) {
			b.event = func(ev offload.Event) []offload.Event {
				if _, ok := ev.(offload.Overrun); ok {
					return []offload.Event{offload.Overrun{Lost: 1}}
				}
				return []offload.Event{ev}
			}
		}},
		{"reset.reports", "reports a reset with the old boot id", func(_ context.Context, b *broken) {
			b.event = func(ev offload.Event) []offload.Event {
				if _, ok := ev.(offload.Reset); ok {
					return []offload.Event{offload.Reset{BootID: "mem-0"}}
				}
				return []offload.Event{ev}
			}
		}},
		{"reset.configure", "goes on after a reset as if nothing had been", func(ctx context.Context, b *broken) {
			b.reset = func() {
				b.Engine.Reset()
				_, _ = b.Engine.Configure(ctx, offload.Config{Boot: 2})
			}
		}},
	}
}

func groupBugs() []bug {
	return []bug{
		{"epoch.stale", "ignores epochs", func(ctx context.Context, b *broken) {
			b.promote = func(g offload.Group, _ offload.Epoch) error { return b.Engine.Promote(ctx, g, 1<<60) }
		}},
		{"epoch.batch", "installs up to the first stale SA", func(ctx context.Context, b *broken) {
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				var all []offload.Placement
				for _, sa := range sas {
					placed, err := b.Engine.Install(ctx, e, r, sa)
					if err != nil {
						return nil, err
					}
					all = append(all, placed...)
				}
				return all, nil
			}
		}},
		{"epoch.equal", "takes the same epoch for stale", func(ctx context.Context, b *broken) {
			b.demote = func(g offload.Group, e offload.Epoch) error {
				return fmt.Errorf("%w: %d again", offload.ErrStaleEpoch, e)
			}
		}},
		{"epoch.groups", "has one epoch for all groups", func(ctx context.Context, b *broken) {
			var highest offload.Epoch
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				highest = max(highest, e)
				return b.Engine.Install(ctx, e, r, sas...)
			}
			b.promote = func(g offload.Group, e offload.Epoch) error {
				if e < highest {
					return offload.ErrStaleEpoch
				}
				return b.Engine.Promote(ctx, g, e)
			}
		}},
		{"group.promote", "promotes nobody", func(_ context.Context, b *broken) { b.promote = doesNothing }},
		{"group.demote", "demotes nobody", func(_ context.Context, b *broken) { b.demote = doesNothing }},
		{"group.idempotent", "cannot be promoted twice", func(ctx context.Context, b *broken) {
			promoted := false
			b.promote = func(g offload.Group, e offload.Epoch) error {
				if promoted {
					return offload.ErrInvalid
				}
				promoted = true
				return b.Engine.Promote(ctx, g, e)
			}
		}},
		{"group.range", "takes any group", func(_ context.Context, b *broken) { b.promote = doesNothing }},
		{"arm.waits", "promotes when it is armed", func(ctx context.Context, b *broken) {
			b.arm = func(g offload.Group, e offload.Epoch) error { return b.Engine.Promote(ctx, g, e) }
		}},
		{"arm.unsupported", "claims to be armed", func(_ context.Context, b *broken) {
			b.options.Adjust = func(i *offload.Info) { i.ReportsFirstPacket = false }
			b.arm = doesNothing
		}},
		{"arm.inbound", "is never armed", func(_ context.Context, b *broken) { b.arm = doesNothing }},
		{"arm.outbound", "is never armed", func(_ context.Context, b *broken) { b.arm = doesNothing }},
		{"arm.later", "is never armed", func(_ context.Context, b *broken) { b.arm = doesNothing }},
		{"demote.disarms", "stays armed", func(ctx context.Context, b *broken) {
			b.demote = func(g offload.Group, e offload.Epoch) error {
				_ = b.Engine.Demote(ctx, g, e)
				return b.Engine.Arm(ctx, g, e)
			}
		}},
		{"promote.disarms", "stays armed", func(ctx context.Context, b *broken) {
			b.promote = func(g offload.Group, e offload.Epoch) error {
				_ = b.Engine.Promote(ctx, g, e)
				return b.Engine.Arm(ctx, g, e)
			}
		}},
	}
}

func trafficBugs() []bug {
	return []bug{
		{"traffic.sequence", "skips every other number", changesSent(func(s *offloadtest.Sent) { s.Seq *= 2 })},
		{"traffic.extended", "forgets the high half", changesSent(func(s *offloadtest.Sent) { s.Seq &= 1<<32 - 1 })},
		{"traffic.counters", "counts no packets", func(_ context.Context, b *broken) {
			b.exported = func(c *offload.Counters) { c.Packets = 0 }
		}},
		{"ceiling.stops", "ignores ceilings", changesSAs(func(sa *ipsec.SA) { sa.Sequence.Ceiling = 0 })},
		{"ceiling.cycle", "cycles", sendsAll},
		{"ceiling.low", "asks for no lease before it is out", func(_ context.Context, b *broken) {
			b.event = func(ev offload.Event) []offload.Event {
				if l, ok := ev.(offload.LeaseLow); ok && !l.Exhausted {
					return nil
				}
				return []offload.Event{ev}
			}
		}},
		{"ceiling.raise", "ignores a raised ceiling", changesChanges(func(c *offload.Change) { c.Sequence = nil })},
		{"hold.sends", "drops what it says it keeps", func(_ context.Context, b *broken) {
			b.options.Adjust = func(i *offload.Info) { i.HoldsPackets = false }
			b.info = func(i offload.Info) offload.Info {
				i.HoldsPackets = true
				return i
			}
		}},
		{"replay.once", "forwards what it has seen", func(_ context.Context, b *broken) { b.forwardsAlways = true }},
		{"replay.window", "forwards what is too old", func(_ context.Context, b *broken) { b.forwardsAlways = true }},
		{"replay.import", "exports an empty window", func(_ context.Context, b *broken) {
			b.exported = func(c *offload.Counters) { c.Sequence = ipsec.Sequence{} }
		}},
		{"lifetime.soft", "reports a limit twice", func(_ context.Context, b *broken) {
			b.event = func(ev offload.Event) []offload.Event {
				if _, ok := ev.(offload.Expired); ok {
					return []offload.Event{ev, ev}
				}
				return []offload.Event{ev}
			}
		}},
		{"lifetime.hard", "ignores hard limits", changesSAs(func(sa *ipsec.SA) { sa.Lifetime.Hard = ipsec.Limits{} })},
		{"iv.unique", "starts its IVs again with every installation", func(ctx context.Context, b *broken) {
			n := uint64(0)
			b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
				n = 0
				return b.Engine.Install(ctx, e, r, sas...)
			}
			changesSent(func(s *offloadtest.Sent) {
				n++
				s.IV = binary.BigEndian.AppendUint64(nil, n)
			})(ctx, b)
		}},
		{"iv.boot", "leaves the boot out of its IVs", changesSent(func(s *offloadtest.Sent) {
			s.IV[0], s.IV[1], s.IV[2], s.IV[3] = s.IV[0]&0xf0, 0, 0, s.IV[3]&0x0f
		})},
		{"iv.sender", "leaves the sender out of its IVs", changesSent(func(s *offloadtest.Sent) {
			s.IV = binary.BigEndian.AppendUint64(nil, s.Seq)
		})},
		{"standby.accepts", "drops what arrives at a standby", func(_ context.Context, b *broken) { b.forwardsNever = true }},
		{"standby.silent", "sends as a standby", sendsAll},
		{"standby.reports", "reports every first packet twice", func(_ context.Context, b *broken) {
			b.event = func(ev offload.Event) []offload.Event {
				if _, ok := ev.(offload.FirstPacket); ok {
					return []offload.Event{ev, ev}
				}
				return []offload.Event{ev}
			}
		}},
		{"demote.silent", "empties its queue after Demote", sendsAll},
		{"promote.above", "forgets where to start", changesChanges(func(c *offload.Change) { c.Sequence = nil })},
	}
}

func doesNothing(offload.Group, offload.Epoch) error { return nil }

func reversesPlacements(ctx context.Context, b *broken) {
	b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
		placed, err := b.Engine.Install(ctx, e, r, sas...)
		slices.Reverse(placed)
		return placed, err
	}
}

func deletesFirst(ctx context.Context, b *broken) {
	b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
		for _, sa := range sas {
			_, _ = b.Engine.Delete(ctx, e, sa.ID)
		}
		return b.Engine.Install(ctx, e, r, sas...)
	}
}

func hidesRefusals(ctx context.Context, b *broken) {
	b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
		placed, err := b.Engine.Install(ctx, e, r, sas...)
		for i := range placed {
			placed[i].Err = nil
		}
		return placed, err
	}
}

func missesUnknown(ctx context.Context, b *broken) {
	b.remove = func(e offload.Epoch, ids []ipsec.SAID) ([]offload.Counters, error) {
		last, err := b.Engine.Delete(ctx, e, ids...)
		if len(last) < len(ids) {
			return last, offload.ErrNotFound
		}
		return last, err
	}
}

func exportsAll(ctx context.Context, b *broken) {
	b.export = func(offload.Group) iter.Seq2[offload.Counters, error] { return b.Engine.Export(ctx, offload.AllGroups) }
}

func sendsAll(_ context.Context, b *broken) {
	b.send = func(sa ipsec.SA, n int) []offloadtest.Sent {
		sent := make([]offloadtest.Sent, n)
		for i := range sent {
			packet, _ := b.Outbound(sa.ID)
			sent[i].Seq = packet.Seq
		}
		return sent
	}
}

func changesSent(change func(*offloadtest.Sent)) func(context.Context, *broken) {
	return func(ctx context.Context, b *broken) {
		b.send = func(sa ipsec.SA, n int) []offloadtest.Sent {
			sent, _ := played{b.Engine}.Send(ctx, sa, n)
			for i := range sent {
				change(&sent[i])
			}
			return sent
		}
	}
}

func changesSAs(change func(*ipsec.SA)) func(context.Context, *broken) {
	return func(ctx context.Context, b *broken) {
		b.install = func(e offload.Epoch, r offload.Role, sas []ipsec.SA) ([]offload.Placement, error) {
			for i := range sas {
				change(&sas[i])
			}
			return b.Engine.Install(ctx, e, r, sas...)
		}
	}
}

func changesChanges(change func(*offload.Change)) func(context.Context, *broken) {
	return func(ctx context.Context, b *broken) {
		b.update = func(e offload.Epoch, changes []offload.Change) ([]offload.Placement, error) {
			for i := range changes {
				change(&changes[i])
			}
			return b.Engine.Update(ctx, e, changes...)
		}
	}
}

// TestEventsOfTheHostAreNoFault: a kernel sends packets of its own through a new
// interface, and each may be an Acquire while a clause waits for something else.
func TestEventsOfTheHostAreNoFault(t *testing.T) {
	clauses, err := offloadtest.Select("events.single")
	if err != nil {
		t.Fatal(err)
	}
	r := clauses[0].Check(t.Context(), func(ctx context.Context) (*offloadtest.Harness, error) {
		b := &broken{Engine: mem.New(mem.Options{})}
		return &offloadtest.Harness{Engine: b, Close: b.Close}, b.Flood(ctx, 3)
	})
	if r.Outcome != offloadtest.Passed {
		t.Errorf("A plane with three events that nobody caused should pass events.single, but the clause %s: %q.", r.Outcome, r.Notes)
	}
}
