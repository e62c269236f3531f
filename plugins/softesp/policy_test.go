package softesp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/plugins/softesp/packet"
)

// TestPolicyTableFindsTheNewestOfTheLongest plays installations and deletions, in
// calls of any size, against a list; some remote prefixes have few SAs and some
// have many. A reader that still holds an older version goes on finding what was in
// it.
func TestPolicyTableFindsTheNewestOfTheLongest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := newPolicyTable()
		var have []*association
		var serial uint64
		for range rapid.IntRange(1, 8).Draw(t, "calls") {
			before, snapshot := slices.Clone(have), newPolicyTable()
			snapshot.root.Store(table.root.Load())
			if len(have) > 0 && rapid.Bool().Draw(t, "delete") {
				i := rapid.IntRange(0, len(have)-1).Draw(t, "which")
				table.replace(have[i], nil)
				have = slices.Delete(have, i, i+1)
			} else {
				for range rapid.IntRange(1, 12).Draw(t, "sas") {
					serial++
					a := &association{serial: serial}
					a.Selectors = ipsec.Selectors{
						Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(smallPrefix(t))},
						Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(smallPrefix(t))},
					}
					if rapid.Bool().Draw(t, "hub") {
						a.Selectors.Remote[0] = ipsec.SelectorOf(netip.PrefixFrom(smallAddr(t), 8).Masked())
					}
					if rapid.Bool().Draw(t, "two") {
						a.Selectors.Local = append(a.Selectors.Local, ipsec.SelectorOf(smallPrefix(t)))
					}
					table.stage(a)
					have = append(have, a)
				}
				table.commit()
			}
			for range 4 {
				h := packet.Header{Src: smallAddr(t), Dst: smallAddr(t), Proto: 17, HasPorts: true}
				if got, want := table.find(&h), newestOfLongest(have, &h); got != want {
					t.Fatalf("From %v to %v the table finds %+v, the list %+v.", h.Src, h.Dst, got, want)
				}
				if got, want := snapshot.find(&h), newestOfLongest(before, &h); got != want {
					t.Fatalf("From %v to %v the version before finds %+v, the list of that time %+v.", h.Src, h.Dst, got, want)
				}
			}
		}
	})
}

// smallAddr and smallPrefix draw from so few that they meet.
func smallAddr(t *rapid.T) netip.Addr {
	few := rapid.SampledFrom([]byte{0, 1, 128})
	return netip.AddrFrom4([4]byte{10, few.Draw(t, "b"), few.Draw(t, "c"), few.Draw(t, "d")})
}

func smallPrefix(t *rapid.T) netip.Prefix {
	bits := rapid.SampledFrom([]int{0, 8, 15, 16, 17, 24, 25, 32}).Draw(t, "bits")
	return netip.PrefixFrom(smallAddr(t), bits).Masked()
}

func newestOfLongest(sas []*association, h *packet.Header) (best *association) {
	bits := -1
	for _, a := range sas { // the newest last
		if p := prefixes(a.Selectors.Remote)[0]; a.selectsOut(h) && p.Bits() >= bits {
			best, bits = a, p.Bits()
		}
	}
	return best
}

// toOneNetwork are n networks that have tunnels to the same one.
func toOneNetwork(n uint32) []*association {
	sas := make([]*association, n)
	for i := range sas {
		sas[i] = &association{serial: uint64(i + 1)}
		addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 0x0a800000+uint32(i))))
		sas[i].Selectors = ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(addr, 32))},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(benchThere, 32))},
		}
	}
	return sas
}

// BenchmarkPolicyLearnsOneNetwork makes 10,000 of them known, 1,000 with each call.
func BenchmarkPolicyLearnsOneNetwork(b *testing.B) {
	sas := toOneNetwork(10_000)
	b.ReportAllocs()
	for b.Loop() {
		table := newPolicyTable()
		for call := range slices.Chunk(sas, 1000) {
			for _, a := range call {
				table.stage(a)
			}
			table.commit()
		}
	}
}

// BenchmarkPolicyToOneNetwork finds one of 10,000 networks that have tunnels to the
// same one.
func BenchmarkPolicyToOneNetwork(b *testing.B) {
	table := newPolicyTable()
	for _, a := range toOneNetwork(10_000) {
		table.stage(a)
	}
	table.commit()
	h := packet.Header{Src: netip.MustParseAddr("10.128.0.7"), Dst: benchThere, Proto: 17, HasPorts: true}
	b.ReportAllocs()
	for b.Loop() {
		if table.find(&h) == nil {
			b.Fatal("The tunnel should be found.")
		}
	}
}
