package gate

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What is said to nf_tables (linux/netfilter/nf_tables.h), as far as x/sys/unix
// does not name it.
const (
	// The ipsec expression.
	xfrmDreg, xfrmKey, xfrmDirection = 1, 2, 3
	xfrmKeyReqID                     = 5
	xfrmIn, xfrmOut                  = 0, 1

	dropVerdict = 0 // NF_DROP
	jumpVerdict = -3

	hookPrerouting, hookPostrouting = 0, 4
	// priority is before that of connection tracking and mangling.
	priority = -300

	verdictType = 0xffffff00
	markType    = 19 // what nft shows our keys as; to the kernel it means nothing
)

// Registers of an nftables program.
const (
	registerVerdict = unix.NFT_REG_VERDICT
	registerReqID   = unix.NFT_REG_1
	registerMark    = unix.NFT_REG_2
)

// attributes are encoded in network byte order, as nf_tables wants them.
type attributes = netlink.AttributeEncoder

// encode makes attributes, or nil where they do not fit.
func encode(fill func(*attributes)) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	fill(ae)
	return ae.Encode()
}

// nested adds an attribute that holds others.
func nested(ae *attributes, typ uint16, fill func(*attributes)) {
	ae.Nested(typ, func(inner *netlink.AttributeEncoder) error {
		fill(inner)
		return nil
	})
}

// expression is one instruction of a rule.
type expression struct {
	name string
	fill func(*attributes)
}

func (x expression) put(ae *attributes) {
	ae.String(unix.NFTA_EXPR_NAME, x.name)
	nested(ae, unix.NFTA_EXPR_DATA, x.fill)
}

// loadReqID breaks off the rule where no SA has to do with the packet.
func loadReqID(direction uint8) expression {
	return expression{"xfrm", func(ae *attributes) {
		ae.Uint32(xfrmDreg, registerReqID)
		ae.Uint32(xfrmKey, xfrmKeyReqID)
		ae.Uint8(xfrmDirection, direction)
	}}
}

// follow does what a map says of the reqid.
func follow(set string) expression {
	return expression{"lookup", func(ae *attributes) {
		ae.String(unix.NFTA_LOOKUP_SET, set)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, registerReqID)
		ae.Uint32(unix.NFTA_LOOKUP_DREG, registerVerdict)
	}}
}

// unlessIn breaks off where the reqid is in a set.
func unlessIn(set string) expression {
	return expression{"lookup", func(ae *attributes) {
		ae.String(unix.NFTA_LOOKUP_SET, set)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, registerReqID)
		ae.Uint32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
	}}
}

// limited breaks off where more happens than the dataplane can take: what was not
// told will be with a later packet.
func limited(perSecond uint64) expression {
	return expression{"limit", func(ae *attributes) {
		ae.Uint64(unix.NFTA_LIMIT_RATE, perSecond)
		ae.Uint64(unix.NFTA_LIMIT_UNIT, 1)
		ae.Uint32(unix.NFTA_LIMIT_BURST, uint32(perSecond))
	}}
}

func loadMark(register uint32) expression {
	return expression{"meta", func(ae *attributes) {
		ae.Uint32(unix.NFTA_META_DREG, register)
		ae.Uint32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
	}}
}

func storeMark(register uint32) expression {
	return expression{"meta", func(ae *attributes) {
		ae.Uint32(unix.NFTA_META_SREG, register)
		ae.Uint32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
	}}
}

// logTo sends what the dataplane asked for of the packet, which is its mark.
func logTo(group uint16) expression {
	return expression{"log", func(ae *attributes) {
		ae.Uint16(unix.NFTA_LOG_GROUP, group)
		ae.Uint16(unix.NFTA_LOG_QTHRESHOLD, 1)
	}}
}

func drop() expression {
	return expression{"immediate", func(ae *attributes) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, registerVerdict)
		nested(ae, unix.NFTA_IMMEDIATE_DATA, func(ae *attributes) { verdict(ae, dropVerdict, "") })
	}}
}

// verdict is NFTA_DATA_VERDICT.
func verdict(ae *attributes, code int32, chain string) {
	nested(ae, unix.NFTA_DATA_VERDICT, func(ae *attributes) {
		ae.Uint32(unix.NFTA_VERDICT_CODE, uint32(code))
		if chain != "" {
			ae.String(unix.NFTA_VERDICT_CHAIN, chain)
		}
	})
}
