package offloadtest

import (
	"context"
	"io"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/evergate/evergate/offload/pluginrpc"
)

// startTimeout bounds the start of a plugin process up to its handshake.
const startTimeout = time.Minute

// Executable opens each dataplane as a process of the plugin at path, started
// with args. The plugin's log goes to log. base is what its harnesses have
// beside the Engine: Config and addresses.
func Executable(log io.Writer, base Harness, path string, args ...string) Open {
	return func(ctx context.Context) (*Harness, error) {
		process := plugin.NewClient(&plugin.ClientConfig{
			HandshakeConfig:  pluginrpc.Handshake(),
			Plugins:          pluginrpc.Plugins(nil),
			Cmd:              exec.CommandContext(ctx, path, args...), // Kill comes first and asks
			AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
			AutoMTLS:         true,
			StartTimeout:     startTimeout,
			Logger:           hclog.New(&hclog.LoggerOptions{Name: "plugin", Level: hclog.Warn, Output: log}),
		})
		client, err := pluginrpc.Dispense(process)
		if err != nil {
			process.Kill()
			return nil, err
		}
		h := base
		h.Engine = client
		h.Close = func() error {
			process.Kill()
			return nil
		}
		return &h, nil
	}
}
