package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/gateway"
)

// exchangeStep is a message of an exchange of the client that is lost, with the
// owner.
type exchangeStep struct {
	name     string
	do       func() error
	exchange int
	response bool // is lost, and not the request
}

// The members are patient: one that might have missed something synchronizes Message
// IDs (RFC 6311), and charon forgets the request that it has under way then.
//
// lose plays steps: in each the owner is killed when the message has been lost, and
// the survivor finishes the exchange. The member that died returns, and is the next
// to survive. after is called with the survivor when the exchange is over.
func (f *fgsp) lose(after func(survivor int), steps ...exchangeStep) {
	f.t.Helper()
	for i, step := range steps {
		owner, survivor := i%2, 1-i%2
		f.waitRole(f.members[owner], "vpn1_1", "sync-primary")
		at := f.site.WAN
		if step.response {
			at = f.site.Members[owner].Uplink
		}
		loss := at.Drop(ikeMessage(step.exchange, step.response), netlab.All())
		done := make(chan error, 1)
		go func() { done <- step.do() }()
		wantLost(f.t, loss, step.name)
		f.members[owner].Kill()
		f.site.Lead(f.site.Members[survivor])
		loss.Remove()
		if err := <-done; err != nil {
			f.t.Fatalf("the owner died with the %s: %v", step.name, err)
		}
		after(survivor)
		if i < len(steps)-1 {
			f.members[owner].Restart()
			f.waitSynced(f.members...)
		}
	}
}

// TestOwnerDiesInTheMiddleOfAnExchange loses each message of the exchanges by which
// a client gets new keys.
func TestOwnerDiesInTheMiddleOfAnExchange(t *testing.T) { // B2, I6, C1
	t.Parallel()
	f := newFGSP(t, 2, 0)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	near, far := f.site.Members[0].Uplink.Capture("udp"), f.site.Members[1].Uplink.Capture("udp")
	child := func() error { return f.client.RekeyChild("lan") }
	ike := func() error { return f.client.RekeyIKE("office") }
	after := func(survivor int) {
		pingThrough(t, f)
		f.wantSettledPair(f.members[survivor])
	}
	f.lose(after,
		exchangeStep{"request for a new child", child, createChildSA, false},
		exchangeStep{"answer with a new child", child, createChildSA, true},
		exchangeStep{"request for the end of the old child", child, informational, false},
		exchangeStep{"answer to the end of the old child", child, informational, true},
		exchangeStep{"request for a new IKE SA", ike, createChildSA, false},
		exchangeStep{"answer with a new IKE SA", ike, createChildSA, true},
		exchangeStep{"request for the end of the old IKE SA", ike, informational, false},
		exchangeStep{"answer to the end of the old IKE SA", ike, informational, true},
	)
	wantSameAnswers(t, 4, near, far)
}

// wantSettledPair waits until the client and a member have one IKE SA with one pair
// of SAs, the same.
func (f *fgsp) wantSettledPair(d *gateway.Daemon) {
	f.t.Helper()
	f.wantOnePair(d, "", "after the exchange")
}

// TestOwnerDiesWhileTheClientEndsAnSA loses each message by which a client ends its
// Child SA or its IKE SA.
func TestOwnerDiesWhileTheClientEndsAnSA(t *testing.T) { // B2, I6, I8, C1
	t.Parallel()
	f := newFGSP(t, 2, 0)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	near, far := f.site.Members[0].Uplink.Capture("udp"), f.site.Members[1].Uplink.Capture("udp")
	child := func() error { return f.client.TerminateChild("lan") }
	f.lose(func(survivor int) {
		if sas := f.client.SAs(); len(sas) != 1 || len(sas[0].Children) != 0 {
			t.Errorf("the client should have its IKE SA and no child, it has %+v", sas)
		}
		if err := f.client.Initiate("lan"); err != nil {
			t.Errorf("the survivor makes no new child: %v", err)
		}
		pingThrough(t, f)
		f.wantSettledPair(f.members[survivor])
	},
		exchangeStep{"request for the end of the child", child, informational, false},
		exchangeStep{"answer to the end of the child", child, informational, true},
	)
	f.members[1].Restart()
	f.waitSynced(f.members...)
	f.lose(func(survivor int) { f.members[survivor].WaitGone("vpn1", limit) },
		exchangeStep{"request for the end", func() error { return f.client.TerminateIKE("office") }, informational, false},
	)
	wantSameAnswers(t, 1, near, far)
}

// TestOwnerDiesWithItsLastAnswer has the answer to the client's Delete lost, and
// the owner with it. The survivor has no tunnel any more, and still gives the
// same answer.
func TestOwnerDiesWithItsLastAnswer(t *testing.T) { // B2, I8
	t.Parallel()
	f := newFGSP(t, 2, 0)
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(f.members[1], "vpn1_1", "standby")
	near, far := f.site.Members[0].Uplink.Capture("udp"), f.site.Members[1].Uplink.Capture("udp")
	loss := f.site.Members[0].Uplink.Drop(ikeMessage(informational, true), netlab.All())
	done := make(chan error, 1)
	go func() { done <- f.client.TerminateIKE("office") }()
	netlab.Eventually(t, limit, "the answer to the end is lost", func() error {
		if loss.Count() == 0 {
			return fmt.Errorf("none was")
		}
		return nil
	})
	f.members[0].Kill()
	f.members[1].WaitGone("vpn1", limit)
	f.site.Lead(f.site.Members[1])
	if err := <-done; err != nil {
		t.Errorf("the client heard no answer to its Delete: %v", err)
	}
	wantSameAnswers(t, 1, near, far)
	if n := f.members[1].Stat("ha.repeated"); n == 0 {
		t.Error("the survivor did not count the answer that it repeated")
	}
	if f.site.Members[1].Host.HasRoute(gateway.ClientNet) {
		t.Error("the survivor has the route of the client that has gone")
	}
}

// wantSameAnswers compares the answers that two members gave to one request. At
// least so many requests were answered by both.
func wantSameAnswers(t *testing.T, least int, captures ...*netlab.Capture) {
	t.Helper()
	answers, by, again := make(map[string]string), make(map[string]int), 0
	for member, c := range captures {
		for _, row := range c.Query("isakmp.flag_r == 1 && ip.src == "+gateway.GatewayAddr, "isakmp.ispi", "isakmp.exchangetype", "isakmp.flags", "isakmp.messageid", "udp.payload") {
			key := strings.Join(row[:4], " ")
			if before, known := answers[key]; known && before != row[4] {
				t.Errorf("message %s was %s from one member and %s from another", key, before, row[4])
			} else if known && by[key] != member {
				again++
			}
			answers[key], by[key] = row[4], member
		}
	}
	if again < least {
		t.Errorf("%d answers came from both members, want each that was lost", again)
	}
}

// TestMembersLinkShowsNothing looks at what members say to each other while one
// takes over from another and the other returns: no key, and nothing that they
// say in plaintext. They know each other by a secret.
func TestMembersLinkShowsNothing(t *testing.T) { // B4
	t.Parallel()
	f := &fgsp{t: t, site: groupSite(t, 2)}
	f.site.Secret = "the members of this laboratory share it"
	f.startMembers(2, func(*gateway.GroupMember) string { return "" })
	f.site.Lead(f.site.Members[0])
	link := f.site.Members[1].Port4.Capture("")
	w := f.connect(f.members[1])
	tunnel := f.members[0].Tunnel("vpn1_1")
	if err := f.client.RekeyIKE("office"); err != nil {
		t.Fatal(err)
	}
	w.flows()
	f.members[0].Kill()
	f.site.Lead(f.site.Members[1])
	w.flows()
	f.members[0].Restart()
	f.waitSynced(f.members...)
	if n := link.Count("tcp.port == 708 || udp.port == 708"); n == 0 {
		t.Error("the members said nothing to each other")
	}
	if n := link.Count("(ip || ipv6) && !esp && !(tcp.port == 708 || udp.port == 708) && !icmpv6 && !igmp"); n > 0 {
		t.Errorf("%d packets on the members' link are not of their protocol", n)
	}
	half := tunnel.Proxies[0].SAs[0]
	for _, secret := range []string{half.Dec.Key, half.Dec.HashKey, half.Enc.Key, half.Enc.HashKey} {
		if n := link.Count("frame contains " + colons(secret)); n > 0 || len(secret) < 32 {
			t.Errorf("a key of %d octets is in %d packets on the members' link", len(secret)/2, n)
		}
	}
	for _, word := range []string{"vpn1", "client.example", f.site.Secret} {
		if n := link.Count(fmt.Sprintf("frame contains %q", word)); n > 0 {
			t.Errorf("%q is in %d packets on the members' link", word, n)
		}
	}
	// TLS 1.3 hides its version in an extension of the server's hello.
	if rows := link.Query("tls.handshake.type == 2", "tls.handshake.extensions.supported_version"); len(rows) == 0 || rows[0][0] != "0x0304" {
		t.Errorf("the members speak TLS %v, want 1.3", rows)
	}
}

// colons is a hexadecimal string as tshark wants octets.
func colons(hex string) string {
	var out []string
	for i := 0; i+1 < len(hex); i += 2 {
		out = append(out, hex[i:i+2])
	}
	return strings.Join(out, ":")
}

// TestIKEAtAnotherMember leads the client's packets to a member that does
// not own its tunnel, while the owner lives.
func TestIKEAtAnotherMember(t *testing.T) { // F9, B5
	t.Parallel()
	f := newFGSP(t, 2, 0)
	one, two := f.members[0], f.members[1]
	if err := f.client.Initiate("lan"); err != nil {
		t.Fatal(err)
	}
	f.waitRole(two, "vpn1_1", "standby")
	f.site.Lead(f.site.Members[1])
	if err := f.client.RekeyChild("lan"); err != nil {
		t.Errorf("the other member did not pass on the rekeying of the child: %v", err)
	}
	if err := f.client.RekeyIKE("office"); err != nil {
		t.Errorf("the other member did not pass on the rekeying of the IKE SA: %v", err)
	}
	wantOneOwner(t, "vpn1_1", one, two)
	f.waitRole(one, "vpn1_1", "sync-primary")
	f.site.Lead(f.site.Members[0])
	pingThrough(t, f)
	if err := f.client.TerminateIKE("office"); err != nil {
		t.Error(err)
	}
	for _, d := range f.members {
		d.WaitGone("vpn1", time.Minute)
	}
}
