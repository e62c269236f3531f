package offloadtest

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// A probe is one clause at work on one dataplane.
type probe struct {
	*Harness
	ctx  context.Context // the clause's own, as a testing.T has one
	open Open

	common ipsec.Algorithms // what algorithms chose

	mu      sync.Mutex
	outcome Outcome
	notes   []string
	opened  []*Harness
	streams []*stream
}

// openPlane opens a fresh dataplane, which ends with the clause.
func (p *probe) openPlane() *Harness {
	h, err := p.open(p.ctx)
	if err != nil {
		p.fatalf("The dataplane cannot be opened: %v.", err)
	}
	p.opened = append(p.opened, h)
	return h.withDefaults()
}

// restart ends the dataplane and opens another in its place, for the next boot.
func (p *probe) restart() {
	ended := p.Harness
	p.opened = slices.DeleteFunc(p.opened, func(h *Harness) bool { return h == ended })
	if err := ended.close(); err != nil {
		p.errorf("The dataplane did not end cleanly: %v.", err)
	}
	p.Harness = p.openPlane()
	p.Config.Boot = ended.Config.Boot + 1
}

func (p *probe) closeAll() {
	for _, s := range p.streams {
		s.end()
	}
	for _, h := range p.opened {
		if err := h.close(); err != nil {
			p.errorf("The dataplane did not end cleanly: %v.", err)
		}
	}
}

// configured calls Configure and returns what the plane says then.
func (p *probe) configured() offload.Info {
	info, err := p.Engine.Configure(p.ctx, p.Config)
	if err != nil {
		p.fatalf("Configure failed: %v.", err)
	}
	return info
}

// Groups and epochs of the clauses. The number of an epoch is its count.
const (
	groupA offload.Group = 3
	groupB offload.Group = 4
)

func epoch(count uint64) offload.Epoch { return offload.NewEpoch(count, 1) }

// algorithms returns what SAs are made of where the algorithm does not matter:
// AES-GCM, as most planes have it, or else the first that the plane names.
func (p *probe) algorithms() ipsec.Algorithms {
	if p.common == (ipsec.Algorithms{}) {
		p.common = p.chooseAlgorithms()
	}
	return p.common
}

func (p *probe) chooseAlgorithms() ipsec.Algorithms {
	info, err := p.Engine.Info(p.ctx)
	if err != nil {
		p.fatalf("Info failed: %v.", err)
	}
	common := ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128}
	if info.Supports(common) {
		return common
	}
	for _, c := range info.Transforms {
		if !c.Algorithms.ESN {
			return c.Algorithms
		}
	}
	p.fatalf("Info lists no algorithms without ESN, which every peer speaks.")
	return common
}

// pair makes the SAs of tunnel n in group g, inbound first. n is at least 1.
func (p *probe) pair(n uint32, g offload.Group) (in, out ipsec.SA) {
	return p.makeSA(p.algorithms(), ipsec.Inbound, n, g), p.makeSA(p.algorithms(), ipsec.Outbound, n, g)
}

func (p *probe) inbound(n uint32, g offload.Group) ipsec.SA {
	return p.makeSA(p.algorithms(), ipsec.Inbound, n, g)
}

// outbound is of groupA: one that is alone needs no other group.
func (p *probe) outbound(n uint32) ipsec.SA {
	return p.makeSA(p.algorithms(), ipsec.Outbound, n, groupA)
}

// pathMTU is what dataplanes are told of the suite's paths: the least that any has, by
// RFC 8200 section 5, so that a look-up has nothing to add to it.
const pathMTU = 1280

// makeSA makes one SA of tunnel n, whose path is known.
func (p *probe) makeSA(a ipsec.Algorithms, d ipsec.Direction, n uint32, g offload.Group) ipsec.SA {
	sa := p.Harness.makeSA(a, d, n, g)
	sa.PathMTU = pathMTU
	return sa
}

// Pair makes the SAs of tunnel n, at least 1, in group g, as the suite installs
// them: between the harness's addresses, of generation 10, with keys that no
// other pair has.
func (h *Harness) Pair(a ipsec.Algorithms, n uint32, g offload.Group) (in, out ipsec.SA) {
	return h.makeSA(a, ipsec.Inbound, n, g), h.makeSA(a, ipsec.Outbound, n, g)
}

// makeSA makes one SA of tunnel n. Its generation is 10, so that there are older
// ones.
func (h *Harness) makeSA(a ipsec.Algorithms, d ipsec.Direction, n uint32, g offload.Group) ipsec.SA {
	inSPI, outSPI := ipsec.NewSPI(1, 0x10000+2*n), ipsec.NewSPI(9, 0x10000+2*n+1)
	sa := ipsec.SA{
		ID:         ipsec.SAID{SPI: inSPI, Dst: h.Local, Proto: ipsec.ESP},
		Direction:  d,
		Tunnel:     ipsec.TunnelID(0x1000_0000_0000_0000 + uint64(n)),
		Pair:       outSPI,
		Group:      ipsec.MemberID(g),
		Sender:     h.Config.Member,
		Generation: 10,
		Algorithms: a,
		Encryption: testKey(encryptionLen(a), n, d),
		Integrity:  testKey(integrityLen(a), n+1<<31, d),
		Local:      h.Local,
		Remote:     h.Remote,
		Selectors: ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, 0, 0}), 16))},
			Remote: []ipsec.TrafficSelector{ipsec.SelectorOf(netip.PrefixFrom(clientAddr(n), 32))},
		},
		ReplayWindow: 128,
	}
	if d == ipsec.Outbound {
		sa.ID, sa.Pair = ipsec.SAID{SPI: outSPI, Dst: h.Remote, Proto: ipsec.ESP}, inSPI
	}
	return sa
}

// clientAddr is the inner address behind tunnel n, within 198.19.0.0/16 (RFC
// 2544's benchmark network, as 198.18.0.0/16 for our side is).
func clientAddr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 19, byte(n >> 8), byte(n)})
}

// testKey makes a key that no other SA of the suite has.
func testKey(octets int, n uint32, d ipsec.Direction) ipsec.Key {
	b := make([]byte, octets)
	for i := range b {
		b[i] = byte(0xa0 + i*7)
	}
	if len(b) >= 8 {
		binary.BigEndian.PutUint32(b, n)
		b[4] = byte(d)
	}
	return ipsec.NewKey(b)
}

// encryptionLen and integrityLen are 0 for what the vocabulary does not know;
// CheckSA then refuses the SA.
func encryptionLen(a ipsec.Algorithms) int {
	n, err := a.EncryptionKeyLen()
	if err != nil {
		return 0
	}
	return n
}

func integrityLen(a ipsec.Algorithms) int {
	n, err := a.Integrity.KeyLen()
	if err != nil {
		return 0
	}
	return n
}

// install installs SAs that must all be taken, and returns their placements.
func (p *probe) install(e offload.Epoch, r offload.Role, sas ...ipsec.SA) []offload.Placement {
	placed, err := p.Engine.Install(p.ctx, e, r, sas...)
	if err != nil {
		p.fatalf("Install of %d good SAs failed: %v.", len(sas), err)
	}
	if len(placed) != len(sas) {
		p.fatalf("Install of %d SAs answered with %d placements.", len(sas), len(placed))
	}
	for _, pl := range placed {
		if pl.Err != nil {
			p.fatalf("Install refused the good SA %v: %v.", pl.ID, pl.Err)
		}
	}
	return placed
}

// update makes changes that must all be taken.
func (p *probe) update(e offload.Epoch, changes ...offload.Change) []offload.Placement {
	placed, err := p.Engine.Update(p.ctx, e, changes...)
	if err != nil {
		p.fatalf("Update failed: %v.", err)
	}
	if len(placed) != len(changes) {
		p.fatalf("Update of %d SAs answered with %d placements.", len(changes), len(placed))
	}
	for _, pl := range placed {
		if pl.Err != nil {
			p.fatalf("Update refused a good change of %v: %v.", pl.ID, pl.Err)
		}
	}
	return placed
}

// must ends the clause when a call that had to succeed did not.
func (p *probe) must(what string, err error) {
	if err != nil {
		p.fatalf("%s failed: %v.", what, err)
	}
}

// want notes when err is not the sentinel.
func (p *probe) want(what string, err, sentinel error) {
	if !errors.Is(err, sentinel) {
		p.errorf("%s should fail with %q, got %v.", what, sentinel, err)
	}
}

// export returns the inventory of a group by SA.
func (p *probe) export(g offload.Group) map[ipsec.SAID]offload.Counters {
	all := make(map[ipsec.SAID]offload.Counters)
	for c, err := range p.Engine.Export(p.ctx, g) {
		if err != nil {
			p.fatalf("Export failed: %v.", err)
		}
		if _, twice := all[c.ID]; twice {
			p.errorf("Export yielded %v twice.", c.ID)
		}
		all[c.ID] = c
	}
	return all
}

// exported returns what Export says of one SA, which must be there.
func (p *probe) exported(id ipsec.SAID) offload.Counters {
	c, ok := p.export(offload.AllGroups)[id]
	if !ok {
		p.fatalf("Export does not yield the installed SA %v.", id)
	}
	return c
}

// wantRoles notes SAs that have another role.
func (p *probe) wantRoles(when string, want offload.Role, sas ...ipsec.SA) {
	all := p.export(offload.AllGroups)
	for _, sa := range sas {
		if got := all[sa.ID].Role; got != want {
			p.errorf("%s, %v should be %v, but is %v.", when, sa.ID, want, got)
		}
	}
}

// send plays n outbound packets of sa and returns those that left.
func (p *probe) send(sa ipsec.SA, n int) []Sent {
	sent, err := p.Traffic.Send(p.ctx, sa, n)
	if err != nil {
		p.fatalf("The harness could not send by %v: %v.", sa.ID, err)
	}
	return sent
}

// deliver plays inbound packets of sa and returns how many were forwarded.
func (p *probe) deliver(sa ipsec.SA, seqs ...uint64) int {
	n, err := p.Traffic.Deliver(p.ctx, sa, seqs...)
	if err != nil {
		p.fatalf("The harness could not deliver to %v: %v.", sa.ID, err)
	}
	return n
}

// numbers returns the sequence numbers of packets.
func numbers(sent []Sent) []uint64 {
	out := make([]uint64, len(sent))
	for i, s := range sent {
		out[i] = s.Seq
	}
	return out
}

// counting returns n numbers from first on.
func counting(first uint64, n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = first + uint64(i)
	}
	return out
}

func ids(sas ...ipsec.SA) []ipsec.SAID {
	out := make([]ipsec.SAID, len(sas))
	for i, sa := range sas {
		out[i] = sa.ID
	}
	return out
}
