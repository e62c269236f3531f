package throughput

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/bench/rig"
)

const (
	// udpBuffer is the receiver's socket buffer.
	udpBuffer = 8 << 20
	// receiveBatch is how many datagrams it takes from the kernel at once.
	receiveBatch = 64
	// patience is after how long without a datagram no more is waited for.
	patience = 100 * time.Millisecond
)

// udpReceiver counts datagrams until its socket is closed.
type udpReceiver struct {
	conn *net.UDPConn
	base time.Time // what the stamps count from

	packets, octets atomic.Uint64
	// What follows is read when run has ended.
	newest     []uint64 // by flow
	disordered uint64
	late       histogram
}

// enlarge sets the buffer, beyond what the system allows everybody.
func (r *udpReceiver) enlarge() error {
	raw, err := r.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("enlarge the receiver's buffer: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, udpBuffer)
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("enlarge the receiver's buffer: %w", err)
	}
	return nil
}

func (r *udpReceiver) run() {
	conn := ipv4.NewPacketConn(r.conn)
	ms := make([]ipv4.Message, receiveBatch)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 1<<16)}
	}
	for {
		n, err := conn.ReadBatch(ms, 0)
		if err != nil {
			return
		}
		now := time.Since(r.base)
		octets := uint64(0)
		for _, m := range ms[:n] {
			octets += uint64(m.N)
			r.note(m.Buffers[0][:m.N], now)
		}
		r.octets.Add(octets)
		r.packets.Add(uint64(n))
	}
}

// note looks at a datagram's stamp.
func (r *udpReceiver) note(b []byte, now time.Duration) {
	if len(b) < stamp {
		return
	}
	r.late.add(now - time.Duration(binary.BigEndian.Uint64(b)))
	flow, number := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint64(b[12:])
	switch {
	case int(flow) >= len(r.newest):
	case number < r.newest[flow]:
		r.disordered++
	default:
		r.newest[flow] = number
	}
}

// drain waits for the last of so many datagrams, until none has come for a while.
func (r *udpReceiver) drain(ctx context.Context, sent uint64) {
	for r.packets.Load() < sent {
		before := r.packets.Load()
		if rig.Rest(ctx, patience) != nil || r.packets.Load() == before {
			return
		}
	}
}

// histogram counts durations, to one part in 16 exactly. The zero value is empty.
type histogram struct {
	counts [64 * 16]uint64
	n      uint64
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.n++
}

// bucket has the exponent and the four bits after the first one.
func bucket(v uint64) int {
	if v < 16 {
		return int(v)
	}
	e := bits.Len64(v) - 5
	return (e+1)*16 + int(v>>e&15)
}

// quantile is a duration that the part q of all do not exceed; 0 of none.
func (h *histogram) quantile(q float64) time.Duration {
	left := uint64(q * float64(h.n))
	for i, n := range h.counts {
		if n > left {
			if i < 16 {
				return time.Duration(i)
			}
			e := i/16 - 1
			return time.Duration((uint64(16+i%16)+1)<<e - 1)
		}
		left -= n
	}
	return 0
}
