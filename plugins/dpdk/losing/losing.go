//go:build dpdk

package losing

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -D_GNU_SOURCE -DEVG_LOOP -DALLOW_EXPERIMENTAL_API -O3 -Wall -Wextra
#include <stdlib.h>
#include "losing.h"
*/
import "C"

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Device keeps what it should give back.
type Device struct{ c *C.struct_losing }

// Start has the first queue of a cryptodev keep the next n operations. It has to have
// been started, by a Configure, and Stop ends it.
func Start(name string, n int) (*Device, error) {
	s := C.CString(name)
	defer C.free(unsafe.Pointer(s))
	var err C.int
	c := C.losing_start(s, C.uint32_t(n), &err)
	if c == nil {
		return nil, fmt.Errorf("losing: take hold of %s: %w", name, unix.Errno(-err))
	}
	return &Device{c}, nil
}

// Relent has the device do what was kept, when its queue is polled next, and give it
// back after that.
func (d *Device) Relent() { C.losing_relent(d.c) }

// Stop is for after the last operation. It returns how many of those that were kept were
// not done, or not with success.
func (d *Device) Stop() (undone int) { return int(C.losing_stop(d.c)) }
