package netlab_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
)

func TestStreamAccountsForEveryDatagram(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	whole := netlab.Stream{From: l.client, To: l.server, Dest: "203.0.113.1", Source: "10.0.0.2", Size: 1000}.Start(t)
	whole.WaitFor(50, limit)
	if err := whole.Stop().Err(); err != nil {
		t.Fatalf("over a network that loses nothing: %v", err)
	}
	if r := whole.Result(); r.Sent < 50 || r.Received != r.Sent {
		t.Fatalf("%d sent and %d received, want at least 50 of each", r.Sent, r.Received)
	}
	loss := l.inside.Drop("meta l4proto udp", netlab.Nth(5))
	holed := netlab.Stream{From: l.client, To: l.server, Dest: "203.0.113.1"}.Start(t)
	holed.WaitFor(20, limit)
	r := holed.Stop()
	if !slices.Equal(r.Lost, []uint64{4}) || r.Reordered != 0 || r.Duplicated != 0 {
		t.Fatalf("the network lost the fifth datagram, but the account says: %v", r.Err())
	}
	if n := loss.Count(); n != 1 {
		t.Fatalf("the rule counted %d lost packets, want 1", n)
	}
}

func TestLossPatterns(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	for name, c := range map[string]struct {
		pattern netlab.Pattern
		want    int
	}{
		"all":         {netlab.All(), 6},
		"the first 2": {netlab.First(2), 2},
		"every third": {netlab.Every(3), 2},
		"the fourth":  {netlab.Nth(4), 1},
	} {
		loss := l.far.Drop("icmp type echo-request", c.pattern)
		r, err := l.client.Ping(t.Context(), netlab.Ping{To: "203.0.113.1", Count: 6, Interval: 10 * time.Millisecond, Wait: time.Second})
		if err != nil || r.Lost() != c.want || loss.Count() != c.want {
			t.Errorf("losing %s of 6: %d replies missing, %d packets counted (error %v), want %d", name, r.Lost(), loss.Count(), err, c.want)
		}
		loss.Remove()
	}
	wantPing(t, l.client, "203.0.113.1")
}

func TestTransferComparesDigests(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	for _, dest := range []string{"203.0.113.1", "2001:db8:1::1"} {
		if _, err := (netlab.Transfer{From: l.client, To: l.server, Dest: dest, Bytes: 1 << 20, Seed: 1}).Run(t.Context()); err != nil {
			t.Errorf("transfer to %s: %v", dest, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	l.far.Drop("meta l4proto tcp", netlab.All())
	if _, err := (netlab.Transfer{From: l.client, To: l.server, Dest: "203.0.113.1", Bytes: 1}).Run(ctx); err == nil {
		t.Error("a transfer over a dead link succeeded")
	}
}

// seen waits for one datagram and returns where it came from.
func seen(t *testing.T, conn *net.UDPConn) netip.AddrPort {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatalf("set a deadline: %v", err)
	}
	_, from, err := conn.ReadFromUDPAddrPort(make([]byte, 100))
	if err != nil {
		t.Fatalf("the datagram does not arrive: %v", err)
	}
	return netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

func TestMasqueradeHidesAndRebinds(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	nat := l.outside.Masquerade()
	server, err := l.server.ListenUDP("192.0.2.2:500")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	defer server.Close()
	client, err := l.client.ListenUDP("10.0.0.2:500")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	defer client.Close()
	send := func() netip.AddrPort {
		t.Helper()
		if _, err := client.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("192.0.2.2:500")); err != nil {
			t.Fatalf("send: %v", err)
		}
		return seen(t, server)
	}
	first := send()
	if first.Addr() != netip.MustParseAddr("192.0.2.1") || first.Port() == 500 {
		t.Fatalf("the server sees %v, want the router's address and another port than 500", first)
	}
	if again := send(); again != first {
		t.Fatalf("the mapping moved from %v to %v by itself", first, again)
	}
	reply := func(to netip.AddrPort) {
		t.Helper()
		if _, err := server.WriteToUDPAddrPort([]byte("y"), to); err != nil {
			t.Fatalf("reply: %v", err)
		}
	}
	reply(first)
	seen(t, client)
	nat.Rebind()
	second := send()
	if second.Port() == first.Port() {
		t.Fatalf("after the rebinding the server still sees %v", second)
	}
	capture := l.near.Capture("udp")
	reply(first) // to the mapping that is no more
	reply(second)
	seen(t, client)
	if n := capture.Count(""); n != 1 {
		t.Fatalf("%d of two replies passed the router, want only that to the new mapping", n)
	}
	wantSilence(t, l.server, "10.0.0.2", "a NAT lets nothing in that it was not asked for")
	nat.Remove()
	wantPing(t, l.server, "10.0.0.2")
}

func TestCaptureHasTheLastPacketBeforeStop(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	for _, filter := range []string{"", "udp port 9"} {
		capture := l.near.Capture(filter)
		conn, err := l.client.Dial(t.Context(), "udp", "10.0.0.2", "203.0.113.1:9")
		if err != nil {
			t.Fatalf("dial: %v", err)
		}
		for i := range 20 {
			// The port is closed, so an answer to an earlier one may be the error.
			_, _ = fmt.Fprintf(conn, "datagram %d", i)
		}
		conn.Close()
		sent := capture.Query("udp.dstport == 9 && !icmp", "udp.length")
		// At least half: a pending error takes the place of a datagram.
		if len(sent) < 10 || sent[len(sent)-1][0] != "19" {
			t.Errorf("with filter %q the capture has %v, want up to the last datagram of 19 octets", filter, sent)
		}
		capture.Stop() // again: no error
	}
}

func TestPingReportsWhatIsMissing(t *testing.T) {
	t.Parallel()
	l := newLine(t)
	l.far.Drop("meta l4proto icmp", netlab.Nth(2))
	r, err := l.client.Ping(t.Context(), netlab.Ping{To: "203.0.113.1", Count: 3, Interval: 10 * time.Millisecond, Wait: time.Second})
	if err != nil || r.Sent != 3 || r.Lost() != 1 {
		t.Fatalf("%d sent, %d lost (error %v), want 3 and 1", r.Sent, r.Lost(), err)
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "2 of 3") {
		t.Fatalf("the verdict is %v, want that 2 of 3 were answered", err)
	}
	if _, err := l.client.Ping(t.Context(), netlab.Ping{To: "not an address"}); err == nil {
		t.Fatal("ping to no address succeeded")
	}
}
