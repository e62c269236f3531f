package offloadtest

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

func installClauses() []Clause {
	return []Clause{
		{"install.places", "Install answers with one Placement per SA, in order, with its role and where it is.", 0, installPlaces},
		{"install.idempotent", "The same Install again succeeds and changes nothing.", 0, installIdempotent},
		{"install.generation", "An older generation, or the same one, leaves an SA as it is.", 0, installGeneration},
		{"install.merge", "A newer generation replaces an SA and does not move its sequence state backwards.", 0, installMerge},
		{"install.partial", "What is wrong with one SA stands in its Placement, and the others are installed.", 0, installPartial},
		{"install.port", "Outbound SAs of one SPI to two ports of one address are two, or the second is ErrUnsupported.", 0, installPort},
		{"install.role", "Install in no role is ErrInvalid.", 0, installRole},
		{"install.invalid", "An SA that contradicts itself is ErrInvalid.", 0, installInvalid},
		{"install.unsupported", "An SA with an unknown algorithm is ErrUnsupported.", 0, installUnsupported},
		{"install.transforms", "Every transform that Info lists can be installed in both directions, and with IPv6.", 0, installTransforms},
		{"install.exhausted", "One SA more than Info.MaxSAs is ErrExhausted, and those in place stay.", 0, installExhausted},
		{"keys.hidden", "No error text holds a key.", 0, keysHidden},
		{"delete.counters", "Delete returns the counters of the SAs that were there, in order.", 0, deleteCounters},
		{"delete.unknown", "Delete of an SA that is not there is no error.", 0, deleteUnknown},
		{"delete.idempotent", "The same Delete again succeeds and changes nothing.", 0, deleteIdempotent},
	}
}

func installPlaces(p *probe) {
	info := p.configured()
	in, out := p.pair(1, groupA)
	in2, out2 := p.pair(2, groupA)
	p.wantPlacements(info, offload.Active, p.install(epoch(1), offload.Active, in, out), in, out)
	p.wantPlacements(info, offload.Standby, p.install(epoch(1), offload.Standby, in2, out2), in2, out2)
	p.wantRoles("After Install(Active)", offload.Active, in, out)
	p.wantRoles("After Install(Standby)", offload.Standby, in2, out2)
}

func (p *probe) wantPlacements(info offload.Info, role offload.Role, placed []offload.Placement, sas ...ipsec.SA) {
	for i, pl := range placed {
		if pl.ID != sas[i].ID {
			p.errorf("Placement %d is of %v instead of %v.", i, pl.ID, sas[i].ID)
		}
		if pl.Role != role {
			p.errorf("%v was installed as %v and is %v.", pl.ID, role, pl.Role)
		}
		known := slices.ContainsFunc(info.NPUs, func(n offload.NPU) bool { return n.ID == pl.NPU })
		switch {
		case pl.NPU == 0 && pl.WhyNot == offload.InNPU:
			p.errorf("%v is in no NPU and does not say why.", pl.ID)
		case pl.NPU != 0 && pl.WhyNot != offload.InNPU:
			p.errorf("%v is in NPU %d and says why it is in none: %q.", pl.ID, pl.NPU, pl.WhyNot)
		case pl.NPU != 0 && !known:
			p.errorf("%v is in NPU %d, which Info does not list.", pl.ID, pl.NPU)
		case pl.NPU == 0 && len(info.NPUs) == 0 && pl.WhyNot != offload.NoSuchNPU:
			p.errorf("There is no NPU, but %v says %q.", pl.ID, pl.WhyNot)
		}
	}
}

func installIdempotent(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Active, in, out)
	p.update(epoch(1), offload.Change{ID: out.ID, Sequence: &ipsec.Sequence{Next: 100, Ceiling: 200}})
	before := p.export(offload.AllGroups)
	p.install(epoch(1), offload.Active, in, out)
	p.wantInventory("The same Install again made a difference", before)
}

func installGeneration(p *probe) {
	p.configured()
	in := p.inbound(1, groupA)
	p.install(epoch(1), offload.Active, in)
	before := p.export(offload.AllGroups)
	for _, generation := range []uint64{9, 10} {
		again := in
		again.Generation, again.PathMTU, again.Tunnel = generation, 1300, 99
		p.install(epoch(1), offload.Standby, again)
		p.wantInventory("An Install of the same or an older generation made a difference", before)
	}
}

func installMerge(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	in.Sequence = ipsec.Sequence{Highest: 500, Bitmap: []byte{0xff}}
	out.Sequence = ipsec.Sequence{Next: 1000, Ceiling: 2000}
	p.install(epoch(1), offload.Active, in, out)

	in.Generation, in.PathMTU, in.Sequence = 11, 1400, ipsec.Sequence{}
	out.Generation, out.PathMTU, out.Sequence = 11, 1400, ipsec.Sequence{Next: 10, Ceiling: 1500}
	p.install(epoch(1), offload.Standby, in, out)
	for _, sa := range []ipsec.SA{in, out} {
		if c := p.exported(sa.ID); c.Generation != 11 || c.PathMTU != 1400 || c.Role != offload.Standby {
			p.errorf("After Install of generation 11 with path MTU 1400 as standby, %v has generation %d, %d, %v.",
				sa.ID, c.Generation, c.PathMTU, c.Role)
		}
	}
	if got := p.exported(out.ID).Sequence; got.Next != 1000 || got.Ceiling != 2000 {
		p.errorf("A newer generation moved next and ceiling from 1000 and 2000 to %d and %d.", got.Next, got.Ceiling)
	}
	if got := p.exported(in.ID).Sequence.Highest; got != 500 {
		p.errorf("A newer generation moved the right edge of the replay window from 500 to %d.", got)
	}
}

func installPartial(p *probe) {
	p.configured()
	good, other := p.pair(1, groupA)
	bad := p.inbound(2, groupA)
	bad.Encryption = ipsec.NewKey([]byte{1, 2, 3})
	placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, good, bad, other)
	p.must("Install of two good SAs and a bad one", err)
	if len(placed) != 3 {
		p.fatalf("Install of three SAs answered with %d placements.", len(placed))
	}
	p.want("The placement of an SA with a short key", placed[1].Err, offload.ErrInvalid)
	if placed[1].ID != bad.ID {
		p.errorf("The placement of the bad SA %v names %v.", bad.ID, placed[1].ID)
	}
	for _, i := range []int{0, 2} {
		if placed[i].Err != nil {
			p.errorf("A good SA beside a bad one was refused: %v.", placed[i].Err)
		}
	}
	p.wantInstalled("Beside a bad one, exactly the good SAs are installed", good.ID, other.ID)
}

// installPort installs the outbound SAs of two peers behind one NAT.
func installPort(p *probe) {
	p.configured()
	one, two := p.outbound(1), p.outbound(2)
	two.ID = one.ID
	for i, sa := range []*ipsec.SA{&one, &two} {
		sa.ID.Port = uint16(1024 + i)
		sa.Encap = &ipsec.Encap{LocalPort: 4500, RemotePort: sa.ID.Port}
	}
	p.install(epoch(1), offload.Active, one)
	placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, two)
	p.must("Install of an SA that differs from another one in its port", err)
	if len(placed) != 1 {
		p.fatalf("Install of one SA answered with %d placements.", len(placed))
	}
	if placed[0].Err != nil {
		p.want("The placement of an SA that differs from another one in its port", placed[0].Err, offload.ErrUnsupported)
		p.wantInstalled("Beside a refused one, the first SA is installed", one.ID)
		return
	}
	p.wantInstalled("Both SAs are installed", one.ID, two.ID)
	_, err = p.Engine.Delete(p.ctx, epoch(1), one.ID)
	p.must("Delete of one of them", err)
	p.wantInstalled("The other one is left", two.ID)
}

// wantInstalled notes when another set of SAs is there.
func (p *probe) wantInstalled(sentence string, want ...ipsec.SAID) {
	all := p.export(offload.AllGroups)
	for _, id := range want {
		if _, there := all[id]; !there {
			p.errorf("%s; %v is missing.", sentence, id)
		}
		delete(all, id)
	}
	for id := range all {
		p.errorf("%s; %v is there too.", sentence, id)
	}
}

func installRole(p *probe) {
	p.configured()
	_, err := p.Engine.Install(p.ctx, epoch(1), 0, p.inbound(1, groupA))
	p.want("Install without a role", err, offload.ErrInvalid)
	_, err = p.Engine.Install(p.ctx, epoch(1), offload.Standby+1, p.inbound(1, groupA))
	p.want("Install in a role that does not exist", err, offload.ErrInvalid)
	p.wantInstalled("A refused Install installs nothing")
}

func installInvalid(p *probe) {
	p.configured()
	v6 := netip.MustParseAddr("2001:db8::1")
	contradictions := []struct {
		what  string
		spoil func(*ipsec.SA)
	}{
		{"a reserved SPI", func(sa *ipsec.SA) { sa.ID.SPI = 255 }},
		{"no destination", func(sa *ipsec.SA) { sa.ID.Dst = netip.Addr{} }},
		{"no direction", func(sa *ipsec.SA) { sa.Direction = 0 }},
		{"a group that does not exist", func(sa *ipsec.SA) { sa.Group = ipsec.MaxMembers }},
		{"a sender that does not exist", func(sa *ipsec.SA) { sa.Sender = ipsec.MaxMembers }},
		{"no local address", func(sa *ipsec.SA) { sa.Local = netip.Addr{} }},
		{"no remote address", func(sa *ipsec.SA) { sa.Remote = netip.Addr{} }},
		{"outer addresses of two families", func(sa *ipsec.SA) { sa.Remote = v6 }},
		{"a UDP port of zero", func(sa *ipsec.SA) { sa.Encap = &ipsec.Encap{LocalPort: 4500} }},
		{"an empty key", func(sa *ipsec.SA) { sa.Encryption, sa.Integrity = ipsec.Key{}, ipsec.Key{} }},
		{"a key that is one octet too long", func(sa *ipsec.SA) {
			sa.Encryption = ipsec.NewKey(append([]byte{1}, sa.Encryption.Reveal()...))
		}},
		{"no selectors", func(sa *ipsec.SA) { sa.Selectors = ipsec.Selectors{} }},
		{"a selector that ends before it starts", func(sa *ipsec.SA) {
			s := sa.Selectors.Remote[0]
			s.Min, s.Max = s.Max.Next(), s.Min
			sa.Selectors.Remote = []ipsec.TrafficSelector{s}
		}},
		{"a DSCP of seven bits", func(sa *ipsec.SA) { sa.Header.DSCP = 64 }},
	}
	for i, c := range contradictions {
		sa := p.inbound(uint32(i+1), groupA)
		c.spoil(&sa)
		p.want("An SA with "+c.what, p.refusal(sa), offload.ErrInvalid)
	}
	p.wantInstalled("Refused SAs are not installed")
}

// refusal installs one SA and returns the error of its placement.
func (p *probe) refusal(sa ipsec.SA) error {
	placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, sa)
	p.must("Install of a bad SA, as a call,", err)
	if len(placed) != 1 {
		p.fatalf("Install of one SA answered with %d placements.", len(placed))
	}
	return placed[0].Err
}

func installUnsupported(p *probe) {
	p.configured()
	unknown := p.inbound(1, groupA)
	unknown.Algorithms.Encryption = 65000 // of the range for private use
	p.want("An SA with an unknown encryption algorithm", p.refusal(unknown), offload.ErrUnsupported)
	ah := p.inbound(2, groupA)
	ah.ID.Proto = ipsec.AH
	p.want("An SA of AH", p.refusal(ah), offload.ErrUnsupported)
}

func installTransforms(p *probe) {
	info := p.configured()
	var all []ipsec.SA
	for _, c := range info.Transforms {
		for _, v6 := range []bool{false, true} {
			for _, d := range []ipsec.Direction{ipsec.Inbound, ipsec.Outbound} {
				sa := p.makeSA(c.Algorithms, d, uint32(len(all)/2+1), groupA)
				if v6 {
					sa.Selectors = ipsec.Selectors{
						Local:  []ipsec.TrafficSelector{ipsec.AnySelector(true)},
						Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("2001:db8:1::/64"))},
					}
				}
				all = append(all, sa)
			}
		}
	}
	batch := transformsBatch
	if info.MaxSAs > 0 {
		batch = min(batch, info.MaxSAs)
	}
	for some := range slices.Chunk(all, batch) {
		placed, err := p.Engine.Install(p.ctx, epoch(1), offload.Active, some...)
		if err != nil || len(placed) != len(some) {
			p.fatalf("Install of %d SAs answered with %d placements and %v.", len(some), len(placed), err)
		}
		for i, sa := range some {
			if err := placed[i].Err; err != nil {
				p.errorf("Info lists %v, but an SA %s with it was refused: %v.", sa.Algorithms, sa.Direction, err)
			}
		}
		if _, err := p.Engine.Delete(p.ctx, epoch(1), ids(some...)...); err != nil {
			p.fatalf("Delete failed: %v.", err)
		}
	}
}

// transformsBatch is how many SAs are tried at once: a call may take some milliseconds
// for each.
const transformsBatch = 64

// smallPlane is how many SAs the suite fills a plane with at most.
const smallPlane = 20000

func installExhausted(p *probe) {
	info := p.configured()
	switch {
	case info.MaxSAs == 0:
		p.notExercised("the dataplane has no fixed limit of SAs")
	case info.MaxSAs > smallPlane:
		p.notExercised("the dataplane takes more SAs than the suite installs")
	}
	full := make([]ipsec.SA, info.MaxSAs)
	for i := range full {
		full[i] = p.inbound(uint32(i+1), groupA)
	}
	p.install(epoch(1), offload.Active, full...)
	p.want("One SA more than fit", p.refusal(p.inbound(uint32(info.MaxSAs+1), groupA)), offload.ErrExhausted)
	p.wantInstalled("A full dataplane keeps what it has", ids(full...)...)
	if err := p.refusal(full[0]); err != nil {
		p.errorf("In a full dataplane, an SA that is there could not be installed again: %v.", err)
	}
}

func keysHidden(p *probe) {
	p.configured()
	secret := []byte("0123456789abcdef-this-key-is-too-long-for-any-algorithm")
	sa := p.inbound(1, groupA)
	sa.Encryption = ipsec.CopyKey(secret)
	err := p.refusal(sa)
	if err == nil {
		p.fatalf("An SA with a key of %d octets was accepted.", len(secret))
	}
	text := err.Error()
	if strings.Contains(text, string(secret[:8])) || strings.Contains(strings.ToLower(text), hex.EncodeToString(secret[:4])) {
		p.errorf("The error text holds the key.")
	}
}

func deleteCounters(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	absent := p.inbound(2, groupA)
	out.Sequence.Next = 77
	p.install(epoch(1), offload.Active, in, out)
	last, err := p.Engine.Delete(p.ctx, epoch(1), out.ID, absent.ID, in.ID)
	p.must("Delete", err)
	if len(last) != 2 || last[0].ID != out.ID || last[1].ID != in.ID {
		p.fatalf("Delete of two SAs that were there, and of one between them that was not, returned %+v.", last)
	}
	if last[0].Sequence.Next != 77 || last[0].Role != offload.Active || last[0].Group != groupA || last[0].Tunnel != out.Tunnel {
		p.errorf("The last counters of %v should have next 77, active, group %d and its tunnel, got %+v.", out.ID, groupA, last[0])
	}
	p.wantInstalled("After Delete, nothing is left")
}

func deleteUnknown(p *probe) {
	p.configured()
	last, err := p.Engine.Delete(p.ctx, epoch(1), p.inbound(1, groupA).ID)
	p.must("Delete of an SA that is not there", err)
	if len(last) != 0 {
		p.errorf("Delete of an SA that is not there returned counters: %+v.", last)
	}
}

func deleteIdempotent(p *probe) {
	p.configured()
	in, out := p.pair(1, groupA)
	p.install(epoch(1), offload.Active, in, out)
	for range 2 {
		_, err := p.Engine.Delete(p.ctx, epoch(1), in.ID)
		p.must("Delete", err)
		p.wantInstalled("Delete of one SA of two, however often, leaves the other", out.ID)
	}
}
