package pluginrpc

import (
	"context"
	"fmt"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/evergate/evergate/offload"
)

const (
	// ProtocolVersion of the contract. It grows when a plugin built against the
	// one before can no longer be used; additions do not change it.
	ProtocolVersion = 1
	// ContractMinor counts the additions to the contract within ProtocolVersion:
	// "Versions" of package offload has the list. Before anything is added the
	// version so far goes on record (make contract-record), for the tests that
	// play the ends that were built against it.
	ContractMinor = 4
	// PluginName is the one plugin that an executable serves.
	PluginName = "offload"
)

// Handshake is what both sides must agree on before they speak. The cookie is no
// secret: it keeps people from starting a plugin by hand.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "EVERGATE_PLUGIN",
		MagicCookieValue: "offload-dataplane-6f2c9d1e",
	}
}

// Plugins is the plugin set of both sides. The host gives no engine, and gets a
// *Client when it dispenses PluginName.
func Plugins(engine offload.Engine) plugin.PluginSet {
	return plugin.PluginSet{PluginName: &Plugin{Engine: engine}}
}

// Plugin is a dataplane as go-plugin sees it.
type Plugin struct {
	plugin.NetRPCUnsupportedPlugin
	// Engine is what the plugin process serves; nil in the host.
	Engine offload.Engine
}

var _ plugin.GRPCPlugin = (*Plugin)(nil)

// GRPCServer implements plugin.GRPCPlugin, in the plugin process.
func (p *Plugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	if p.Engine == nil {
		return fmt.Errorf("pluginrpc: serve: no engine was given")
	}
	Register(s, p.Engine)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin, in the host.
func (p *Plugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn), nil
}

// Dispense returns the Engine that the plugin process of c serves, starting the
// process if need be. The caller kills c when it is done.
func Dispense(c *plugin.Client) (*Client, error) {
	protocol, err := c.Client()
	if err != nil {
		return nil, fmt.Errorf("pluginrpc: connect to the plugin: %w", err)
	}
	raw, err := protocol.Dispense(PluginName)
	if err != nil {
		return nil, fmt.Errorf("pluginrpc: dispense %q: %w", PluginName, err)
	}
	client, ok := raw.(*Client)
	if !ok {
		return nil, fmt.Errorf("pluginrpc: dispense %q: got a %T", PluginName, raw)
	}
	return client, nil
}
