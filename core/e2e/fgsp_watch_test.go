package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// watch sees what no trouble of members may change: the client's SAs, and that
// nothing is negotiated for them. Traffic flows in both directions meanwhile.
type watch struct {
	*fgsp
	before []strongswan.IKESA
	wire   *netlab.Capture
	up     *netlab.Streaming
	down   *netlab.Streaming
}

// connect brings the client's tunnel up at the first member, with all others
// standing by, and watches it.
func (f *fgsp) connect(standbys ...*gateway.Daemon) *watch {
	f.t.Helper()
	if err := f.client.Initiate("lan"); err != nil {
		f.t.Fatal(err)
	}
	f.waitRole(f.members[0], "vpn1_1", "sync-primary")
	for _, d := range standbys {
		f.waitRole(d, "vpn1_1", "standby")
	}
	return f.watch()
}

// every is the pace of the traffic that is watched.
const every = 10 * time.Millisecond

// watch starts to watch the client's tunnel.
func (f *fgsp) watch() *watch {
	f.t.Helper()
	w := &watch{fgsp: f, before: f.client.SAs(), wire: f.site.ClientWAN.Capture("udp port 500 or udp port 4500 or esp")}
	w.up = netlab.Stream{
		From: f.site.Client, Source: gateway.ClientHost, To: f.site.Server, Dest: gateway.ServerLoopback, Every: every,
	}.Start(f.t)
	w.down = netlab.Stream{
		From: f.site.Server, Source: gateway.ServerLoopback, To: f.site.Client, Dest: gateway.ClientHost, Every: every,
	}.Start(f.t)
	w.flows()
	return w
}

// flows waits for traffic in both directions.
func (w *watch) flows() {
	w.t.Helper()
	w.up.WaitFor(50, time.Minute)
	w.down.WaitFor(50, time.Minute)
}

// wantOneOwner waits until the client's tunnel has one owner among the members
// that live, and all others stand by for it.
func (w *watch) wantOneOwner(live ...*gateway.Daemon) {
	w.t.Helper()
	wantOneOwner(w.t, "vpn1_1", live...)
}

func wantOneOwner(t *testing.T, name string, live ...*gateway.Daemon) {
	t.Helper()
	netlab.Eventually(t, time.Minute, name+" has one owner, and all others stand by", func() error {
		owners, standbys := 0, 0
		var roles []string
		for _, d := range live {
			r := role(d, name)
			roles = append(roles, r)
			switch r {
			case "sync-primary", "primary":
				owners++
			case "standby":
				standbys++
			}
		}
		if owners != 1 || standbys != len(live)-1 {
			return fmt.Errorf("the roles are %q", roles)
		}
		return nil
	})
}

// unbroken ends the traffic and checks what the client has seen: the SAs of
// before, none negotiated on the way, no number of an SA twice on the wire, and
// no packet that it had to refuse. F5, I1
func (w *watch) unbroken() {
	w.t.Helper()
	w.ends(false)
}

// unbrokenMoved is unbroken where a tunnel left a member that lives: the client refuses
// what that one sent last when the network is slower with it than with the first packets
// of the next.
func (w *watch) unbrokenMoved() {
	w.t.Helper()
	w.ends(true)
}

func (w *watch) ends(moved bool) {
	w.t.Helper()
	w.up.Stop()
	w.down.Stop()
	wantSameSAs(w.t, w.before, w.client.SAs())
	wantNoneNegotiated(w.t, w.wire)
	wantNumbersOnce(w.t, w.wire)
	refused := 0
	if moved {
		refused = wantInFlight(w.t, w.wire)
	}
	wantAllAccepted(w.t, w.client, w.before, w.wire, refused)
}

// wantInFlight counts the packets on the client's wire that came too late for its window,
// and checks that they are so few that they can have been under way when a tunnel left a
// member, whose dataplane may have had to wait for a processor: one that goes on sending
// has sent more.
func wantInFlight(t *testing.T, wire *netlab.Capture) int {
	t.Helper()
	const most = 100 // a second of the traffic here
	late := overtaken(wire, gateway.ClientAddr)
	if late > most {
		t.Errorf("%d packets came behind those of the next owner, want no more than can be under way, %d", late, most)
	}
	return late
}

// wantNoneNegotiated checks that no exchange that makes SAs crossed a wire.
func wantNoneNegotiated(t *testing.T, wire *netlab.Capture) {
	t.Helper()
	for _, m := range wire.IKE("") {
		switch m.ExchangeType {
		case ikeSAInit, createChildSA, mainMode, aggressiveMode, quickMode:
			t.Errorf("new SAs were negotiated: %+v", m)
		}
	}
}

// wantAllAccepted checks that strongSwan refused no more packets than that: by
// its log, and by its counters, which have all that was on its wire since before.
func wantAllAccepted(t *testing.T, client *strongswan.Daemon, before []strongswan.IKESA, wire *netlab.Capture, refused int) {
	t.Helper()
	if n := strings.Count(client.Log().Text(), "verification failed"); n > refused {
		t.Errorf("the client refused %d packets as replayed or forged, want at most %d", n, refused)
	}
	seen := make(map[uint32]uint64)
	for _, p := range wire.ESP("") {
		seen[p.SPI]++
	}
	earlier := make(map[uint32]strongswan.ChildSA)
	for _, sa := range before {
		for _, c := range sa.Children {
			earlier[c.SPIIn] = c
		}
	}
	netlab.Eventually(t, limit, "strongSwan has counted what was on its wire", func() error {
		missing := 0
		for _, sa := range client.SAs() {
			for _, c := range sa.Children {
				b := earlier[c.SPIIn]
				// It may count more: what came when the capture had ended.
				if in := c.PacketsIn - b.PacketsIn; in < seen[c.SPIIn] {
					missing += int(seen[c.SPIIn] - in)
				}
			}
		}
		if missing > refused {
			return fmt.Errorf("it lacks %d packets, want at most %d", missing, refused)
		}
		return nil
	})
}

// wantMovedWhole ends two streams, the client's and the server's, and checks that each
// packet arrived once while the tunnel went from one member to another. Members are not
// told when the packets of the last owner have passed the network: one that comes behind
// the first of its successor's, whose numbers are far higher, is lost to the client's
// window by right. The wire shows those; the client's own numbers make no such jump.
func wantMovedWhole(t *testing.T, up, down *netlab.Streaming, wire *netlab.Capture) {
	t.Helper()
	if err := up.Stop().Err(); err != nil {
		t.Errorf("from the client to the server: %v", err)
	}
	r := down.Stop()
	if late := wantInFlight(t, wire); len(r.Lost) > late || r.Duplicated > 0 || r.Received == 0 {
		t.Errorf("from the server to the client: %v; on the wire %d came too late for the client's window", r.Err(), late)
	}
}

// overtaken counts the packets of ESP to an address that came behind one whose number was
// higher by more than a window has room for. "Packets that contain sequence numbers lower
// than the "left" edge of the window are rejected." RFC 4303 section 3.4.3
func overtaken(wire *netlab.Capture, address string) (n int) {
	const window = 32 // the least that there is
	highest := make(map[uint32]uint32)
	for _, p := range wire.ESP("") {
		if top := highest[p.SPI]; p.Dst.Addr().String() == address && p.Sequence < top && top-p.Sequence >= window {
			n++
		}
		highest[p.SPI] = max(highest[p.SPI], p.Sequence)
	}
	return n
}

// wantNumbersOnce checks the sequence numbers of all ESP on a wire.
func wantNumbersOnce(t *testing.T, wire *netlab.Capture) {
	t.Helper()
	type number struct{ spi, sequence uint32 }
	seen := make(map[number]bool)
	for _, p := range wire.ESP("") {
		n := number{p.SPI, p.Sequence}
		if seen[n] {
			t.Errorf("SPI %08x had number %#x twice on the wire", p.SPI, p.Sequence)
			return
		}
		seen[n] = true
	}
	if len(seen) == 0 {
		t.Error("no ESP was on the wire")
	}
}

func wantSameSAs(t *testing.T, before, after []strongswan.IKESA) {
	t.Helper()
	names := func(sas []strongswan.IKESA) (out []string) {
		for _, sa := range sas {
			out = append(out, fmt.Sprintf("ike %016x/%016x", sa.InitiatorSPI, sa.ResponderSPI))
			for _, c := range sa.Children {
				out = append(out, fmt.Sprintf("esp %08x/%08x", c.SPIIn, c.SPIOut))
			}
		}
		return out
	}
	if b, a := fmt.Sprint(names(before)), fmt.Sprint(names(after)); a != b {
		t.Errorf("the client has the SAs %s, want those of before, %s", a, b)
	}
}
