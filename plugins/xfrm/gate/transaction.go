package gate

import (
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
)

// MaxNote is how many octets a note may have.
const MaxNote = 256

// A Transaction changes the gate all at once, or not at all. Its zero value is of
// no gate; Gate.Begin makes one.
type Transaction struct {
	table    string
	family   uint8
	group    uint16 // of NFLOG
	requests []netlink.Message
	err      error
}

// Len is the number of changes.
func (t *Transaction) Len() int { return len(t.requests) }

// add adds one request of nf_tables.
func (t *Transaction) add(typ uint16, flags netlink.HeaderFlags, fill func(*attributes)) {
	data, err := encode(fill)
	if err != nil && t.err == nil {
		t.err = fmt.Errorf("gate: encode a change: %w", err)
	}
	t.requests = append(t.requests, netlink.Message{
		Header: netlink.Header{
			Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | typ), Flags: netlink.Request | flags,
		},
		Data: append([]byte{t.family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
}

const (
	create = netlink.Create
	inet   = unix.NFPROTO_INET
)

func (t *Transaction) newTable() {
	t.add(unix.NFT_MSG_NEWTABLE, create, func(ae *attributes) { ae.String(unix.NFTA_TABLE_NAME, t.table) })
}

// newChain makes a chain that others jump to.
func (t *Transaction) newChain(name string) { t.chain(name, nil) }

// newBaseChain makes a chain at a hook; those of lower priority come first.
func (t *Transaction) newBaseChain(name string, hook uint32, priority int32) {
	t.chain(name, func(ae *attributes) {
		nested(ae, unix.NFTA_CHAIN_HOOK, func(ae *attributes) {
			ae.Uint32(unix.NFTA_HOOK_HOOKNUM, hook)
			ae.Uint32(unix.NFTA_HOOK_PRIORITY, uint32(priority))
		})
		ae.String(unix.NFTA_CHAIN_TYPE, "filter")
	})
}

func (t *Transaction) chain(name string, rest func(*attributes)) {
	t.add(unix.NFT_MSG_NEWCHAIN, create, func(ae *attributes) {
		ae.String(unix.NFTA_CHAIN_TABLE, t.table)
		ae.String(unix.NFTA_CHAIN_NAME, name)
		if rest != nil {
			rest(ae)
		}
	})
}

// setKind is what the elements of a set have beside their reqids.
type setKind uint8

const (
	setPlain    setKind = iota // nothing, or a counter each
	setVerdicts                // what becomes of the packet
	setCounting                // a counter; packets make them
)

func (t *Transaction) newSet(name string, id uint32, kind setKind) {
	t.add(unix.NFT_MSG_NEWSET, create, func(ae *attributes) {
		ae.String(unix.NFTA_SET_TABLE, t.table)
		ae.String(unix.NFTA_SET_NAME, name)
		ae.Uint32(unix.NFTA_SET_ID, id)
		ae.Uint32(unix.NFTA_SET_KEY_TYPE, markType)
		ae.Uint32(unix.NFTA_SET_KEY_LEN, 4)
		switch kind {
		case setVerdicts:
			ae.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
			ae.Uint32(unix.NFTA_SET_DATA_TYPE, verdictType)
			ae.Uint32(unix.NFTA_SET_DATA_LEN, 0)
		case setCounting:
			ae.Uint32(unix.NFTA_SET_FLAGS, unix.NFT_SET_EVAL)
			nested(ae, unix.NFTA_SET_DESC, func(ae *attributes) { ae.Uint32(unix.NFTA_SET_DESC_SIZE, maxAside) })
		case setPlain:
		}
	})
}

// rules replaces those of a chain.
func (t *Transaction) rules(chain string, rules ...[]expression) {
	t.add(unix.NFT_MSG_DELRULE, 0, func(ae *attributes) {
		ae.String(unix.NFTA_RULE_TABLE, t.table)
		ae.String(unix.NFTA_RULE_CHAIN, chain)
	})
	for _, rule := range rules {
		t.add(unix.NFT_MSG_NEWRULE, create|netlink.Append, func(ae *attributes) {
			ae.String(unix.NFTA_RULE_TABLE, t.table)
			ae.String(unix.NFTA_RULE_CHAIN, chain)
			nested(ae, unix.NFTA_RULE_EXPRESSIONS, func(ae *attributes) {
				for _, x := range rule {
					nested(ae, unix.NFTA_LIST_ELEM, x.put)
				}
			})
		})
	}
}

// element adds or removes one element of a set.
func (t *Transaction) element(typ uint16, set string, reqID uint32, rest func(*attributes)) {
	var flags netlink.HeaderFlags
	if typ == unix.NFT_MSG_NEWSETELEM {
		flags = create
	}
	t.add(typ, flags, func(ae *attributes) { elements(ae, t.table, set, rest, reqID) })
}

// elements names elements of a set; rest says more of each.
func elements(ae *attributes, table, set string, rest func(*attributes), reqIDs ...uint32) {
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	ae.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	nested(ae, unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(ae *attributes) {
		for _, id := range reqIDs {
			nested(ae, unix.NFTA_LIST_ELEM, func(ae *attributes) {
				nested(ae, unix.NFTA_SET_ELEM_KEY, func(ae *attributes) {
					ae.Bytes(unix.NFTA_DATA_VALUE, native(id))
				})
				if rest != nil {
					rest(ae)
				}
			})
		}
	})
}

// mapOf names the map of a direction.
func mapOf(d ipsec.Direction) string {
	if d == ipsec.Inbound {
		return "in"
	}
	return "out"
}

// Standby holds an SA back that nothing held back before: nothing is sent on it
// unless its group is armed, and its first packet is told.
func (t *Transaction) Standby(d ipsec.Direction, reqID uint32, group uint8) {
	t.hold(d, reqID, jumpVerdict, standby(d, group))
}

// Shut holds an SA back that nothing held back before: it carries nothing.
func (t *Transaction) Shut(d ipsec.Direction, reqID uint32) { t.hold(d, reqID, dropVerdict, "") }

// Link is for an SA of a link that nothing held back before: what comes over it, and
// what goes, is known as such.
func (t *Transaction) Link(d ipsec.Direction, reqID uint32) {
	chain := chainLinkOut
	if d == ipsec.Inbound {
		chain = chainLinkIn
	}
	t.hold(d, reqID, jumpVerdict, chain)
}

// Count begins to count what comes over an inbound SA of a link and goes no further.
func (t *Transaction) Count(reqID uint32) {
	for _, set := range []string{setLate, setStray} {
		t.element(unix.NFT_MSG_NEWSETELEM, set, reqID, func(ae *attributes) { nested(ae, unix.NFTA_SET_ELEM_EXPR, counter().put) })
	}
}

// Uncount ends that.
func (t *Transaction) Uncount(reqID uint32) {
	for _, set := range []string{setLate, setStray} {
		t.element(unix.NFT_MSG_DELSETELEM, set, reqID, nil)
	}
}

// ForgetAside removes what was counted aside of a standby SA.
func (t *Transaction) ForgetAside(reqID uint32, a Aside) {
	if a.Relayed > 0 {
		t.element(unix.NFT_MSG_DELSETELEM, setAside, reqID, nil)
	}
	if a.Late > 0 {
		t.element(unix.NFT_MSG_DELSETELEM, setAside, reqID^lateBit, nil)
	}
}

func (t *Transaction) hold(d ipsec.Direction, reqID uint32, code int32, chain string) {
	t.element(unix.NFT_MSG_NEWSETELEM, mapOf(d), reqID, func(ae *attributes) {
		nested(ae, unix.NFTA_SET_ELEM_DATA, func(ae *attributes) { verdict(ae, code, chain) })
		nested(ae, unix.NFTA_SET_ELEM_EXPR, counter().put)
	})
}

// Pass lets an SA go that is held back.
func (t *Transaction) Pass(d ipsec.Direction, reqID uint32) {
	t.element(unix.NFT_MSG_DELSETELEM, mapOf(d), reqID, nil)
}

// Told says that the first packet of an SA needs not be told any more; Untold that
// it does again, of one that was told.
func (t *Transaction) Told(reqID uint32) { t.element(unix.NFT_MSG_NEWSETELEM, setTold, reqID, nil) }

// Untold is the reverse of Told.
func (t *Transaction) Untold(reqID uint32) { t.element(unix.NFT_MSG_DELSETELEM, setTold, reqID, nil) }

// Note keeps what the dataplane wants to know of an SA after a restart, at most
// MaxNote octets, of which there is none yet.
func (t *Transaction) Note(reqID uint32, note []byte) {
	t.element(unix.NFT_MSG_NEWSETELEM, setNotes, reqID, func(ae *attributes) { ae.Bytes(unix.NFTA_SET_ELEM_USERDATA, note) })
}

// Forget removes a note.
func (t *Transaction) Forget(reqID uint32) { t.element(unix.NFT_MSG_DELSETELEM, setNotes, reqID, nil) }

// Arm lets outbound packets of a group's standby SAs pass. Every packet of theirs
// is told, so that the first one after Arm is, whatever was told before: the
// dataplane ends the standby of who it hears of.
func (t *Transaction) Arm(group uint8) {
	t.rules(standby(ipsec.Inbound, group), t.tell(xfrmIn))
	t.rules(standby(ipsec.Outbound, group), t.tell(xfrmOut))
}

// Disarm holds them back again.
func (t *Transaction) Disarm(group uint8) {
	t.rules(standby(ipsec.Inbound, group), t.tell(xfrmIn, unlessTold()))
	t.rules(standby(ipsec.Outbound, group), t.tell(xfrmOut, unlessTold()), late(), []expression{drop()})
}

// Relay is Disarm, but what is held back goes to the link to the group's member. What
// came over a link does not, and counts there.
func (t *Transaction) Relay(group uint8) {
	t.rules(standby(ipsec.Inbound, group), t.tell(xfrmIn, unlessTold()))
	t.rules(standby(ipsec.Outbound, group), t.tell(xfrmOut, unlessTold()), late(), relay(group))
}

// tellLimit is how many packets a second are told, of each group and direction.
const tellLimit = 20000

// tell is the rule that tells of a packet. The mark is what it was afterwards.
func (t *Transaction) tell(direction uint8, provided ...expression) []expression {
	return slices.Concat([]expression{loadReqID(direction)}, provided, []expression{
		limited(tellLimit), loadMark(), storeMark(registerReqID), logTo(t.group), storeMark(registerMark),
	})
}
