package offloadtest

import (
	"fmt"
	"slices"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func sequenceClauses() []Clause {
	return []Clause{
		{"traffic.sequence", "An active SA sends Next first, then every number once.", traffic, trafficSequence},
		{"traffic.extended", "With ESN numbers go on after 2^32-1, in both directions.", traffic, trafficExtended},
		{"traffic.counters", "Packets, octets and idle time are counted in both directions.", traffic, trafficCounters},
		{"ceiling.stops", "Nothing is sent beyond the ceiling.", traffic, ceilingStops},
		{"ceiling.cycle", "Without ESN nothing is sent after 2^32-1.", traffic, ceilingCycle},
		{"ceiling.low", "LeaseLow is sent once below half of the lease, and once more when a packet found no number.", traffic, ceilingLow},
		{"ceiling.raise", "A raised ceiling is a new lease.", traffic, ceilingRaise},
		{"hold.sends", "What an SA without numbers keeps leaves by its successor, in order.", 0, holdSends},
		{"replay.once", "A sequence number is accepted once.", traffic, replayOnce},
		{"replay.window", "A number left of the window is dropped, one within it is accepted.", traffic, replayWindow},
		{"replay.import", "What Export marked as received is not accepted where it is imported.", traffic, replayImport},
		{"lifetime.soft", "A soft limit is reported once, and the SA goes on.", traffic, lifetimeSoft},
		{"lifetime.hard", "A hard limit is reported once, and the SA carries nothing more.", traffic, lifetimeHard},
		{"iv.unique", "An SA that is deleted and installed again repeats no IV.", traffic, ivUnique},
		{"iv.boot", "A dataplane that starts again, with a higher boot counter, repeats no IV.", traffic, ivBoot},
		{"iv.sender", "The top four bits of an IV are the sending member.", traffic, ivSender},
	}
}

// wantNumbers notes when other sequence numbers left, and tells whether all is
// well.
func (p *probe) wantNumbers(when string, sent []Sent, want []uint64) bool {
	got := numbers(sent)
	if !slices.Equal(got, want) {
		p.errorf("%s, the numbers %v should have left, got %v.", when, want, got)
		return false
	}
	return true
}

func trafficSequence(p *probe) {
	p.configured()
	fresh, later := p.outbound(1), p.outbound(2)
	later.Sequence.Next = 5000
	p.install(epoch(1), offload.Active, fresh, later)
	p.wantNumbers("On a fresh SA", p.send(fresh, 5), counting(1, 5))
	p.wantNumbers("With next 5000", p.send(later, 5), counting(5000, 5))
	p.wantNumbers("After five packets", p.send(fresh, 5), counting(6, 5))
	if got := p.exported(fresh.ID).Sequence.Next; got != 11 {
		p.errorf("After ten packets Export should name 11 as next, got %d.", got)
	}
}

func trafficExtended(p *probe) {
	info := p.configured()
	a, ok := extended(info, p.algorithms())
	if !ok {
		p.notExercised("the dataplane has no extended sequence numbers")
	}
	const first = 1<<32 - 3 // of six: three before the low half wraps, three after
	out, in := p.makeSA(a, ipsec.Outbound, 1, groupA), p.makeSA(a, ipsec.Inbound, 2, groupA)
	out.Sequence.Next, in.Sequence.Highest = first, first-1
	p.install(epoch(1), offload.Active, out, in)
	p.wantNumbers("Three before 2^32", p.send(out, 6), counting(first, 6))
	if got := p.exported(out.ID).Sequence.Next; got != first+6 {
		p.errorf("After them Export should name %d as next, got %d.", uint64(first+6), got)
	}
	for _, d := range []struct {
		what string
		seqs []uint64
		want int
	}{
		{"Six packets on both sides of 2^32", counting(first, 6), 6},
		{"The same again", counting(first, 6), 0},
		{"The number 2, whose low half is that of 2^32+2", []uint64{2}, 0},
		{"The next one", []uint64{first + 6}, 1},
	} {
		if got := p.deliver(in, d.seqs...); got != d.want {
			p.errorf("%s came: %d should have been accepted, %d were.", d.what, d.want, got)
		}
	}
	if got := p.exported(in.ID).Sequence.Highest; got != first+6 {
		p.errorf("Export should name %d as the highest, got %d.", uint64(first+6), got)
	}
}

// extended returns a with ESN, or else the first algorithms with ESN that the
// plane names.
func extended(info offload.Info, a ipsec.Algorithms) (ipsec.Algorithms, bool) {
	a.ESN = true
	if info.Supports(a) {
		return a, true
	}
	for _, c := range info.Transforms {
		if c.Algorithms.ESN {
			return c.Algorithms, true
		}
	}
	return a, false
}

func trafficCounters(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Active, in, out)
	p.send(out, 7)
	p.deliver(in, counting(1, 4)...)
	for _, c := range []struct {
		id   ipsec.SAID
		want uint64
	}{{out.ID, 7}, {in.ID, 4}} {
		got := p.exported(c.id)
		if got.Packets != c.want || got.Bytes < c.want || got.Idle < 0 {
			p.errorf("%d packets went by %v, but it counts %d packets, %d octets, idle %v.", c.want, c.id, got.Packets, got.Bytes, got.Idle)
		}
	}
}

// enforced ends the clause where the plane does not stop by itself, and returns
// by how much it may run over.
func (p *probe) enforced(info offload.Info) int {
	switch {
	case !info.EnforcesCeiling:
		p.notExercised("the dataplane does not stop at ceilings by itself")
	case info.CeilingMargin > 1<<16:
		p.notExercised("the dataplane may run further over a ceiling than the suite can send")
	}
	return int(info.CeilingMargin)
}

func ceilingStops(p *probe) {
	margin := p.enforced(p.configured())
	out := p.outbound(1)
	out.Sequence = ipsec.Sequence{Next: 101, Ceiling: 110}
	p.install(epoch(1), offload.Active, out)
	sent := numbers(p.send(out, 15+margin))
	if len(sent) < 10 || len(sent) > 10+margin || !slices.Equal(sent, counting(101, len(sent))) {
		p.errorf("With next 101 and ceiling 110, the numbers 101 to 110 and at most %d more should have left, got %v.", margin, sent)
	}
	c := p.exported(out.ID)
	if c.Drops.Ceiling == 0 {
		p.errorf("Packets beyond the ceiling were dropped, but not counted: %+v.", c.Drops)
	}
}

func ceilingCycle(p *probe) {
	p.configured()
	out, spent := p.outbound(1), p.outbound(2)
	out.Sequence.Next = 1<<32 - 3
	spent.Sequence.Next = 1 << 32 // as after a failover of an IKEv1 SA: the first packet finds nothing
	p.install(epoch(1), offload.Active, out, spent)
	p.wantNumbers("Three before the end of 32 bits", p.send(out, 6), counting(1<<32-3, 3))
	p.wantNumbers("With next 2^32", p.send(spent, 3), nil)
}

func ceilingLow(p *probe) {
	margin := p.enforced(p.configured())
	if margin > 0 {
		p.notExercised("the dataplane only approximates ceilings")
	}
	s := p.watch()
	out := p.outbound(1)
	out.Sequence = ipsec.Sequence{Next: 1, Ceiling: 100}
	p.install(epoch(1), offload.Active, out)
	p.send(out, 40)
	p.send(out, 30)
	p.send(out, 40)
	var low, none int
	for _, ev := range eventsOf(out, p.barrier(s, 1)) {
		l, ok := ev.(offload.LeaseLow)
		switch {
		case !ok:
			p.errorf("An active SA that sends caused %+v.", ev)
		case l.Exhausted:
			none++
		case l.Next < 51 || l.Next > 101:
			p.errorf("With more than half of a lease of 100 numbers left, LeaseLow came: %+v.", l)
		default:
			low++
		}
	}
	if low != 1 || none != 1 {
		p.errorf("A lease that was used up and ten packets more should cause one LeaseLow and one with Exhausted, got %d and %d.", low, none)
	}
}

func ceilingRaise(p *probe) {
	margin := p.enforced(p.configured())
	out := p.outbound(1)
	out.Sequence = ipsec.Sequence{Next: 1, Ceiling: 10}
	p.install(epoch(1), offload.Active, out)
	s := p.watch()
	p.send(out, 12+margin)
	p.until(s, "a LeaseLow with Exhausted", exhausted(out))
	ceiling := uint64(100 + margin)
	p.update(epoch(1), offload.Change{ID: out.ID, Sequence: &ipsec.Sequence{Ceiling: ceiling}})
	next := p.exported(out.ID).Sequence.Next
	if !p.wantNumbers("After the ceiling was raised", p.send(out, 5), counting(next, 5)) {
		return
	}
	p.send(out, 110+margin)
	p.until(s, "the raised lease to run out", exhausted(out))
}

func holdSends(p *probe) {
	if info := p.configured(); !info.HoldsPackets {
		p.notExercised("the dataplane keeps no packets for an SA to come")
	}
	if p.Holds == nil {
		p.notExercised("the harness moves no packets that wait")
	}
	last, beyond := p.outbound(1), p.outbound(2)
	last.Sequence = ipsec.Sequence{Next: 1<<32 - 1, Ceiling: 1<<32 - 2}
	beyond.Sequence = ipsec.Sequence{Next: 1 << 32, Ceiling: 1<<32 - 1}
	for i, spent := range []ipsec.SA{last, beyond} {
		p.install(epoch(1), offload.Active, spent)
		successor := p.outbound(uint32(11 + i))
		successor.Tunnel, successor.Selectors = spent.Tunnel, spent.Selectors
		sent, err := p.Holds.SendHeld(p.ctx, spent, 5, successor, func() error {
			_, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, successor)
			return err
		})
		p.must("Packets for an SA without numbers", err)
		p.wantNumbers(fmt.Sprintf("Five waited at an SA with next %d", spent.Sequence.Next), sent, counting(1, 5))
		if got := p.exported(spent.ID); got.Held != 5 || got.Drops != (offload.Drops{}) || got.Packets != 0 {
			p.errorf("Five packets waited and left by the successor, but the SA counts %d of them, %d packets, and dropped %+v.", got.Held, got.Packets, got.Drops)
		}
	}
}

func exhausted(sa ipsec.SA) func(offload.Event) bool {
	return func(ev offload.Event) bool {
		l, ok := ev.(offload.LeaseLow)
		return ok && l.ID == sa.ID && l.Exhausted
	}
}

// wantForwarded delivers numbers and notes when not exactly want came through.
func (p *probe) wantForwarded(what string, sa ipsec.SA, want int, seqs ...uint64) {
	if got := p.deliver(sa, seqs...); got != want {
		p.errorf("Of %s, %d packets should have been forwarded, got %d.", what, want, got)
	}
}

func replayOnce(p *probe) {
	p.configured()
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Active, in)
	p.wantForwarded("1, 2, 3", in, 3, 1, 2, 3)
	p.wantForwarded("2, 3, 3, 4, 4", in, 1, 2, 3, 3, 4, 4)
	if got := p.exported(in.ID).Drops.Replayed; got != 4 {
		p.errorf("Four packets were replayed, but %d are counted.", got)
	}
}

func replayWindow(p *probe) {
	info := p.configured()
	in := p.inbound(1, groupA)
	window := uint64(min(in.Window(), info.MaxReplayWindow))
	p.install(epoch(1), offload.Active, in)
	p.wantForwarded("10000", in, 1, 10000)
	p.wantForwarded(fmt.Sprintf("the oldest number in a window of %d", window), in, 1, 10000-window+1)
	p.wantForwarded("1, far left of the window", in, 0, 1)
	p.wantForwarded("out of order within the window", in, 3, 9998, 9999, 9997)
	if got := p.exported(in.ID).Sequence.Highest; got != 10000 {
		p.errorf("Export should name 10000 as the highest number, got %d.", got)
	}
}

func replayImport(p *probe) {
	p.configured()
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Active, in)
	p.wantForwarded("1, 2, 50, 52", in, 4, 1, 2, 50, 52)
	checkpoint := p.exported(in.ID).Sequence

	other := p.inbound(2, groupA)
	other.Sequence = checkpoint
	late := p.inbound(3, groupA)
	p.install(epoch(1), offload.Active, other, late)
	p.update(epoch(1), offload.Change{ID: late.ID, Sequence: &checkpoint})
	for _, sa := range []ipsec.SA{other, late} {
		p.wantForwarded("numbers that another member had received", sa, 0, 50, 52, 2, 1)
		p.wantForwarded("numbers that it had not", sa, 2, 51, 53)
	}
}

// expiries counts the Expired events among events of one SA.
func expiries(events []offload.Event) (soft, hard int) {
	for _, ev := range events {
		if e, ok := ev.(offload.Expired); ok && e.Hard {
			hard++
		} else if ok {
			soft++
		}
	}
	return soft, hard
}

func lifetimeSoft(p *probe) {
	p.configured()
	s := p.watch()
	packets, octets := p.outbound(1), p.outbound(2)
	packets.Lifetime.Soft.Packets = 5
	octets.Lifetime.Soft.Bytes = 100
	p.install(epoch(1), offload.Active, packets, octets)
	if got := len(p.send(packets, 10)); got != 10 {
		p.errorf("Over a soft limit of 5 packets, 10 should have left, got %d.", got)
	}
	if got := len(p.send(octets, 20)); got != 20 {
		p.errorf("Over a soft limit of 100 octets, 20 packets should have left, got %d.", got)
	}
	events := p.barrier(s, 1)
	for _, sa := range []ipsec.SA{packets, octets} {
		if soft, hard := expiries(eventsOf(sa, events)); soft != 1 || hard != 0 {
			p.errorf("A soft limit that was passed should cause one Expired, got %d, and %d hard ones.", soft, hard)
		}
	}
}

func lifetimeHard(p *probe) {
	p.configured()
	s := p.watch()
	in, out := p.pair(1, groupA)
	in.Lifetime.Hard.Packets = 5
	out.Lifetime.Hard.Packets = 5
	p.install(epoch(1), offload.Active, in, out)
	if got := len(p.send(out, 10)); got != 5 {
		p.errorf("Up to a hard limit of 5 packets, 5 of 10 should have left, got %d.", got)
	}
	p.wantForwarded("10 beyond a hard limit of 5", in, 5, counting(1, 10)...)
	events := p.barrier(s, 1)
	for _, sa := range []ipsec.SA{in, out} {
		if _, hard := expiries(eventsOf(sa, events)); hard != 1 {
			p.errorf("A hard limit that was passed should cause one Expired{Hard}, got %d for %v.", hard, sa.ID)
		}
		if got := p.exported(sa.ID).Drops.Lifetime; got != 5 {
			p.errorf("Five packets after the hard limit of %v should be counted, got %d.", sa.ID, got)
		}
	}
}

// memberIVs ends the clause where IVs are not the plane's own.
func (p *probe) memberIVs(info offload.Info) {
	if info.IVSource != offload.IVMember {
		p.notExercised("the dataplane does not make member-unique IVs")
	}
	if !p.algorithms().Encryption.CounterMode() {
		p.notExercised("the dataplane has no counter mode that the suite knows to choose")
	}
}

// wantFreshIVs notes IVs that are in seen already, and adds the others.
func (p *probe) wantFreshIVs(when string, sent []Sent, seen map[string]bool) {
	if len(sent) == 0 {
		p.fatalf("%s, no packet left.", when)
	}
	for _, s := range sent {
		if seen[string(s.IV)] {
			p.errorf("%s, the IV %x was used again with the same key.", when, s.IV)
		}
		seen[string(s.IV)] = true
	}
}

func ivUnique(p *probe) {
	p.memberIVs(p.configured())
	out := p.outbound(1)
	seen := make(map[string]bool)
	p.install(epoch(1), offload.Active, out)
	p.wantFreshIVs("On a fresh SA", p.send(out, 20), seen)
	for range 3 {
		_, err := p.Engine.Delete(p.ctx, epoch(1), out.ID)
		p.must("Delete", err)
		p.install(epoch(1), offload.Active, out)
		p.wantFreshIVs("Deleted and installed again", p.send(out, 20), seen)
	}
}

func ivBoot(p *probe) {
	p.memberIVs(p.configured())
	out := p.outbound(1)
	seen := make(map[string]bool)
	p.install(epoch(1), offload.Active, out)
	p.wantFreshIVs("In the first boot", p.send(out, 20), seen)
	p.restart()
	p.configured()
	p.install(epoch(1), offload.Active, out)
	p.wantFreshIVs("Started again with a higher boot counter", p.send(out, 20), seen)
}

func ivSender(p *probe) {
	p.memberIVs(p.configured())
	for n, sender := range []ipsec.MemberID{1, 2, 15} {
		out := p.outbound(uint32(n + 1))
		out.Sender = sender
		p.install(epoch(1), offload.Active, out)
		for _, s := range p.send(out, 3) {
			if len(s.IV) == 0 || ipsec.MemberID(s.IV[0]>>4) != sender {
				p.errorf("The IV of a packet of member %d should have that in its top four bits, got %x.", sender, s.IV)
			}
		}
	}
}
