//go:build dpdk

package loop

/*
#cgo pkg-config: libdpdk
#cgo CFLAGS: -D_GNU_SOURCE -DEVG_LOOP -DALLOW_EXPERIMENTAL_API -O3 -Wall -Wextra
#cgo LDFLAGS: -lrte_bus_vdev -lpthread
#cgo amd64 LDFLAGS: -lIPSec_MB
#include <stdlib.h>
#include "loop.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// StartEAL starts DPDK's environment abstraction layer with its own arguments, the
// program's name first. It works once in a process.
func StartEAL(args []string) error {
	argv := make([]*C.char, len(args)+1)
	for i, a := range args {
		argv[i] = C.CString(a) // EAL keeps them
	}
	array := (**C.char)(C.calloc(C.size_t(len(argv)), C.size_t(unsafe.Sizeof(argv[0]))))
	copy(unsafe.Slice(array, len(argv)), argv)
	if err := errnoOf(C.evg_eal_start(C.int(len(args)), array)); err != nil {
		return fmt.Errorf("loop: start eal with %q: %w", args, err)
	}
	return nil
}

// ErrNoDevice says that DPDK has no driver for a virtual device, or that the driver did
// not make it. DPDK tells no reason.
var ErrNoDevice = errors.New("no driver made it")

// AddDevice makes a virtual device: "net_af_packet0" with "iface=wan". The error may
// be ErrNoDevice.
func AddDevice(name, args string) error {
	n, a := C.CString(name), C.CString(args)
	defer free(n)
	defer free(a)
	switch err := errnoOf(C.evg_vdev_add(n, a)); {
	case errors.Is(err, unix.EPERM): // which is -1, and all that DPDK says
		return fmt.Errorf("loop: make device %s with %q: %w", name, args, ErrNoDevice)
	case err != nil:
		return fmt.Errorf("loop: make device %s with %q: %w", name, args, err)
	}
	return nil
}

// RemoveDevice ends a virtual device that AddDevice made.
func RemoveDevice(name string) error {
	n := C.CString(name)
	defer free(n)
	if err := errnoOf(C.evg_vdev_remove(n)); err != nil {
		return fmt.Errorf("loop: remove device %s: %w", name, err)
	}
	return nil
}

// A Cryptodev is a device that encrypts.
type Cryptodev struct {
	// Index is its number.
	Index int
	Name  string
	// Hardware: it is more than a library. CPU: calls return with the result.
	Hardware, CPU bool
	// MaxSessions is how many SAs it holds, 0 for no limit.
	MaxSessions int
}

// StartCryptodevs makes all cryptodevs of the process ready, once, and lists them.
func StartCryptodevs() ([]Cryptodev, error) {
	n := C.evg_cryptodevs_start()
	if err := errnoOf(n); err != nil {
		return nil, fmt.Errorf("loop: start cryptodevs: %w", err)
	}
	var out []Cryptodev
	for i := range int(n) {
		var d C.struct_evg_cryptodev
		if err := errnoOf(C.evg_cryptodev_describe(C.int(i), &d)); err != nil {
			return nil, fmt.Errorf("loop: describe cryptodev %d: %w", i, err)
		}
		out = append(out, Cryptodev{
			Index: i, Name: C.GoString(&d.name[0]), Hardware: bool(d.hardware), CPU: bool(d.cpu), MaxSessions: int(d.max_sessions),
		})
	}
	return out, nil
}

func free(s *C.char) { C.free(unsafe.Pointer(s)) }

// errnoOf is the error of a negative errno value, nil for others.
func errnoOf(n C.int) error {
	if n >= 0 {
		return nil
	}
	return unix.Errno(-n)
}
