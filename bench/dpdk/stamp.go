//go:build dpdk

package main

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -D_GNU_SOURCE -DEVG_LOOP -O3 -Wall -Wextra
#include <stdlib.h>
#include "stamp.h"
*/
import "C"

import (
	"fmt"
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamped is a port of net_null that plays packets of some flows by turns.
type stamped struct{ c *C.struct_stamp }

// stamp makes packets of what a port of net_null hands out: UDP of IPv4, of a size,
// for that port.
func stamp(device string, octets int) (*stamped, error) {
	name := C.CString(device)
	defer C.free(unsafe.Pointer(name))
	mac := make([]byte, 6)
	if n := C.stamp_address(name, (*C.uint8_t)(&mac[0])); n < 0 {
		return nil, fmt.Errorf("ask %s for its address: %w", device, unix.Errno(-n))
	}
	var heads []byte
	for i := range flows {
		heads = append(heads, frame(net.HardwareAddr(mac), octets, byte(i))[:C.STAMP_OCTETS]...)
	}
	var n C.int
	s := C.stamp_start(name, (*C.uint8_t)(&heads[0]), &n)
	if s == nil {
		return nil, fmt.Errorf("have %s play packets: %w", device, unix.Errno(-n))
	}
	return &stamped{s}, nil
}

// stop is for before the port's end, free for after it.
func (s *stamped) stop() { C.stamp_stop(s.c) }
func (s *stamped) free() { C.stamp_free(s.c) }
