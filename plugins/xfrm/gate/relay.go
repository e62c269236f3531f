package gate

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
)

// Marks of packets that are on their way from a standby SA to a link: the member to
// whose link they go stands in the last four bits.
const (
	relayBase = 0x4c4b0000
	// relaySent: the packet is the copy that goes to the link.
	relaySent = 1 << 8
	// relayMayFragment: the packet came without DF, which its copy has.
	relayMayFragment = 1 << 9

	// RelayMask are the bits by which RelayMark is found.
	RelayMask = ^uint32(relayMayFragment)
)

// RelayMark is that of packets for the link to a member.
func RelayMark(m ipsec.MemberID) uint32 { return relayBase | relaySent | uint32(m) }

// The masks of the rules: which packets are to be relayed, and which of them
// without DF.
const (
	askedMask    = 0xffff0000 | relaySent
	fragmentMask = askedMask | relayMayFragment
)

// The names in the tables.
const (
	setLate  = "late"  // inbound SAs of links, with what came for a standby SA
	setStray = "stray" // the same, with what no SA selected
	// setAside has standby SAs, with what went to links, and, with lateBit, what came
	// over links and counts there.
	setAside = "aside"

	chainLinkIn  = "link-in"
	chainLinkOut = "link-out"
)

// Where fields of IP headers are.
const (
	flagsAt        = 6 // and the fragment offset, in IPv4
	destinationAt4 = 16
	destinationAt6 = 24
)

// lateBit is in no reqid.
const lateBit = 1 << 31

// maxAside bounds the elements of setAside.
const maxAside = 1 << 20

// Aside is what was counted of a standby SA's packets that were not dropped for its
// sake.
type Aside struct {
	Relayed uint64 // went to a link
	Late    uint64 // came over one, and count there
}

// newRelays makes what the gate itself has for links.
func (t *Transaction) newRelays() {
	t.newSet(setStray, 7, setPlain)
	t.newChain(chainLinkIn)
	t.newChain(chainLinkOut)
	t.newBaseChain("forward", hookForward, priority)
	t.newBaseChain("relayed", hookPostrouting, priority+2)
	// By this mark policies know what came over which link.
	t.rules(chainLinkIn, []expression{loadReqID(xfrmIn), storeMark(registerReqID)})
	// What came over a link goes on none; see the policies of links.
	t.rules(chainLinkOut, []expression{loadMark(), isIn(setStray, registerMark), drop()})
	t.rules("relayed", append(marked(relayBase, askedMask), drop()))
}

// confine drops what came over a link and is routed elsewhere than to clients.
func (t *Transaction) confine(device uint32) {
	t.rules("forward", []expression{
		loadMeta(unix.NFT_META_OIF, registerReqID), compare(registerReqID, unix.NFT_CMP_NEQ, native(device)),
		loadMark(), isIn(setStray, registerMark), drop(),
	})
}

// late drops what came over a link for a standby SA, and counts it there.
func late() []expression {
	return []expression{
		loadReqID(xfrmOut), loadMark(), isIn(setLate, registerMark),
		bits(registerReqID, registerHeader, native(1<<32-1), native(lateBit)), countIn(setAside, registerHeader), drop(),
	}
}

// relay marks a packet for the link to a group's member.
func relay(group uint8) []expression {
	return []expression{
		loadReqID(xfrmOut), countIn(setAside, registerReqID),
		load(registerMark, native(relayBase|uint32(group))), storeMark(registerMark),
	}
}

// marked breaks off where a packet has not this mark, of which mask are the bits that
// matter.
func marked(mark, mask uint32) []expression {
	return []expression{
		loadMark(), bits(registerMark, registerHeader, native(mask), native(0)),
		compare(registerHeader, unix.NFT_CMP_EQ, native(mark)),
	}
}

// changeMark flips bits of the mark that marked has loaded.
func changeMark(flip uint32) []expression {
	return []expression{bits(registerMark, registerMark, native(1<<32-1), native(flip)), storeMark(registerMark)}
}

// maskHeader leaves these bits of what was loaded of the header.
func maskHeader(mask ...byte) expression {
	return bits(registerHeader, registerHeader, mask, make([]byte, len(mask)))
}

// again sends a copy of a packet that is to be relayed into a device, by the way of its
// destination, which stands at an offset of its header.
func again(destinationAt, octets, device uint32) []expression {
	return slices.Concat(marked(relayBase, askedMask), []expression{
		loadHeader(destinationAt, octets), load(registerDevice, native(device)), duplicate(),
	})
}

// BuildRelay makes the tables that send a packet, whose standby SA belongs to a
// member that we have a link to, once more into the tunnels' interface, this time to
// the link. Without it packets for standby SAs are dropped. Errors say what the
// kernel lacks.
//
// Duplicating is the one way that the kernel has to send a packet elsewhere whose SA
// it has chosen already. Each family has a table of its own for that.
func (g *Gate) BuildRelay(device uint32) error {
	t := g.Begin()
	t.newRelays()
	t.confine(device)
	t.family = unix.NFPROTO_IPV4
	t.newTable()
	t.newBaseChain("postrouting", hookPostrouting, priority+1)
	t.newBaseChain("output", hookOutput, priority)
	mayFragment := []expression{loadHeader(flagsAt, 2), maskHeader(0x40, 0), compare(registerHeader, unix.NFT_CMP_EQ, []byte{0, 0})}
	clearDF := []expression{loadHeader(flagsAt, 2), maskHeader(0xbf, 0xff), storeHeader(flagsAt, 2)}
	t.rules("postrouting",
		slices.Concat(marked(relayBase, fragmentMask), mayFragment, changeMark(relayMayFragment)),
		again(destinationAt4, 4, device))
	t.rules("output",
		slices.Concat(marked(relayBase|relayMayFragment, fragmentMask), clearDF),
		slices.Concat(marked(relayBase, askedMask), changeMark(relaySent)))
	t.family = unix.NFPROTO_IPV6
	t.newTable()
	t.newBaseChain("postrouting", hookPostrouting, priority+1)
	t.newBaseChain("output", hookOutput, priority)
	t.rules("postrouting", again(destinationAt6, 16, device))
	t.rules("output", slices.Concat(marked(relayBase, askedMask), changeMark(relaySent)))
	if err := g.Apply(t); err != nil {
		return fmt.Errorf("gate: build the tables of links: the kernel may lack nft_dup_ipv4 or nft_dup_ipv6 (CONFIG_NFT_DUP_IPV4, CONFIG_NFT_DUP_IPV6): %w", err)
	}
	g.device = device
	return nil
}

// Relays tells whether packets for standby SAs can go to links.
func (g *Gate) Relays() bool { return g.device != 0 }

// Strays returns what came over links and went no further, by the reqid of the
// inbound SA: for standby SAs, and for none.
func (g *Gate) Strays() (late, stray map[uint32]uint64, err error) {
	late, stray = make(map[uint32]uint64), make(map[uint32]uint64)
	if !g.Relays() {
		return late, stray, nil
	}
	err = g.list(setLate, func(e element) { late[e.reqID] = e.packets })
	if err == nil {
		err = g.list(setStray, func(e element) { stray[e.reqID] = e.packets })
	}
	return late, stray, err
}

// Asides returns what was counted aside of standby SAs, by reqid.
func (g *Gate) Asides() (map[uint32]Aside, error) {
	out := make(map[uint32]Aside)
	err := g.list(setAside, func(e element) {
		a := out[e.reqID&^lateBit]
		if e.reqID&lateBit == 0 {
			a.Relayed = e.packets
		} else {
			a.Late = e.packets
		}
		out[e.reqID&^lateBit] = a
	})
	return out, err
}

// Aside returns what was counted aside of one standby SA.
func (g *Gate) Aside(reqID uint32) (a Aside, err error) {
	for id, count := range map[uint32]*uint64{reqID: &a.Relayed, reqID ^ lateBit: &a.Late} {
		err := g.query(setAside, 0, func(e element) { *count = e.packets }, id)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return a, err
		}
	}
	return a, nil
}
