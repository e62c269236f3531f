package pluginrpc_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"

	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// envPart makes this test binary play a part in another process.
const envPart = "EVERGATE_PLUGINRPC_TEST"

// The parts.
const (
	asPlugin = "plugin" // serves a plane in memory
	asDaemon = "daemon" // starts a plugin, tells about it and waits to be killed
)

func TestMain(m *testing.M) {
	switch os.Getenv(envPart) {
	case asPlugin:
		os.Exit(playPlugin())
	case asDaemon:
		os.Exit(playDaemon())
	}
	goleak.VerifyTestMain(m)
}

// closesAloud says that it was closed, for the test to see.
type closesAloud struct {
	*mem.Engine
	log *slog.Logger
}

func (c closesAloud) Close() error {
	c.log.Info("engine closed")
	return c.Engine.Close()
}

func playPlugin() int {
	log := pluginrpc.NewLogger(os.Stderr, "plane", slog.LevelInfo)
	log.Info("plugin starting", "answer", 42)
	return pluginrpc.Serve(closesAloud{mem.New(mem.Options{}), log}, log)
}

// started is what a daemon tells of its plugin.
type started struct {
	Pid  int
	Addr string
}

func playDaemon() int {
	client := plugin.NewClient(pluginConfig(io.Discard))
	if _, err := pluginrpc.Dispense(client); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	p := client.ReattachConfig()
	if err := json.NewEncoder(os.Stdout).Encode(started{p.Pid, p.Addr.String()}); err != nil {
		return 1
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return 0
}

// pluginConfig starts this test binary as a plugin.
func pluginConfig(log io.Writer) *plugin.ClientConfig {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envPart+"="+asPlugin)
	return &plugin.ClientConfig{
		HandshakeConfig:  pluginrpc.Handshake(),
		Plugins:          pluginrpc.Plugins(nil),
		Cmd:              cmd,
		SkipHostEnv:      true, // cmd has it, and a part of its own
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: log, JSONFormat: true}),
		SyncStdout:       io.Discard,
		SyncStderr:       io.Discard,
	}
}
