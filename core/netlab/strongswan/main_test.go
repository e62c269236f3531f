package strongswan_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a client and a gateway, both strongSwan, whose inner networks
// 10.88.0.2/32 and 10.88.0.1/32 are on their loopbacks.
type pair struct {
	t               *testing.T
	client, gateway *netlab.Namespace
	wan             *netlab.Interface // the client's
	dialer, server  *strongswan.Daemon
}

const (
	clientAddr, gatewayAddr   = "192.0.2.2", "192.0.2.1"
	clientInner, gatewayInner = "10.88.0.2", "10.88.0.1"
)

func connect(t *testing.T) *pair {
	t.Helper()
	lab := netlab.New(t)
	p := &pair{t: t, client: lab.Namespace("client"), gateway: lab.Namespace("gateway")}
	p.wan, _ = lab.Link(p.client.Port("wan", clientAddr+"/24"), p.gateway.Port("wan", gatewayAddr+"/24"))
	p.client.Loopback(clientInner + "/32")
	p.gateway.Loopback(gatewayInner + "/32")
	return p
}

// run starts both daemons with connections that match.
func (p *pair) run(settings strongswan.Settings, edit func(client, gateway *strongswan.Connection)) {
	p.t.Helper()
	client := strongswan.Connection{
		Name: "home", RemoteAddrs: []string{gatewayAddr}, Proposals: []string{"aes128-sha256-x25519"},
		Local: strongswan.Auth{ID: strongswan.FQDN("client.example")}, Remote: strongswan.Auth{ID: strongswan.FQDN("gw.example")},
		PSK: "correct horse",
		Children: []strongswan.Child{{
			Name: "net", LocalTS: []string{clientInner + "/32"}, RemoteTS: []string{gatewayInner + "/32"}, Proposals: []string{"aes128gcm16"},
		}},
	}
	gateway := client
	gateway.RemoteAddrs, gateway.LocalAddrs = nil, []string{gatewayAddr}
	gateway.Local, gateway.Remote = client.Remote, client.Local
	gateway.Children = []strongswan.Child{{
		Name: "net", LocalTS: []string{gatewayInner + "/32"}, RemoteTS: []string{clientInner + "/32"}, Proposals: []string{"aes128gcm16"},
	}}
	if edit != nil {
		edit(&client, &gateway)
	}
	p.dialer = strongswan.Start(p.client, settings)
	p.server = strongswan.Start(p.gateway, settings)
	p.dialer.Load(client)
	p.server.Load(gateway)
}

func (p *pair) initiate() {
	p.t.Helper()
	if err := p.dialer.Initiate("net"); err != nil {
		p.t.Fatalf("the client does not get its tunnel: %v", err)
	}
}

func (p *pair) ping() {
	p.t.Helper()
	if err := p.client.Echo(p.t.Context(), gatewayInner, clientInner, 3); err != nil {
		p.t.Fatalf("ping through the tunnel: %v", err)
	}
}
