package netlab

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Pinging is a series of echo requests that goes on until Stop, whatever comes
// of each. Ping(8) has the kernel's tick for a clock; this one keeps its
// interval.
type Pinging struct {
	tb     TB
	echo   echo
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	sent    []time.Time // by sequence number, from 1
	replies []Reply
	got     map[int]bool
}

// Reply is the answer to one echo request.
type Reply struct {
	Sequence int // of the request, from 1
	Sent, At time.Time
}

// PingAccount is what came of a series.
type PingAccount struct {
	// Replies are in the order of their arrival, without duplicates.
	Replies []Reply
	// Lost are the requests without a reply, of those before the last that has
	// one: what was sent after it may have been under way.
	Lost []int
}

// Pinging starts to send echo requests over IPv4, one at each interval, at most
// 65535. from is an address of the namespace.
func (n *Namespace) Pinging(to, from string, every time.Duration) *Pinging {
	tb := n.lab.tb
	tb.Helper()
	p := &Pinging{tb: tb, echo: echo{request: 8, reply: 0}, sent: make([]time.Time, 1), got: make(map[int]bool)}
	rand.Read(p.echo.id[:]) // never fails
	dst, err := net.ResolveIPAddr("ip4", to)
	if err == nil {
		err = n.Do(func() (err error) {
			p.echo.conn, err = net.ListenIP("ip4:icmp", &net.IPAddr{IP: net.ParseIP(from)})
			return err
		})
	}
	if err != nil {
		tb.Fatalf("netlab: ping %s from %s in %s: %v", to, from, n.name, err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	p.cancel = cancel
	p.done.Go(func() { p.send(ctx, dst, every) })
	p.done.Go(p.receive)
	tb.Cleanup(p.close)
	return p
}

func (p *Pinging) send(ctx context.Context, to *net.IPAddr, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for sequence := 1; sequence < 1<<16; sequence++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		request := p.echo.message(p.echo.request, uint16(sequence))
		binary.BigEndian.PutUint16(request[2:], checksum(request))
		p.mu.Lock()
		p.sent = append(p.sent, time.Now())
		p.mu.Unlock()
		// A request that cannot be sent is one without a reply.
		if _, err := p.echo.conn.WriteTo(request, to); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

func (p *Pinging) receive() {
	in := make([]byte, 1<<16)
	for {
		n, _, err := p.echo.conn.ReadFrom(in)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 || in[0] != p.echo.reply || [2]byte(in[4:6]) != p.echo.id {
			continue // somebody else's
		}
		p.answered(int(binary.BigEndian.Uint16(in[6:])), time.Now())
	}
}

func (p *Pinging) answered(sequence int, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sequence < 1 || sequence >= len(p.sent) || p.got[sequence] {
		return
	}
	p.got[sequence] = true
	p.replies = append(p.replies, Reply{Sequence: sequence, Sent: p.sent[sequence], At: at})
}

// WaitFor waits until n more requests are answered than at the call, and ends the
// test when they are not within limit.
func (p *Pinging) WaitFor(n int, limit time.Duration) {
	p.tb.Helper()
	before := len(p.Account().Replies)
	Eventually(p.tb, limit, fmt.Sprintf("%d more echo requests are answered", n), func() error {
		if got := len(p.Account().Replies) - before; got < n {
			return fmt.Errorf("%d were", got)
		}
		return nil
	})
}

// Account is what came of the series so far.
func (p *Pinging) Account() PingAccount {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := PingAccount{Replies: slices.Clone(p.replies)}
	last := 0
	for _, r := range a.Replies {
		last = max(last, r.Sequence)
	}
	for sequence := 1; sequence < last; sequence++ {
		if !p.got[sequence] {
			a.Lost = append(a.Lost, sequence)
		}
	}
	return a
}

// Stop ends the series and accounts for it.
func (p *Pinging) Stop() PingAccount {
	p.close()
	return p.Account()
}

// close ends both goroutines. It may be called again.
func (p *Pinging) close() {
	p.cancel()
	p.echo.conn.Close()
	p.done.Wait()
}
