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
	"runtime"
	"runtime/cgo"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamped is a port of net_null that plays packets of some flows by turns.
type stamped struct {
	c      *C.struct_stamp
	sealer cgo.Handle // 0 without one
}

// stamp makes packets of what a port of net_null hands out: UDP of IPv4, of a size,
// for that port. With s they are in ESP.
func stamp(device string, octets int, s *sealer) (*stamped, error) {
	name := C.CString(device)
	defer C.free(unsafe.Pointer(name))
	mac := make([]byte, 6)
	if n := C.stamp_address(name, (*C.uint8_t)(&mac[0])); n < 0 {
		return nil, fmt.Errorf("ask %s for its address: %w", device, unix.Errno(-n))
	}
	var heads []byte
	var out stamped
	head := C.struct_stamp_head{octets: C.uint32_t(innerHead), esp: outerHead}
	if s != nil {
		head.octets = C.uint32_t(outerHead + s.cipher.HeaderLen() + innerHead - etherHead)
		out.sealer = cgo.NewHandle(s)
		head.sealer = C.uintptr_t(out.sealer)
	}
	for i := range flows {
		f := frame(net.HardwareAddr(mac), ipv4(octets, byte(i)))
		if s != nil {
			f = frame(net.HardwareAddr(mac), s.around(f[etherHead:]))
		}
		heads = append(heads, f[:head.octets]...)
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&heads[0])
	head.heads = (*C.uint8_t)(&heads[0])
	var n C.int
	if out.c = C.stamp_start(name, &head, &n); out.c == nil {
		out.forget()
		return nil, fmt.Errorf("have %s play packets: %w", device, unix.Errno(-n))
	}
	return &out, nil
}

// spent is how much of the worker's processor time it took to seal packets.
func (s *stamped) spent() time.Duration { return time.Duration(C.stamp_spent(s.c)) }

// stop is for before the port's end, free for after it.
func (s *stamped) stop() { C.stamp_stop(s.c) }

func (s *stamped) free() {
	C.stamp_free(s.c)
	s.forget()
}

func (s *stamped) forget() {
	if s.sealer != 0 {
		s.sealer.Delete()
	}
}

// sealPackets seals the next n packets, each from one of the places at on, where its
// header and that of its inner packet are.
//
//export sealPackets
func sealPackets(handle C.uintptr_t, at **C.uint8_t, n C.uint32_t) {
	s, is := cgo.Handle(handle).Value().(*sealer)
	for i := 0; is && i < int(n); i++ {
		p := unsafe.Slice(at, n)[i]
		s.seal(unsafe.Slice((*byte)(p), s.cipher.Len(s.payload)))
	}
}
