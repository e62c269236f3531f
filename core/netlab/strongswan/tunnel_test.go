package strongswan_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

func TestTunnelCarriesTraffic(t *testing.T) {
	t.Parallel()
	for _, esp := range []string{"aes128gcm16", "aes128-sha1", "aes192ctr-sha512", "aes256gcm8"} {
		t.Run(esp, func(t *testing.T) {
			t.Parallel()
			p := connect(t)
			p.run(strongswan.Settings{LogKeys: true}, func(c, g *strongswan.Connection) {
				c.Children[0].Proposals, g.Children[0].Proposals = []string{esp}, []string{esp}
			})
			capture, inside := p.wan.Capture(""), p.client.Interface("ipsec0").Capture("icmp")
			p.initiate()
			p.ping()
			if n := inside.Count(""); n != 6 {
				t.Errorf("%d packets passed the client's TUN interface, want 3 echo requests and 3 replies", n)
			}
			out, in := p.dialer.Child("net"), p.server.Child("net")
			if out.PacketsOut != 3 || in.PacketsIn != 3 || in.PacketsOut != 3 || out.SPIOut != in.SPIIn || !out.Encap {
				t.Errorf("the client has %+v, the gateway %+v; want 3 packets each way on one pair of SPIs, in UDP", out, in)
			}
			if n := capture.Count("ip.addr == 10.88.0.0/24"); n != 0 {
				t.Errorf("%d packets passed the wire in plaintext", n)
			}
			var sequences []uint32
			for _, packet := range capture.ESP("") {
				if packet.SPI == out.SPIOut {
					sequences = append(sequences, packet.Sequence)
				}
				if !packet.Encapsulated || packet.Dst.Port() != 4500 {
					t.Errorf("ESP passed as %+v, want it in UDP on port 4500", packet)
				}
			}
			if !slices.Equal(sequences, []uint32{1, 2, 3}) {
				t.Errorf("the client's sequence numbers on the wire are %v, want 1, 2, 3", sequences)
			}
			p.wantDecrypted(capture)
		})
	}
}

// wantDecrypted lets tshark open the three pings and their replies, and the
// IKE_AUTH exchange.
func (p *pair) wantDecrypted(capture *netlab.Capture) {
	p.t.Helper()
	inner := capture.Decrypt("", p.dialer.ESPKeys()...)
	want := map[string]int{clientInner + " " + gatewayInner: 3, gatewayInner + " " + clientInner: 3}
	got := map[string]int{}
	for _, packet := range inner {
		if packet.Protocol == 1 {
			got[packet.Src.String()+" "+packet.Dst.String()]++
		}
	}
	if !maps.Equal(got, want) {
		p.t.Errorf("tshark found the inner packets %v, want %v", got, want)
	}
	rows := capture.DecryptIKE(p.server.IKEKeys(), "isakmp.exchangetype == 35", "isakmp.id.data.fqdn")
	if len(rows) != 2 || !strings.Contains(rows[0][0], "client.example") || rows[1][0] != "gw.example" {
		p.t.Errorf("tshark found the identities %v in IKE_AUTH, want the client's and the gateway's", rows)
	}
}

func TestExchangesOnTheWire(t *testing.T) {
	t.Parallel()
	p := connect(t)
	// A slow machine shall not add retransmissions to the wire.
	p.run(strongswan.Settings{RetransmitTimeout: time.Minute}, nil)
	capture := p.wan.Capture("udp port 500 or udp port 4500")
	p.initiate()
	sa := p.dialer.IKE("home")
	if err := p.dialer.TerminateIKE("home"); err != nil {
		t.Fatalf("the client does not delete its IKE SA: %v", err)
	}
	// RFC 7296 section 3.1: IKE_SA_INIT, IKE_AUTH, INFORMATIONAL.
	want := []uint8{34, 34, 35, 35, 37, 37}
	messages := capture.IKE("")
	if len(messages) != len(want) {
		t.Fatalf("the wire has %d IKE messages, want %d: %+v", len(messages), len(want), messages)
	}
	for i, m := range messages {
		response := i%2 == 1
		if m.ExchangeType != want[i] || m.MessageID != uint32(i/2) || m.Response != response || m.Initiator == response || m.Version != 0x20 {
			t.Errorf("message %d is %+v, want exchange %d with message id %d", i, m, want[i], i/2)
		}
		if m.InitiatorSPI != sa.InitiatorSPI || (i > 0 && m.ResponderSPI != sa.ResponderSPI) {
			t.Errorf("message %d has the SPIs %x and %x, charon says %x and %x", i, m.InitiatorSPI, m.ResponderSPI, sa.InitiatorSPI, sa.ResponderSPI)
		}
	}
	if sas := p.server.SAs(); len(sas) != 0 {
		t.Errorf("the gateway still has %+v", sas)
	}
	if n := p.server.Counters()["ike-init-in-req"]; n != 1 {
		t.Errorf("the gateway counted %d IKE_SA_INIT requests, want 1", n)
	}
}

func TestRekeyLosesNothing(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.run(strongswan.Settings{}, nil)
	p.initiate()
	child, ike := p.dialer.Child("net").SPIOut, p.dialer.IKE("home").InitiatorSPI
	stream := netlab.Stream{From: p.client, Source: clientInner, To: p.gateway, Dest: gatewayInner}.Start(t)
	stream.WaitFor(20, time.Minute)
	for _, d := range []*strongswan.Daemon{p.dialer, p.server} {
		if err := d.RekeyChild("net"); err != nil {
			t.Fatal(err)
		}
		stream.WaitFor(20, time.Minute)
		if err := d.RekeyIKE("home"); err != nil {
			t.Fatal(err)
		}
		stream.WaitFor(20, time.Minute)
	}
	if r := stream.Stop(); len(r.Lost) > 0 || r.Duplicated > 0 {
		t.Errorf("during the rekeying %v", r.Err())
	}
	if p.dialer.Child("net").SPIOut == child || p.dialer.IKE("home").InitiatorSPI == ike {
		t.Error("the SAs are still the first ones")
	}
}

func TestIPv6Outside(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.wan.AddAddr("2001:db8::2/64")
	p.gateway.Interface("wan").AddAddr("2001:db8::1/64")
	p.run(strongswan.Settings{}, func(c, g *strongswan.Connection) {
		c.RemoteAddrs, g.LocalAddrs = []string{"2001:db8::1"}, []string{"2001:db8::1"}
	})
	p.initiate()
	p.ping()
	if local := p.dialer.IKE("home").Local.Addr(); local != netip.MustParseAddr("2001:db8::2") {
		t.Errorf("the client's outer address is %v, want its IPv6 address", local)
	}
}

func TestIKEv1(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.run(strongswan.Settings{LogKeys: true}, func(c, g *strongswan.Connection) {
		for _, conn := range []*strongswan.Connection{c, g} {
			conn.Version, conn.Proposals = 1, []string{"aes128-sha1-modp1024"}
			conn.Children[0].Proposals = []string{"aes128-sha1"}
		}
	})
	capture := p.wan.Capture("udp port 4500")
	p.initiate()
	p.server.WaitChild("net", time.Minute) // the third message of Quick Mode has no answer
	p.ping()
	if v := p.server.IKE("home").Version; v != 1 {
		t.Errorf("the IKE SA is of version %d, want 1", v)
	}
	if n := len(capture.Decrypt("icmp", p.dialer.ESPKeys()...)); n != 6 {
		t.Errorf("tshark opened %d echo packets, want 6", n)
	}
}

func TestFragmentationIsForced(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.run(strongswan.Settings{FragmentSize: 300}, func(c, g *strongswan.Connection) {
		c.Fragmentation, g.Fragmentation = "force", "force"
	})
	capture := p.wan.Capture("udp port 500 or udp port 4500")
	p.initiate()
	// RFC 7383 section 2.5: Encrypted Fragment payloads are of type 53.
	if n := capture.Count("isakmp.nextpayload == 53"); n < 2 {
		t.Errorf("%d messages were fragments, want at least 2", n)
	}
}
