//go:build dpdk

package dpdk_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/dpdk"
)

// TestMemifIsAPort joins two gateways on DPDK by shared memory: nothing but the
// tunnel's ends passes the kernel. One that starts again finds the other.
func TestMemifIsAPort(t *testing.T) {
	dir := t.TempDir()
	listens, calls := filepath.Join(dir, "memif"), filepath.Join(dir, "same") // a process has one socket of a name
	if err := os.Symlink(listens, calls); err != nil {
		t.Fatal(err)
	}
	lab := netlab.New(t)
	a, b := newEnd(lab.Namespace("server"), 1), newEnd(lab.Namespace("client"), 2)
	a.share(t, b, "role=server,socket="+listens+",mac=02:00:00:00:01:01")
	b.share(t, a, "role=client,socket="+calls+",mac=02:00:00:00:01:02")
	connect(t, a, b, gcm, 1, true)
	a.ping(t, b, netlab.Ping{Size: 1000})
	b.ping(t, a, netlab.Ping{Size: 3000})

	if err := b.engine.(*dpdk.Engine).Close(); err != nil {
		t.Fatalf("The dataplane did not end cleanly: %v.", err)
	}
	a.forget(t)
	b.share(t, a, "role=client,socket="+calls+",mac=02:00:00:00:01:02")
	connect(t, a, b, gcm, 1, true)
	a.ping(t, b, netlab.Ping{Size: 1000})
}

// share starts a dataplane whose port is shared memory.
func (e *end) share(t *testing.T, other *end, memif string) {
	t.Helper()
	e.run(t, inProcess, map[string]string{
		"ports":           fmt.Sprintf("net_memif%d,socket-abstract=no,%s", planes.Add(1), memif),
		"host-interfaces": "wan", "buffers": "2048", "max-sas": "64",
	})
	e.route(t, other)
}

// forget deletes all SAs.
func (e *end) forget(t *testing.T) {
	t.Helper()
	var ids []ipsec.SAID
	for c, err := range e.engine.Export(t.Context(), offload.AllGroups) {
		if err != nil {
			t.Fatalf("Export failed: %v.", err)
		}
		ids = append(ids, c.ID)
	}
	if _, err := e.engine.Delete(t.Context(), offload.NewEpoch(1, 1), ids...); err != nil {
		t.Fatalf("Delete failed: %v.", err)
	}
}

// streams is how many flows TestWorkersShareThePackets has, streamLen how many packets
// each has.
const (
	streams   = 16
	streamLen = 100
)

// TestWorkersShareThePackets has two workers carry many flows of one tunnel, in both
// directions and through fragments: each worker has its part, and no flow's packets
// change places on their way out. On their way in they may: the kernel has packet
// sockets help each other when one is full.
func TestWorkersShareThePackets(t *testing.T) {
	a, b := newPair(t, map[string]string{"workers": "2"})
	connect(t, a, b, cbc, 0, true)
	a.ping(t, b, netlab.Ping{Size: 4000})
	a.stream(t, b, true)
	b.stream(t, a, false)
	stats, err := a.engine.(*dpdk.Engine).Stats(t.Context())
	if err != nil {
		t.Fatalf("Stats failed: %v.", err)
	}
	busy := 0
	for _, s := range stats {
		if strings.HasPrefix(s.Name, "worker") && s.Value > 0 {
			busy++
		}
	}
	if busy != 2 {
		t.Errorf("Two workers should have carried something, got %v.", stats)
	}
}

// TestWorkersShareAQueue has two workers carry what arrives at the one queue of a port,
// for the host and from it: each has its part, and flows keep their order.
func TestWorkersShareAQueue(t *testing.T) {
	a, b := newPair(t, map[string]string{"workers": "2", "ports": fmt.Sprintf("net_af_packet%d,iface=wire,qpairs=1", planes.Add(1))})
	a.inner, b.inner = a.outer, b.outer // what neither tunnels nor the TUN device see
	a.ping(t, b, netlab.Ping{Size: 56}) // packets that wait for a neighbour overtake each other
	b.stream(t, a, true)
	for i := range 2 {
		if name := fmt.Sprintf("worker%d", i); a.stats(t)[name] < streamLen {
			t.Errorf("Of %d flows, each worker should have carried some, got %v.", streams, a.stats(t))
		}
	}
	a.stream(t, b, true)
}

// stream sends numbered packets of many flows, and wants many of each, in order where
// that is said. Some may be lost, as any queue can be full.
func (e *end) stream(t *testing.T, to *end, ordered bool) {
	t.Helper()
	var in *net.UDPConn
	err := to.ns.Do(func() (err error) {
		in, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.inner[0], suitePort)))
		return err
	})
	if err != nil {
		t.Fatalf("No socket: %v.", err)
	}
	defer func() { _ = in.Close() }() // it has read what it wanted
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	for range streams {
		err := e.ns.Do(func() error {
			out, err := net.DialUDP("udp4", &net.UDPAddr{IP: e.inner[0].AsSlice()}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to.inner[0], suitePort)))
			if err == nil {
				sending.Go(func() { number(ctx, out) })
			}
			return err
		})
		if err != nil {
			t.Fatalf("No socket: %v.", err)
		}
	}
	await(t, in, ordered)
}

// number sends packets that count, until ctx ends.
func number(ctx context.Context, to *net.UDPConn) {
	defer func() { _ = to.Close() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := uint64(1); ctx.Err() == nil; n++ {
		_, _ = to.Write(binary.BigEndian.AppendUint64(nil, n)) // a queue may be full
		<-tick.C
	}
}

// await reads until enough packets of every flow have come.
func await(t *testing.T, from *net.UDPConn, ordered bool) {
	t.Helper()
	last, got := make(map[netip.AddrPort]uint64), make(map[netip.AddrPort]int)
	b := make([]byte, 64)
	for done := 0; done < streams; {
		if err := from.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, flow, err := from.ReadFromUDPAddrPort(b)
		if err != nil || n != 8 {
			t.Fatalf("Numbers of %d flows should come, got %d octets after %v: %v.", streams, n, got, err)
		}
		at := binary.BigEndian.Uint64(b)
		if ordered && at <= last[flow] {
			t.Errorf("Packet %d of flow %v came after packet %d.", at, flow, last[flow])
		}
		last[flow] = at
		if got[flow]++; got[flow] == streamLen {
			done++
		}
	}
}
