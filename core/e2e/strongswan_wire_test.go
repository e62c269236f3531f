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

// Exchange types of RFC 7296 section 3.1.
const (
	ikeSAInit     = 34
	ikeAuth       = 35
	createChildSA = 36
	informational = 37
)

func TestStrongSwanInFragments(t *testing.T) {
	t.Parallel()
	// An identity that makes the gateway's IKE_AUTH response longer than what
	// it may send in one piece.
	long := strings.Repeat("0123456789", 24)
	c := client()
	c.Fragmentation, c.Proposals, c.Remote.ID = "force", []string{"aes128-sha512-x25519"}, strongswan.KeyID([]byte(long))
	d := dialIn(t, config(
		[]entry{server1().with(entry{"proposal": "aes128-sha512", "localid": `"` + long + `"`, "localid-type": "keyid", "fragmentation-mtu": "500"})},
		[]entry{server2()},
	), strongswan.Settings{FragmentSize: 300, RetransmitTimeout: 200 * time.Millisecond}, c)
	// One fragment of each side is lost, too; all of them come again.
	request := d.WAN.Drop("udp dport 4500", netlab.Nth(2))
	response := d.Uplink.Drop("udp sport 4500", netlab.Nth(2))
	capture := d.WAN.Capture("udp")
	d.up("net")
	d.ping()
	if request.Count() != 1 || response.Count() != 1 {
		t.Errorf("%d fragments of the client and %d of the gateway were lost, want one each", request.Count(), response.Count())
	}
	for side, addr := range map[string]string{"client": gateway.ClientAddr, "gateway": gateway.GatewayAddr} {
		// RFC 7383 section 2.5: Encrypted Fragment payloads are of type 53.
		if n := capture.Count("isakmp.nextpayload == 53 && ip.src == " + addr); n < 3 {
			t.Errorf("%d fragments came from the %s, want at least 2 and those that were sent again", n, side)
		}
		if n := capture.Count("isakmp && ip.src == " + addr + " && (ip.flags.mf == 1 || ip.len > 500)"); n != 0 {
			t.Errorf("%d IKE packets of the %s were fragmented by IP or larger than allowed", n, side)
		}
	}
}

func TestStrongSwanRetriesWithAnotherGroup(t *testing.T) {
	t.Parallel()
	c := client()
	c.Proposals = []string{"aes128-sha256-x25519-ecp384-modp2048"}
	d := dialIn(t, config([]entry{server1().with(entry{"dhgrp": "[14]"})}, []entry{server2()}), strongswan.Settings{}, c)
	capture := d.WAN.Capture("udp port 500")
	d.up("net")
	d.ping()
	if got := d.charon.IKE("home").DH; got != "MODP_2048" {
		t.Errorf("charon agreed on %s, want MODP_2048", got)
	}
	// INVALID_KE_PAYLOAD is notification 17; its data is the group to use.
	rows := capture.Query("isakmp.notify.msgtype == 17", "ip.src", "isakmp.notify.data")
	if len(rows) != 1 || rows[0][0] != gateway.GatewayAddr || rows[0][1] != "000e" {
		t.Errorf("the wire has the INVALID_KE_PAYLOAD notifications %v, want one from the gateway for group 14", rows)
	}
	d.charon.Log().Wait("peer didn't accept key exchange method CURVE_25519, it requested MODP_2048|peer didn't accept DH group CURVE_25519, it requested MODP_2048", limit)
}

// TestEveryLostMessageIsSentAgain loses each message of each exchange once, of
// either side as its initiator. All copies of a message are the same octets.
//
// "A retransmission from the initiator MUST be bitwise identical to the original
// request. That is, everything starting from the IKE header (the IKE SA
// initiator's SPI onwards) must be bitwise identical" RFC 7296 section 2.1.
func TestEveryLostMessageIsSentAgain(t *testing.T) {
	t.Parallel()
	d := dialIn(t, config([]entry{server1()}, []entry{server2()}),
		strongswan.Settings{RetransmitTimeout: 200 * time.Millisecond}, client())
	near, far := d.WAN.Capture("udp"), d.Uplink.Capture("udp")
	const hangUp = "the gateway hangs up"
	steps := []struct {
		name      string
		do        func() error
		client    bool // the client initiates
		exchanges []int
	}{
		{"dial in", func() error { return d.charon.Initiate("net") }, true, []int{ikeSAInit, ikeAuth}},
		{"the client rekeys the child", func() error { return d.charon.RekeyChild("net") }, true, []int{createChildSA, informational}},
		{"the client rekeys the IKE SA", func() error { return d.charon.RekeyIKE("home") }, true, []int{createChildSA, informational}},
		{"the gateway rekeys the child", func() error { return d.rekeyed(false) }, false, []int{createChildSA, informational}},
		{"the gateway rekeys the IKE SA", func() error { return d.rekeyed(true) }, false, []int{createChildSA, informational}},
		{"the client hangs up", func() error { return d.charon.TerminateIKE("home") }, true, []int{informational}},
		{"the client dials in again", func() error { return d.charon.Initiate("net") }, true, nil},
		// charon forgets an IKE SA with its last response, and would not repeat it.
		{hangUp, func() error { return d.evergate.Down(d.name) }, false, []int{informational}},
	}
	for _, step := range steps {
		var losses []*netlab.Loss
		for _, exchange := range step.exchanges {
			losses = append(losses, d.Uplink.Drop(ikeMessage(exchange, step.client), netlab.First(1)))
			if step.client || step.name != hangUp {
				losses = append(losses, d.WAN.Drop(ikeMessage(exchange, !step.client), netlab.First(1)))
			}
		}
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, loss := range losses {
			netlab.Eventually(t, limit, step.name+": each message is lost once", func() error {
				if n := loss.Count(); n < 1 {
					return fmt.Errorf("%d were lost", n)
				}
				return nil
			})
		}
		if strings.Contains(step.name, "hangs up") {
			d.wantGone("vpn1")
		} else {
			d.ping()
		}
		for _, loss := range losses {
			loss.Remove()
		}
	}
	d.wantIdentical(near, gateway.ClientAddr)
	d.wantIdentical(far, gateway.GatewayAddr)
	// Two of each exchange, and one where charon's last response is lost: it may be over
	// before the gateway has asked who does not know it any more.
	if repeated, retransmitted := d.evergate.Stat("ike.repeated"), d.evergate.Stat("ike.retransmitted"); repeated < 7 || retransmitted < 8 {
		t.Errorf("the gateway repeated %d responses and %d requests, want at least 7 and 8", repeated, retransmitted)
	}
}

// ikeMessage is the expression of nftables for the requests or the responses of
// an exchange: on port 500 the IKE header begins behind the UDP header, on port
// 4500 behind four more octets, which are zero.
func ikeMessage(exchange int, response bool) string {
	flag := "!="
	if response {
		flag = "=="
	}
	if exchange == ikeSAInit {
		return fmt.Sprintf("udp dport 500 @th,208,8 %d @th,216,8 & 0x20 %s 0x20", exchange, flag)
	}
	return fmt.Sprintf("udp dport 4500 @th,64,32 0 @th,240,8 %d @th,248,8 & 0x20 %s 0x20", exchange, flag)
}

// rekeyed has the gateway rekey, and waits until it is done.
func (d *ends) rekeyed(ike bool) error {
	key := func() string {
		tunnel := d.evergate.Tunnel(d.name)
		if ike {
			return tunnel.IKESPIs[0]
		}
		return tunnel.Proxies[0].SAs[0].Dec.SPI
	}
	before := key()
	if err := d.evergate.Rekey(d.name, ike); err != nil {
		return err
	}
	return netlab.Poll(d.t.Context(), limit, func() error {
		if key() == before {
			return fmt.Errorf("the gateway still has %s", before)
		}
		return nil
	})
}

// wantIdentical compares all copies of each IKE message that addr sent; some
// must have been sent more than once.
func (d *ends) wantIdentical(capture *netlab.Capture, addr string) {
	d.t.Helper()
	messages, again := map[string]string{}, 0
	for _, row := range capture.Query("isakmp && ip.src == "+addr,
		"isakmp.ispi", "isakmp.exchangetype", "isakmp.flags", "isakmp.messageid", "udp.payload") {
		key := strings.Join(row[:4], " ")
		switch before, known := messages[key]; {
		case !known:
			messages[key] = row[4]
		case before != row[4]:
			d.t.Errorf("message %s of %s was sent as %s and as %s", key, addr, before, row[4])
		default:
			again++
		}
	}
	if again < 8 {
		d.t.Errorf("%d copies of %d messages came from %s, want at least 8", again, len(messages), addr)
	}
}
