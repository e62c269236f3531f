package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// goneAlone has the first member go on alone with a tunnel of both, by exchanges
// that the other does not hear of, and then die. The client's packets are led to
// the survivor, whose state is old.
func (f *fgsp) goneAlone() {
	f.t.Helper()
	one, two := f.members[0], f.members[1]
	f.site.Members[1].Port4.Down()
	f.waitAlone(two)
	before := one.Stat("ike.requests_in.informational")
	netlab.Eventually(f.t, limit, "the client probes the owner that is alone", func() error {
		if n := one.Stat("ike.requests_in.informational") - before; n < 3 {
			return fmt.Errorf("it has done so %d times", n)
		}
		return nil
	})
	one.Kill()
	f.site.Lead(f.site.Members[1])
}

// waitResynced waits until the survivor has synchronized Message IDs.
func (f *fgsp) waitResynced(d *gateway.Daemon) {
	f.t.Helper()
	netlab.Eventually(f.t, limit, "the survivor and the client agree on Message IDs again", func() error {
		if n := d.Stat("ha.vike.sync"); n == 0 {
			return fmt.Errorf("the survivor has asked %d times and heard %d answers", d.Stat("ha.sync.tx"), d.Stat("ha.sync.rx"))
		}
		return nil
	})
}

// TestSurvivorWithAnOldStateSynchronizes: strongSwan is asked for the Message IDs
// (RFC 6311) and answers. The IKE SA and its child stay as they are.
func TestSurvivorWithAnOldStateSynchronizes(t *testing.T) { // C17, C18, C19
	t.Parallel()
	f := newFGSP(t, 2, 0)
	c := office()
	c.DPDDelay, c.DPDTimeout = time.Second, time.Minute
	f.client.Load(c)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	two := f.members[1]
	f.waitRole(two, "vpn1_1", "standby")
	before, keys := f.client.SAs(), f.client.IKEKeys()
	wire := f.site.ClientWAN.Capture("udp port 500 or udp port 4500")
	f.goneAlone()
	f.waitResynced(two)
	pingThrough(t, f)
	wantSameSAs(t, before, f.client.SAs())
	wantNoneNegotiated(t, wire)
	wantSyncOnTheWire(t, wire, keys)
	f.client.Log().Wait("requested MID sync", limit)
	if n := two.Stat("ha.resync"); n != 1 {
		t.Errorf("the survivor had to ask for the Message IDs after %d takeovers, want 1", n)
	}
	// Both directions go on.
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the survivor does not rekey the child: %v", err)
	}
	if err := f.client.RekeyIKE("office"); err != nil {
		t.Errorf("the survivor does not rekey the IKE SA: %v", err)
	}
	pingThrough(t, f)
}

// wantSyncOnTheWire checks a request of the gateway's and its answer, as tshark
// reads them: Message ID zero, one nonce, M2 at least M1, P2 at least P1 (RFC 6311
// section 5.1).
func wantSyncOnTheWire(t *testing.T, wire *netlab.Capture, keys []netlab.IKEKey) {
	t.Helper()
	const ha = "isakmp.notify.data.ha."
	rows := func(flag string) []netlab.Row {
		return wire.DecryptIKE(keys, "isakmp.notify.msgtype == 16422 && isakmp.flag_r == "+flag,
			"isakmp.messageid", ha+"nonce_data", ha+"expected_send_req_message_id", ha+"expected_recv_req_message_id")
	}
	answers := make(map[string]netlab.Row)
	for _, a := range rows("1") {
		answers[a[1]] = a
	}
	for _, q := range rows("0") {
		a, ok := answers[q[1]]
		if !ok {
			continue // one that was lost
		}
		if q[0] != "0x00000000" || a[0] != "0x00000000" {
			t.Errorf("the Message IDs are %s and %s, want zero", q[0], a[0])
		}
		if number(t, a[3]) < number(t, q[2]) || number(t, a[2]) < number(t, q[3]) {
			t.Errorf("M1 %s and P1 %s are answered by M2 %s and P2 %s", q[2], q[3], a[3], a[2])
		}
		return
	}
	t.Errorf("%d requests and %d answers on the wire do not fit together", len(rows("0")), len(answers))
}

func number(t *testing.T, text string) (n uint32) {
	t.Helper()
	if _, err := fmt.Sscanf(text, "0x%x", &n); err != nil {
		t.Errorf("%q is no number: %v", text, err)
	}
	return n
}

// TestNothingIsSynchronizedThatIsExact: the state of the survivor is that of the
// owner, and so are the Message IDs. A member that had been away itself could not
// be sure of that, so the members are patient.
func TestNothingIsSynchronizedThatIsExact(t *testing.T) { // B2, C18
	t.Parallel()
	f := newFGSP(t, 2, 0)
	w := f.connect(f.members[1])
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Fatal(err)
	}
	w.flows()
	f.members[0].Kill()
	f.site.Lead(f.site.Members[1])
	w.flows()
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the survivor does not rekey: %v", err)
	}
	if tx, re := f.members[1].Stat("ha.sync.tx"), f.members[1].Stat("ha.resync"); tx != 0 || re != 0 {
		t.Errorf("the survivor sent %d synchronizations after %d takeovers, want none", tx, re)
	}
}

// TestEvergateAnswersASynchronization: the client is Evergate, too. It goes ahead
// with its sequence numbers, and the survivor takes none of before.
func TestEvergateAnswersASynchronization(t *testing.T) { // C17, C18, C19, I9
	t.Parallel()
	f := &fgsp{t: t, site: groupSite(t, 2)}
	for _, m := range f.site.Members {
		f.members = append(f.members, startGateway(m.Host, f.site.Config(m, "    fgsp-sync: enable", "")))
	}
	f.waitSynced(f.members...)
	f.site.Lead(f.site.Members[0])
	client := startGateway(f.site.Client, clientOfGroup)
	client.WaitUp("office", 1)
	two := f.members[1]
	f.waitRole(two, "vpn1_1", "standby")
	before := client.Tunnel("office")
	f.goneAlone()
	f.waitResynced(two)
	pingThrough(t, f)
	after := client.Tunnel("office")
	if saPair(before) != saPair(after) {
		t.Errorf("the client has the SAs %s, want those of before, %s", saPair(after), saPair(before))
	}
	for _, want := range []string{"ha.vike.sync", "ha.conn.sync", "ha.sync.rx"} {
		if n := client.Stat(want); n == 0 {
			t.Errorf("the client's %s is 0", want)
		}
	}
	if n := after.Proxies[0].SAs[0].Seqno; n <= 1<<22 {
		t.Errorf("the client's next sequence number is %#x, want one that is far ahead", n)
	}
}

// clientOfGroup is office's configuration for Evergate.
const clientOfGroup = `
phase1:
  - {name: office, type: static, interface: wan, local-gw: ` + gateway.ClientAddr + `, remote-gw: ` + gateway.GatewayAddr + `, localid: client.example,
     proposal: aes128-sha1, dhgrp: 2, dpd: on-idle, dpd-retryinterval: 1, dpd-retrycount: 10, add-route: enable,
     psksecret: {literal: ` + gateway.GroupPSK + `}}
phase2:
  - {name: office, phase1name: office, proposal: aes128-sha1, pfs: disable, src-subnet: ` + gateway.ClientNet + `,
     dst-subnet: ` + gateway.ServerLoopback + `/32, auto-negotiate: enable}
`
