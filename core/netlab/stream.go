package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Stream describes numbered UDP datagrams at a steady pace. From, To and Dest
// are required.
type Stream struct {
	From   *Namespace
	Source string // address of From, "" for the one that routing chooses
	To     *Namespace
	Dest   string        // address of To
	Every  time.Duration // default 2 ms
	Size   int           // octets of UDP payload, default and at least 8
}

// StreamResult accounts for every datagram of a stream. RFC 4737 defines when
// one is reordered: a later one arrived before it.
type StreamResult struct {
	Sent, Received, Duplicated, Reordered int
	Lost                                  []uint64 // sequence numbers, from 0
}

// Err returns nil when every datagram arrived, once. Order is nobody's promise: a host
// of several processors that is busy overtakes itself.
func (r StreamResult) Err() error {
	if r.Sent > 0 && len(r.Lost) == 0 && r.Duplicated == 0 {
		return nil
	}
	return fmt.Errorf("of %d datagrams %d were lost (%v), %d duplicated, %d reordered",
		r.Sent, len(r.Lost), r.Lost[:min(len(r.Lost), 20)], r.Duplicated, r.Reordered)
}

// maxStream bounds a stream and so the memory of its account.
const maxStream = 1 << 22

// streamGrace is for how long a datagram may be under way.
const streamGrace = 3 * time.Second

// Streaming is a stream that runs. Stop ends it.
type Streaming struct {
	tb        TB
	every     time.Duration
	out       net.Conn
	in        *net.UDPConn
	cancel    context.CancelFunc // ends the sender
	sender    sync.WaitGroup
	receiver  sync.WaitGroup
	closeOnce sync.Once
	closed    chan struct{}

	mu      sync.Mutex
	sent    int
	seen    []uint8 // arrivals per sequence number
	got     int     // sequence numbers that arrived at least once
	highest int     // the next sequence number in order
	late    int
	err     error // the last one of sending
}

// Start starts the stream. It ends with Stop, with the test, or after four
// million datagrams.
func (s Stream) Start(tb TB) *Streaming {
	tb.Helper()
	if s.Every == 0 {
		s.Every = 2 * time.Millisecond
	}
	in, err := s.To.ListenUDP(net.JoinHostPort(s.Dest, "0"))
	if err == nil {
		err = deepen(in)
	}
	if err != nil {
		tb.Fatalf("netlab: stream: listen: %v", err)
	}
	out, err := s.From.Dial(tb.Context(), "udp", s.Source, in.LocalAddr().String())
	if err != nil {
		in.Close()
		tb.Fatalf("netlab: stream: %v", err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	run := &Streaming{tb: tb, every: s.Every, in: in, out: out, cancel: cancel, closed: make(chan struct{})}
	run.receiver.Go(run.receive)
	run.sender.Go(func() { run.send(ctx, s.Every, max(s.Size, 8)) })
	tb.Cleanup(run.close)
	return run
}

// streamBuffer is what may wait for a receiver that gets no processor, in octets as the
// kernel counts them, several hundred for a datagram: seconds of any stream here.
const streamBuffer = 8 << 20

// deepen lets a socket hold more than net.core.rmem_max, so that what is lost was lost
// on the way.
func deepen(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, streamBuffer)
	})
	return errors.Join(err, set)
}

func (s *Streaming) send(ctx context.Context, every time.Duration, size int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	payload := make([]byte, size)
	for sequence := range maxStream {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		binary.BigEndian.PutUint64(payload, uint64(sequence))
		s.mu.Lock()
		s.sent++
		s.mu.Unlock()
		// An error here is a datagram that does not arrive, and counted as
		// that: no route yet, or the port unreachable message of an earlier one.
		_, err := s.out.Write(payload)
		if err != nil && errors.Is(err, net.ErrClosed) {
			return
		}
		s.note(err)
	}
}

// note keeps the last error of sending, to explain losses.
func (s *Streaming) note(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *Streaming) receive() {
	b := make([]byte, 1<<16)
	for {
		n, err := s.in.Read(b)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err == nil && n >= 8:
			s.arrived(binary.BigEndian.Uint64(b))
		}
	}
}

func (s *Streaming) arrived(sequence uint64) {
	if sequence >= maxStream {
		return // not ours
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int(sequence)
	for len(s.seen) <= n {
		s.seen = append(s.seen, 0)
	}
	if s.seen[n] == 0 {
		s.got++
	}
	s.seen[n] = min(s.seen[n]+1, 254)
	if n < s.highest && s.seen[n] == 1 {
		s.late++
	}
	s.highest = max(s.highest, n+1)
}

// Result accounts for the stream so far. Datagrams under way count as lost.
func (s *Streaming) Result() StreamResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := StreamResult{Sent: s.sent, Reordered: s.late}
	for n := range s.sent {
		if n >= len(s.seen) || s.seen[n] == 0 {
			r.Lost = append(r.Lost, uint64(n))
			continue
		}
		r.Received++
		r.Duplicated += int(s.seen[n]) - 1
	}
	return r
}

// WaitFor waits until n more datagrams have arrived than at the call: the
// stream flows. It ends the test when they do not within limit.
func (s *Streaming) WaitFor(n int, limit time.Duration) {
	s.tb.Helper()
	before := s.arrivals()
	Eventually(s.tb, limit, fmt.Sprintf("%d more datagrams of the stream arrive", n), func() error {
		if got := s.arrivals() - before; got < n {
			s.mu.Lock()
			defer s.mu.Unlock()
			return fmt.Errorf("%d arrived, %d were sent in all, last error of sending: %w", got, s.sent, orNone(s.err))
		}
		return nil
	})
}

func (s *Streaming) arrivals() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got
}

var errNone = errors.New("none")

func orNone(err error) error {
	if err == nil {
		return errNone
	}
	return err
}

// Stop ends the stream, waits a moment for the last datagrams, and accounts
// for all of them.
func (s *Streaming) Stop() StreamResult {
	s.cancel()
	s.sender.Wait()
	select {
	case <-s.closed: // by an earlier call
		return s.Result()
	default:
	}
	// The error says that datagrams are missing; so does the account. Those of long ago
	// have had their time.
	_ = Poll(context.WithoutCancel(s.tb.Context()), streamGrace, func() error {
		r := s.Result()
		if n := len(r.Lost); n > 0 && int(r.Lost[n-1]) >= r.Sent-int(streamGrace/s.every) {
			return r.Err()
		}
		return nil
	})
	s.close()
	return s.Result()
}

// close ends both goroutines. It may be called again.
func (s *Streaming) close() {
	s.cancel()
	s.closeOnce.Do(func() {
		close(s.closed)
		s.in.Close()
		s.out.Close()
	})
	s.sender.Wait()
	s.receiver.Wait()
}
