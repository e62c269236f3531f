package gateway

import "github.com/evergate/evergate/core/netlab"

// The addresses of a Site. Those of IPv4 are from FortiOS's example of a dialup
// server.
const (
	GatewayAddr  = "192.168.202.31" // local-gw, on the gateway's loopback
	GatewayAddr6 = "fd00:202::31"
	ClientAddr   = "192.168.1.2"
	ClientAddr6  = "fd00:1::2"
	ClientNet    = "10.10.1.0/24"
	ClientNet6   = "fd00:10::/64"
	ClientHost   = "10.10.1.1"
	ClientHost6  = "fd00:10::1"
	ServerNet    = "172.31.125.0/24"
	ServerNet6   = "fd00:31::/64"
	ServerHost   = "172.31.125.1"
	ServerHost6  = "fd00:31::1"
)

// Site is a client, a router, a gateway with its local-gw on the loopback, and a
// server behind it:
//
//	client --wan-- router --port2-- gateway --port3-- server
//
// The client's network is on its loopback; so is local-gw on the gateway's.
type Site struct {
	Client, Router, Gateway, Server *netlab.Namespace
	// WAN is the router's interface towards the client, Uplink the one towards
	// the gateway.
	WAN, Uplink *netlab.Interface
	// ClientWAN is the client's end of WAN, Port2 the gateway's end of Uplink.
	ClientWAN, Port2 *netlab.Interface
}

// NewSite builds a Site.
func NewSite(lab *netlab.Lab) *Site {
	s := &Site{
		Client: lab.Namespace("client"), Router: lab.Namespace("router"),
		Gateway: lab.Namespace("gateway"), Server: lab.Namespace("server"),
	}
	s.ClientWAN, s.WAN = lab.Link(
		s.Client.Port("wan", ClientAddr+"/24", ClientAddr6+"/64"),
		s.Router.Port("client", "192.168.1.1/24", "fd00:1::1/64"))
	s.Uplink, s.Port2 = lab.Link(
		s.Router.Port("gateway", "192.168.125.1/24", "fd00:125::1/64"),
		s.Gateway.Port("port2", "192.168.125.254/24", "fd00:125::254/64"))
	lab.Link(
		s.Gateway.Port("port3", "172.31.125.254/24", "fd00:31::254/64"),
		s.Server.Port("lan", ServerHost+"/24", ServerHost6+"/64"))
	s.Client.Loopback(ClientHost+"/32", ClientHost6+"/128")
	s.Gateway.Loopback(GatewayAddr+"/32", GatewayAddr6+"/128")
	s.Router.Forward()
	s.Gateway.Forward()
	s.Client.Route("0.0.0.0/0", "192.168.1.1")
	s.Client.Route("::/0", "fd00:1::1")
	s.Router.Route(GatewayAddr+"/32", "192.168.125.254")
	s.Router.Route(GatewayAddr6+"/128", "fd00:125::254")
	s.Gateway.Route("192.168.1.0/24", "192.168.125.1")
	s.Gateway.Route("fd00:1::/64", "fd00:125::1")
	s.Server.Route("0.0.0.0/0", "172.31.125.254")
	s.Server.Route("::/0", "fd00:31::254")
	return s
}
