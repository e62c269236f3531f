package throughput

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/netlab"
)

const (
	testPort = 5001
	// chunk is what a sender writes and a receiver reads at once, in octets.
	chunk = 256 << 10
	// warmUp is how much of a test's length passes before it: connections find
	// their speed.
	warmUp = 0.25
)

// tcp sends over n connections at once, and probes beside them.
func (p *pair) tcp(ctx context.Context, n int, length time.Duration) (f Figures, err error) {
	l, err := p.client.ns.Listen(fmt.Sprintf("0.0.0.0:%d", testPort))
	if err != nil {
		return f, fmt.Errorf("listen: %w", err)
	}
	var received atomic.Uint64
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer l.Close()
	tasks.Go(func() { accept(l, &received, &tasks) })
	for i := range n {
		to := netip.AddrPortFrom(clientAddr(i%p.sas), testPort)
		conn, err := p.gateway.ns.Dial(ctx, "tcp", senderAddr, to.String())
		if err != nil {
			return f, fmt.Errorf("connect: %w", err)
		}
		defer conn.Close()
		tasks.Go(func() { pump(conn) })
	}
	c, err := p.begin(probes())
	if err != nil {
		return f, err
	}
	w, err := p.watch(ctx, length, received.Load)
	c.end(ctx)
	if err != nil {
		return f, err
	}
	f = w.figures()
	c.late(&f)
	return f, nil
}

// accept counts what comes over the connections of l until all of them end.
func accept(l net.Listener, received *atomic.Uint64, tasks *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		tasks.Go(func() {
			defer conn.Close()
			b := make([]byte, chunk)
			for {
				n, err := conn.Read(b)
				received.Add(uint64(n))
				if err != nil {
					return
				}
			}
		})
	}
}

// pump writes until the connection is closed.
func pump(conn net.Conn) {
	b := make([]byte, chunk)
	for {
		if _, err := conn.Write(b); err != nil {
			return
		}
	}
}

// window is what happened while a measurement ran.
type window struct {
	length          time.Duration
	count           uint64
	gateway, client time.Duration // processor time
	idle            float64       // part of the time of all processors
}

// watch waits for the first octets and the warm-up, and then measures for a time
// by how much counter grows.
func (p *pair) watch(ctx context.Context, length time.Duration, counter func() uint64) (w window, err error) {
	if err := grow(ctx, counter, 0); err != nil {
		return w, err
	}
	if err := rig.Rest(ctx, time.Duration(warmUp*float64(length))); err != nil {
		return w, err
	}
	began, count := time.Now(), counter()
	gateway, client, err1 := p.cpu()
	processors, err2 := rig.LookAtProcessors()
	// A machine with much else to do may need longer for anything at all.
	if err := errors.Join(err1, err2, rig.Rest(ctx, length), grow(ctx, counter, count)); err != nil {
		return w, err
	}
	w.length, w.count = time.Since(began), counter()-count
	gatewayEnd, clientEnd, err1 := p.cpu()
	w.gateway, w.client = gatewayEnd-gateway, clientEnd-client
	now, err2 := rig.LookAtProcessors()
	w.idle = now.IdleSince(processors)
	return w, errors.Join(err1, err2)
}

// grow waits until a counter is above a count.
func grow(ctx context.Context, counter func() uint64, count uint64) error {
	return netlab.Poll(ctx, startLimit, func() error {
		if counter() <= count {
			return io.ErrNoProgress
		}
		return nil
	})
}

// figures of a window that counted octets of payload.
func (w window) figures() Figures {
	gb := float64(w.count) / 1e9
	return Figures{
		Bits:    float64(w.count) * 8 / w.length.Seconds(),
		Gateway: w.gateway.Seconds() / gb, Client: w.client.Seconds() / gb,
		Idle: w.idle,
	}
}
