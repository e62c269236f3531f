package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

const (
	pingEvery    = 10 * time.Millisecond
	transferSize = 12 << 20 // octets
	transferRate = 4 << 20  // octets per second
)

// trial is one failover: what went through the tunnel meanwhile, and what was
// seen of it where.
type trial struct {
	client   dialup
	ping     *netlab.Pinging
	arrived  meter
	transfer chan error
	ike      *netlab.Capture   // at the client
	outside  []*netlab.Capture // of the survivors, towards the router
	inside   []*netlab.Capture // towards the server

	died  time.Time
	owner int // the member that took over
}

// failover has the first member die in the middle of traffic, and accounts for
// what that cost the client.
func (f *fgspScene) failover(tunnel string, client dialup, what string, die func()) {
	before := f.sas(client)
	t := f.begin(client)
	f.step(what, func() string {
		t.ping.WaitFor(100, waitLimit)
		t.died = time.Now()
		die()
		f.members[0] = nil
		t.ping.WaitFor(100, waitLimit)
		t.owner = f.waitRoles(tunnel, -1)
		return fmt.Sprintf("DC1_VM%d is the tunnel's sync-primary now", t.owner+1)
	})
	f.roles(tunnel)
	f.step("wait for the end of the transfer", func() string {
		if err := <-t.transfer; err != nil {
			f.tb.Fatalf("the transfer: %v", err)
		}
		return fmt.Sprintf("%d MiB, SHA-256 is the same at both ends", transferSize>>20)
	})
	f.step("compare the client's SAs with those of before, and read the wire", func() string {
		if after := f.sas(client); after != before {
			f.tb.Fatalf("strongSwan has the SAs %s, and had %s", after, before)
		}
		for _, m := range t.ike.IKE("") {
			if m.ExchangeType == exchangeInit || m.ExchangeType == exchangeChild {
				f.tb.Fatalf("SAs were negotiated: %+v", m)
			}
		}
		return before + " both times; no IKE_SA_INIT and no rekeying crossed the wire"
	})
	f.account(t)
}

// The exchange types of RFC 7296 section 3.1 that make SAs.
const (
	exchangeInit  = 34
	exchangeChild = 36
)

// begin starts the traffic of a client, and to look at it.
func (f *fgspScene) begin(client dialup) *trial {
	t := &trial{client: client, transfer: make(chan error, 1)}
	// A UDP datagram of IKE on port 4500 begins with four octets of zero. RFC 3948
	t.ike = f.site.ClientWAN.Capture(fmt.Sprintf("host %s and (udp port 500 or (udp port 4500 and udp[8:4] = 0))", client.addr))
	for _, m := range f.site.Members[1:synced] {
		t.outside = append(t.outside, m.Port2.Capture(fmt.Sprintf("host %s and udp port 4500", client.addr)))
		t.inside = append(t.inside, m.Port3.Capture("host "+client.inner))
	}
	t.ping = f.site.Client.Pinging(gateway.ServerLoopback, client.inner, pingEvery)
	transfer := netlab.Transfer{
		From: f.site.Client, Source: client.inner, To: f.site.Server, Dest: gateway.ServerLoopback,
		Bytes: transferSize, Rate: transferRate, Seed: 1, Arrived: &t.arrived,
	}
	ctx := f.tb.Context()
	go func() {
		_, err := transfer.Run(ctx)
		t.transfer <- err
	}()
	return t
}

// sas names a client's SAs, as strongSwan has them.
func (f *fgspScene) sas(client dialup) string {
	var b strings.Builder
	for _, sa := range f.charon.SAs() {
		if sa.Name != client.name {
			continue
		}
		fmt.Fprintf(&b, "IKE %016x/%016x", sa.InitiatorSPI, sa.ResponderSPI)
		for _, c := range sa.Children {
			fmt.Fprintf(&b, ", ESP %08x/%08x", c.SPIIn, c.SPIOut)
		}
	}
	if b.Len() == 0 {
		f.tb.Fatalf("strongSwan has no IKE SA for %s", client.name)
	}
	return b.String()
}

// roles shows the tunnel as each member sees it, in one line.
func (f *fgspScene) roles(tunnel string) {
	var b strings.Builder
	for i, d := range f.members {
		if d == nil {
			fmt.Fprintf(&b, "DC1_VM%d  dead\n", i+1)
			continue
		}
		tunnels := d.Tunnels(tunnel)
		if len(tunnels) == 0 {
			fmt.Fprintf(&b, "DC1_VM%d  (header line only)\n", i+1)
		}
		for _, t := range tunnels {
			for _, p := range t.Proxies {
				for _, sa := range p.SAs {
					fmt.Fprintf(&b, "DC1_VM%d  role=%-12s  dec spi=%s  enc spi=%s  seqno=%x\n", i+1, t.Role, sa.Dec.SPI, sa.Enc.SPI, sa.Seqno)
				}
			}
		}
	}
	f.show("each member", "evergate diagnose vpn tunnel list name "+tunnel+", in brief", b.String())
}

// gap says when what happened.
type gap struct {
	lastAnswer, nextAnswer time.Time // of pings
	sent, lost             int
	moved                  time.Time // the client's first packet came to the survivor
	forwarded              time.Time // the survivor sent it on to the server
	answered               time.Time // the survivor's first packet left for the client
}

func (f *fgspScene) account(t *trial) {
	var g gap
	var pings netlab.PingAccount
	f.step("account for every ping", func() string {
		pings = t.ping.Stop()
		g = f.measure(t, pings)
		return fmt.Sprintf("%d of %d lost", g.lost, g.sent)
	})
	survivor := fmt.Sprintf("DC1_VM%d", t.owner+1)
	since := func(at time.Time) string { return milliseconds(at.Sub(t.died)) }
	f.text(fmt.Sprintf(`
  %10s  DC1_VM1 dies
  %10s  the router has noticed: the client's next packet comes to %[3]s
  %10[4]s  %[3]s, a standby, has decrypted it and sent it on to the server
  %10[5]s  the members have noticed, by three missed heartbeats of 50 ms:
              %[3]s sends the first answer, as the tunnel's owner
  %10[6]s  the client has the answer to a ping again
`, "0 ms", since(g.moved), survivor, since(g.forwarded), since(g.answered), since(g.nextAnswer)))
	f.text("\n  Pings around the death, one character each 10 ms: · answered, x lost\n\n  " + strip(pings, t.died) + "\n")
	f.text("\n" + indent(arrivals(&t.arrived, t.died)) + "\n")
	f.cost(cost{
		of: f.done[len(f.done)-1], lost: g.lost, gap: g.nextAnswer.Sub(g.lastAnswer),
		detection: g.moved.Sub(t.died), takeover: g.answered.Sub(g.moved),
	})
}

// measure finds the moments of a failover in what was recorded.
func (f *fgspScene) measure(t *trial, pings netlab.PingAccount) gap {
	g := gap{lost: len(pings.Lost), sent: len(pings.Lost) + len(pings.Replies)}
	// The gap is the one in which most pings were lost, and where none was, the longest:
	// a machine that is busy makes others that have nothing to do with it.
	most := 0
	for i, r := range pings.Replies[1:] {
		before := pings.Replies[i]
		missed := r.Sequence - before.Sequence
		longer := cmp.Compare(r.At.Sub(before.At), g.nextAnswer.Sub(g.lastAnswer))
		if r.At.After(t.died) && cmp.Or(cmp.Compare(missed, most), longer) > 0 {
			most, g.lastAnswer, g.nextAnswer = missed, before.At, r.At
		}
	}
	survivor := t.owner - 1 // of the captures
	in := t.outside[survivor].ESP("ip.src == " + t.client.addr)
	out := t.outside[survivor].ESP("ip.src == " + gateway.GatewayAddr)
	on := t.inside[survivor].Times("ip.src == " + t.client.inner)
	if err := cmp.Or(none("packets of the client to", len(in)), none("answers of", len(out)), none("forwarded packets of", len(on))); err != nil {
		f.tb.Fatalf("DC1_VM%d: %v", t.owner+1, err)
	}
	g.moved, g.answered, g.forwarded = in[0].Time, out[0].Time, on[0]
	return g
}

func none(what string, n int) error {
	if n > 0 {
		return nil
	}
	return errors.New("no " + what + " it were seen")
}

// meter notes when how much arrives.
type meter struct {
	mu   sync.Mutex
	seen []arrival
}

type arrival struct {
	at     time.Time
	octets int // in all
}

// Write implements io.Writer.
func (m *meter) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	total := len(b)
	if n := len(m.seen); n > 0 {
		total += m.seen[n-1].octets
	}
	m.seen = append(m.seen, arrival{time.Now(), total})
	return len(b), nil
}

// at returns how many octets had arrived at a time.
func (m *meter) at(t time.Time) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := slices.BinarySearchFunc(m.seen, t, func(a arrival, t time.Time) int { return a.at.Compare(t) })
	if i == 0 {
		return 0
	}
	return m.seen[i-1].octets
}
