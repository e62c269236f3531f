package xfrmnl

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// native and network are the byte orders of the kernel's structures.
var (
	native  = binary.NativeEndian
	network = binary.BigEndian
)

var errShort = errors.New("message too short")

// family is that of the kernel; of an invalid address it is none.
func family(a netip.Addr) uint16 {
	switch {
	case a.Is4():
		return unix.AF_INET
	case a.Is6():
		return unix.AF_INET6
	default:
		return unix.AF_UNSPEC
	}
}

// putAddr writes an xfrm_address_t; an invalid address is the unspecified one.
func putAddr(b []byte, a netip.Addr) { copy(b[:sizeAddress], a.AsSlice()) }

// addrOf reads an xfrm_address_t; in no family it is invalid.
func addrOf(b []byte, fam uint16) netip.Addr {
	switch fam {
	case unix.AF_INET:
		return netip.AddrFrom4([4]byte(b[:4]))
	case unix.AF_INET6:
		return netip.AddrFrom16([16]byte(b[:16]))
	default:
		return netip.Addr{}
	}
}
