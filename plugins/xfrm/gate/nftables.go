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

	hookPrerouting, hookForward, hookOutput, hookPostrouting = 0, 2, 3, 4
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
	registerHeader  = unix.NFT_REG_3
	registerDevice  = unix.NFT_REG_4
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

// unlessTold breaks off where the reqid is in setTold.
func unlessTold() expression {
	return expression{"lookup", func(ae *attributes) {
		ae.String(unix.NFTA_LOOKUP_SET, setTold)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, registerReqID)
		ae.Uint32(unix.NFTA_LOOKUP_FLAGS, unix.NFT_LOOKUP_F_INV)
	}}
}

// isIn breaks off where a register is in no element of a set; the element counts
// otherwise.
func isIn(set string, register uint32) expression {
	return expression{"lookup", func(ae *attributes) {
		ae.String(unix.NFTA_LOOKUP_SET, set)
		ae.Uint32(unix.NFTA_LOOKUP_SREG, register)
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

func loadMark() expression { return loadMeta(unix.NFT_META_MARK, registerMark) }

func loadMeta(key, register uint32) expression {
	return expression{"meta", func(ae *attributes) {
		ae.Uint32(unix.NFTA_META_DREG, register)
		ae.Uint32(unix.NFTA_META_KEY, key)
	}}
}

func storeMark(register uint32) expression {
	return expression{"meta", func(ae *attributes) {
		ae.Uint32(unix.NFTA_META_SREG, register)
		ae.Uint32(unix.NFTA_META_KEY, unix.NFT_META_MARK)
	}}
}

// native is a number as registers have it.
func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// value is NFTA_DATA_VALUE.
func value(ae *attributes, typ uint16, b []byte) {
	nested(ae, typ, func(ae *attributes) { ae.Bytes(unix.NFTA_DATA_VALUE, b) })
}

// compare breaks off where a register has not what it should.
func compare(register, op uint32, with []byte) expression {
	return expression{"cmp", func(ae *attributes) {
		ae.Uint32(unix.NFTA_CMP_SREG, register)
		ae.Uint32(unix.NFTA_CMP_OP, op)
		value(ae, unix.NFTA_CMP_DATA, with)
	}}
}

// bits puts (from & mask) ^ flip into another register.
func bits(from, to uint32, mask, flip []byte) expression {
	return expression{"bitwise", func(ae *attributes) {
		ae.Uint32(unix.NFTA_BITWISE_SREG, from)
		ae.Uint32(unix.NFTA_BITWISE_DREG, to)
		ae.Uint32(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		value(ae, unix.NFTA_BITWISE_MASK, mask)
		value(ae, unix.NFTA_BITWISE_XOR, flip)
	}}
}

// load puts a constant into a register.
func load(register uint32, b []byte) expression {
	return expression{"immediate", func(ae *attributes) {
		ae.Uint32(unix.NFTA_IMMEDIATE_DREG, register)
		value(ae, unix.NFTA_IMMEDIATE_DATA, b)
	}}
}

// header is a part of the packet's IP header.
func header(at, octets uint32, rest func(*attributes)) expression {
	return expression{"payload", func(ae *attributes) {
		ae.Uint32(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_NETWORK_HEADER)
		ae.Uint32(unix.NFTA_PAYLOAD_OFFSET, at)
		ae.Uint32(unix.NFTA_PAYLOAD_LEN, octets)
		rest(ae)
	}}
}

func loadHeader(at, octets uint32) expression {
	return header(at, octets, func(ae *attributes) { ae.Uint32(unix.NFTA_PAYLOAD_DREG, registerHeader) })
}

// storeHeader changes an IPv4 header, and its checksum.
func storeHeader(at, octets uint32) expression {
	return header(at, octets, func(ae *attributes) {
		ae.Uint32(unix.NFTA_PAYLOAD_SREG, registerHeader)
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_TYPE, unix.NFT_PAYLOAD_CSUM_INET)
		ae.Uint32(unix.NFTA_PAYLOAD_CSUM_OFFSET, 10)
	})
}

// duplicate sends a copy of the packet to the address and the device in their
// registers, from the output hook on.
func duplicate() expression {
	return expression{"dup", func(ae *attributes) {
		ae.Uint32(unix.NFTA_DUP_SREG_ADDR, registerHeader)
		ae.Uint32(unix.NFTA_DUP_SREG_DEV, registerDevice)
	}}
}

// countIn counts in the element of a set that a register names, and makes it.
func countIn(set string, register uint32) expression {
	return expression{"dynset", func(ae *attributes) {
		ae.String(unix.NFTA_DYNSET_SET_NAME, set)
		ae.Uint32(unix.NFTA_DYNSET_OP, unix.NFT_DYNSET_OP_UPDATE)
		ae.Uint32(unix.NFTA_DYNSET_SREG_KEY, register)
		nested(ae, unix.NFTA_DYNSET_EXPR, counter().put)
	}}
}

// counter counts what an element is found for.
func counter() expression {
	return expression{"counter", func(ae *attributes) {
		ae.Uint64(unix.NFTA_COUNTER_BYTES, 0)
		ae.Uint64(unix.NFTA_COUNTER_PACKETS, 0)
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
