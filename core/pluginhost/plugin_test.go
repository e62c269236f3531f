package pluginhost_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// What the test binary is when the host starts it: see plugins.
const envMode = "EVERGATE_TEST_PLUGIN"

// TestMain is the main of the plugins too: they are real processes.
func TestMain(m *testing.M) {
	if name, ok := pluginhost.Embedded(); ok {
		os.Exit(plugins()[name]())
	}
	if mode := os.Getenv(envMode); mode != "" {
		os.Exit(plugins()[mode]())
	}
	goleak.VerifyTestMain(m)
}

// plugins are the mains by mode.
func plugins() map[string]func() int {
	return map[string]func() int{
		"good": good,
		"family": func() int { // whose child holds its pipes
			child := exec.Command("sleep", "1000")
			child.Stdout, child.Stderr = os.Stdout, os.Stderr
			if err := child.Start(); err != nil {
				return 1
			}
			if err := os.WriteFile(os.Getenv("CHILD"), fmt.Append(nil, child.Process.Pid), 0o600); err != nil {
				return 1
			}
			return good()
		},
		"exits": func() int {
			fmt.Fprintln(os.Stderr, "no such device: fpga0")
			return 3
		},
		"talks": func() int {
			fmt.Fprintln(os.Stdout, "Welcome to the plugin!")
			select {}
		},
		"mute": func() int { select {} },
		"newer": func() int {
			handshake := pluginrpc.Handshake()
			handshake.ProtocolVersion = 99
			plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: pluginrpc.Plugins(mem.New(mem.Options{})), GRPCServer: plugin.DefaultGRPCServer})
			return 0
		},
		"stranger": func() int {
			plugin.Serve(&plugin.ServeConfig{
				HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "OTHER", MagicCookieValue: "product"},
				Plugins:         pluginrpc.Plugins(mem.New(mem.Options{})), GRPCServer: plugin.DefaultGRPCServer,
			})
			return 0
		},
	}
}

// good serves the reference engine.
func good() int {
	log := pluginrpc.NewLogger(os.Stderr, "reference", slog.LevelDebug)
	e := &engine{log: log}
	e.Engine = mem.New(mem.Options{
		Name:     fmt.Sprintf("process %d", os.Getpid()),
		Settings: []string{"install"},
	})
	return pluginrpc.Serve(e, log)
}

// engine is the reference engine with handles for the tests.
type engine struct {
	*mem.Engine
	log     *slog.Logger
	version atomic.Pointer[string]
}

// Configure shows in Info what it was given.
func (e *engine) Configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	e.log.Warn("plugin configured", "boot", c.Boot, "secret", os.Getenv("VPN1_PSK"))
	if c.Settings["install"] == "hang" {
		e.Inject(mem.CallInstall, mem.Hang())
	}
	if _, err := e.Engine.Configure(ctx, c); err != nil {
		return offload.Info{}, err
	}
	version := fmt.Sprintf("boot %d, %d addresses", c.Boot, len(c.Addresses))
	e.version.Store(&version)
	return e.Info(ctx)
}

// Info has what Configure was given in place of a version.
func (e *engine) Info(ctx context.Context) (offload.Info, error) {
	info, err := e.Engine.Info(ctx)
	if v := e.version.Load(); v != nil {
		info.Version = *v
	}
	return info, err
}

// Demote of group 15 loses all SAs, as a device does that resets itself.
func (e *engine) Demote(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	if g == 15 {
		e.Reset()
		return nil
	}
	return e.Engine.Demote(ctx, g, epoch)
}

// Arm of group 15 makes trouble on standard output.
func (e *engine) Arm(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	if g == 15 {
		_, err := fmt.Fprintln(os.Stdout, "garbage|on|standard|output")
		return err
	}
	return e.Engine.Arm(ctx, g, epoch)
}
