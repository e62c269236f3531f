package strongswan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

func TestRefusalsComeWithCharonsAccount(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(client, gateway *strongswan.Connection)
		want  string
	}{
		"wrong key":          {func(c, _ *strongswan.Connection) { c.PSK = "wrong horse" }, "AUTHENTICATION_FAILED"},
		"wrong identity":     {func(c, _ *strongswan.Connection) { c.Local.ID = strongswan.FQDN("stranger.example") }, "AUTHENTICATION_FAILED"},
		"no common proposal": {func(c, _ *strongswan.Connection) { c.Proposals = []string{"aes256-sha512-ecp384"} }, "NO_PROPOSAL_CHOSEN"},
		"selectors": {func(c, _ *strongswan.Connection) {
			c.Children = []strongswan.Child{{Name: "net", LocalTS: []string{"172.16.0.0/16"}, RemoteTS: []string{"172.17.0.0/16"}, Proposals: []string{"aes128gcm16"}}}
		}, "TS_UNACCEPTABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t)
			p.run(strongswan.Settings{}, c.spoil)
			if err := p.dialer.Initiate("net"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("the initiation returned %v, want %s in it", err, c.want)
			}
		})
	}
}

func TestEveryTypeOfIdentity(t *testing.T) {
	t.Parallel()
	ids := []strongswan.ID{
		strongswan.FQDN("client.example"),
		strongswan.RFC822("client@example.com"),
		strongswan.IPv4("198.51.100.7"),
		strongswan.IPv6("2001:db8::7"),
		strongswan.KeyID([]byte{0, 1, 0xfe, 'x'}),
		strongswan.DN("C=CH, O=Example, CN=client"),
	}
	p := connect(t)
	p.run(strongswan.Settings{}, nil)
	for i, id := range ids {
		name := fmt.Sprint("id", i)
		client := strongswan.Connection{
			Name: name, RemoteAddrs: []string{gatewayAddr}, Proposals: []string{"aes128-sha256-x25519"},
			Local: strongswan.Auth{ID: id}, Remote: strongswan.Auth{ID: strongswan.FQDN(name + ".example")}, PSK: name,
			Children: []strongswan.Child{{Name: name, LocalTS: []string{clientInner + "/32"}, RemoteTS: []string{gatewayInner + "/32"}}},
		}
		gateway := client
		gateway.RemoteAddrs, gateway.Local, gateway.Remote = nil, client.Remote, client.Local
		gateway.Children = []strongswan.Child{{Name: name, LocalTS: []string{gatewayInner + "/32"}, RemoteTS: []string{clientInner + "/32"}}}
		p.dialer.Load(client)
		p.server.Load(gateway)
		if err := p.dialer.Initiate(name); err != nil {
			t.Errorf("identity %s: %v", id, err)
		}
	}
}

func TestConnectionReadsAsSwanctlConf(t *testing.T) {
	t.Parallel()
	text := strongswan.Connection{
		Name: "home", RemoteAddrs: []string{"192.0.2.1"}, PSK: "correct horse", DPDDelay: 30 * time.Second,
		Children: []strongswan.Child{{Name: "net", RekeyTime: time.Minute}},
	}.String()
	for _, want := range []string{"home {", "remote_addrs = 192.0.2.1", "dpd_delay = 30s", "rekey_time = 60s", "rand_time = 0s", "mobike = no"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "horse") {
		t.Errorf("the key is in\n%s", text)
	}
}

func TestLossIsRetransmitted(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.run(strongswan.Settings{RetransmitTimeout: 200 * time.Millisecond}, nil)
	request := p.gateway.Interface("wan").Drop("udp dport 500", netlab.First(2))
	response := p.wan.Drop("udp sport 4500", netlab.First(1))
	p.initiate()
	if request.Count() != 2 || response.Count() != 1 {
		t.Errorf("%d requests and %d responses were lost, want 2 and 1", request.Count(), response.Count())
	}
	p.server.Log().Wait(`received retransmit of request with ID 1, retransmitting response`, time.Minute)
}

func TestKilledPeerIsDetected(t *testing.T) {
	t.Parallel()
	p := connect(t)
	p.run(strongswan.Settings{RetransmitTimeout: 100 * time.Millisecond, RetransmitTries: 2}, func(_, g *strongswan.Connection) {
		g.DPDDelay = time.Second
	})
	p.initiate()
	p.dialer.Kill()
	netlab.Eventually(t, time.Minute, "the gateway has forgotten the client", func() error {
		if sas := p.server.SAs(); len(sas) > 0 {
			return fmt.Errorf("it has %+v", sas)
		}
		return nil
	})
}

// TestBehindNAT is a client at home: client - router that translates - gateway.
func TestBehindNAT(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	p := &pair{t: t, client: lab.Namespace("client"), gateway: lab.Namespace("gateway")}
	router := lab.Namespace("router")
	lab.Link(p.client.Port("wan", "10.0.0.2/24"), router.Port("in", "10.0.0.1/24"))
	outside, far := lab.Link(router.Port("out", "192.0.2.254/24"), p.gateway.Port("wan", gatewayAddr+"/24"))
	router.Forward()
	nat := outside.Masquerade()
	p.client.Route("0.0.0.0/0", "10.0.0.1")
	p.client.Loopback(clientInner + "/32")
	p.gateway.Loopback(gatewayInner + "/32")
	p.run(strongswan.Settings{}, nil)
	capture := far.Capture("udp")
	p.initiate()
	p.ping()
	before := p.server.IKE("home").Remote
	if before.Addr().String() != "192.0.2.254" || before.Port() == 4500 {
		t.Errorf("the gateway knows its peer as %v, want the router's address and a translated port", before)
	}
	for _, packet := range capture.ESP("") {
		if packet.Src != before && packet.Dst != before {
			t.Errorf("ESP passed outside the mapping %v: %+v", before, packet)
		}
	}
	nat.Rebind()
	// The gateway follows an authenticated IKE message, not ESP.
	if err := p.dialer.RekeyChild("net"); err != nil {
		t.Fatal(err)
	}
	p.ping()
	if after := p.server.IKE("home").Remote; after == before {
		t.Errorf("the gateway still knows its peer as %v", before)
	}
}
