package device

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The classic BPF programs that spread packets over queues by SPI, so that all
// packets of an SA meet the same goroutine and stay in order. The top bits of an
// SPI are the member's, the low ones random.

// Classic BPF opcodes (linux/filter.h).
const (
	bpfLoadWord      = 0x20 // ld [k]
	bpfLoadWordIndex = 0x40 // ld [x+k]
	bpfLoadIHL       = 0xb1 // ldx 4*([k]&0xf)
	bpfMod           = 0x94 // mod #k
	bpfJumpEqual     = 0x15 // jeq #k, jt, jf
	bpfReturn        = 0x06 // ret #k
	bpfReturnA       = 0x16 // ret a
)

// steer picks the socket of a reuseport group: the SPI is at the start of the
// payload. IKE, with its marker of zeros, goes to the first queue, as does what
// is too short.
func (s *Socket) steer() error {
	program := []unix.SockFilter{{Code: bpfReturn, K: 0}}
	if s.Queues > 1 {
		program = []unix.SockFilter{
			{Code: bpfLoadWord, K: 0},
			{Code: bpfMod, K: uint32(s.Queues)},
			{Code: bpfReturnA},
		}
	}
	return s.attach(unix.SO_ATTACH_REUSEPORT_CBPF, program)
}

// filter lets a raw socket have the packets of its queue, or none.
func (s *Socket) filter() error {
	const all = 1 << 18
	switch {
	case !s.Whole:
		return s.attach(unix.SO_ATTACH_FILTER, []unix.SockFilter{{Code: bpfReturn, K: 0}})
	case s.Queues <= 1:
		return nil
	}
	load := []unix.SockFilter{{Code: bpfLoadWord, K: 0}} // IPv6: the payload
	if s.Local.Is4() {                                   // IPv4: the IP header first
		load = []unix.SockFilter{{Code: bpfLoadIHL, K: 0}, {Code: bpfLoadWordIndex, K: 0}}
	}
	return s.attach(unix.SO_ATTACH_FILTER, append(load,
		unix.SockFilter{Code: bpfMod, K: uint32(s.Queues)},
		unix.SockFilter{Code: bpfJumpEqual, Jt: 0, Jf: 1, K: uint32(s.Queue)},
		unix.SockFilter{Code: bpfReturn, K: all},
		unix.SockFilter{Code: bpfReturn, K: 0},
	))
}

func (s *Socket) attach(how int, program []unix.SockFilter) error {
	p := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.SetsockoptSockFprog(s.fd, unix.SOL_SOCKET, how, &p); err != nil {
		return fmt.Errorf("attach a packet filter: %w", err)
	}
	return nil
}
