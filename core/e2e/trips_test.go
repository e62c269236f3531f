package e2e_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// trips are round trips between many clients' networks and the server, over UDP.
type trips struct {
	t       *testing.T
	server  *net.UDPConn
	clients []net.Conn
	// answered is the last round of each client that the server has answered.
	answered []atomic.Uint64
	round    uint64
	readers  sync.WaitGroup
}

// again is when a round trip that has no answer is tried once more.
const again = 200 * time.Millisecond

func startTrips(t *testing.T, site *gateway.GroupSite, n int) *trips {
	t.Helper()
	server, err := site.Server.ListenUDP(net.JoinHostPort(gateway.ServerLoopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	r := &trips{t: t, server: server, answered: make([]atomic.Uint64, n)}
	t.Cleanup(r.end)
	r.readers.Go(r.serve)
	for i := range n {
		c, err := site.Client.Dial(t.Context(), "udp", inner(i), server.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		r.clients = append(r.clients, c)
		r.readers.Go(func() { r.read(i, c) })
	}
	return r
}

// serve returns what comes.
func (r *trips) serve() {
	b := make([]byte, 64)
	for {
		n, from, err := r.server.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = r.server.WriteTo(b[:n], from) // what is lost is tried again
		}
	}
}

func (r *trips) read(i int, c net.Conn) {
	b := make([]byte, 64)
	for {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n == 8 {
			r.answered[i].Store(max(r.answered[i].Load(), binary.BigEndian.Uint64(b)))
		}
	}
}

// wantAnswers waits until the server has answered every client once more.
func (r *trips) wantAnswers(when string) {
	r.t.Helper()
	r.round++
	request := binary.BigEndian.AppendUint64(nil, r.round)
	var sent time.Time
	netlab.Eventually(r.t, time.Minute, "the server answers all clients, "+when, func() error {
		send, missing := time.Since(sent) > again, 0
		if send {
			sent = time.Now()
		}
		for i, c := range r.clients {
			if r.answered[i].Load() >= r.round {
				continue
			}
			missing++
			if send {
				_, _ = c.Write(request) // what is lost is tried again
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d have no answer", missing, len(r.clients))
		}
		return nil
	})
}

// end closes all sockets. It may be called again.
func (r *trips) end() {
	r.server.Close()
	for _, c := range r.clients {
		c.Close()
	}
	r.readers.Wait()
}
