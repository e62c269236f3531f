package pluginhost

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// process is one life of a plugin.
type process struct {
	program *program
	client  *plugin.Client
	engine  *pluginrpc.Client
	dir     string // its sockets

	// Guarded by Host.configuring:
	boot   uint32
	bootID string
}

// launch starts a process and shakes hands with it. It ends early with ctx.
func (h *Host) launch(ctx context.Context) (*process, error) {
	spec := h.config.Plugin
	if err := spec.check(); err != nil {
		return nil, err
	}
	prog, last := newProgram(spec), new(lastLine)
	p := &process{program: prog}
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  pluginrpc.Handshake(),
		Plugins:          pluginrpc.Plugins(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     h.config.StartTimeout,
		Logger:           newBridge(h.log),
		Stderr:           last,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: h.config.RuntimeDir},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			p.dir = dir
			prog.cmd.Env = append(prog.cmd.Env, cmd.Env...)
			return prog, nil
		},
	})
	defer context.AfterFunc(ctx, prog.kill)()
	var err error
	if p.engine, err = pluginrpc.Dispense(p.client); err != nil {
		select {
		case <-prog.done:
			err = errors.Join(err, prog.err)
		default:
		}
		p.kill()
		return nil, startError(spec, err, last)
	}
	return p, nil
}

// startError makes one line of what go-plugin says in several, with the last
// thing that the plugin said itself.
func startError(s Spec, err error, last *lastLine) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if words := last.String(); words != "" {
		text += fmt.Sprintf("; the plugin's last words: %q", words)
	}
	return fmt.Errorf("pluginhost: start plugin %s (%s): %s", s.Name, s.Path, text)
}

// stop asks the process to end, gives it the time that go-plugin gives, and kills
// it at the latest after grace. When it returns the process is gone.
func (p *process) stop(grace time.Duration) {
	defer time.AfterFunc(grace, p.program.kill).Stop()
	p.client.Kill()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // what a process that was killed left there
	}
}

// kill ends the process without asking: it may be hung.
func (p *process) kill() {
	p.program.kill()
	p.stop(0)
}

// exitError says how the process ended.
func (p *process) exitError() error {
	if p.program.err == nil {
		return errors.New("the plugin exited by itself")
	}
	return fmt.Errorf("the plugin died: %w", p.program.err)
}

// info asks for Info with a deadline.
func (p *process) info(ctx context.Context, timeout time.Duration) (offload.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return p.engine.Info(ctx)
}

// maxLastLine bounds what is kept of a line.
const maxLastLine = 400

// lastLine keeps the last line that is not empty of what is written to it, in
// pieces that do not cross a line's end.
type lastLine struct {
	mu   sync.Mutex
	line []byte
}

// Write implements io.Writer.
func (l *lastLine) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if line := bytes.TrimSpace(b); len(line) > 0 {
		l.line = bytes.Clone(line[:min(len(line), maxLastLine)])
	}
	return len(b), nil
}

// String is the line, or what it says when it is one of hclog's JSON lines.
func (l *lastLine) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var entry struct {
		Message string `json:"@message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(l.line, &entry) != nil || entry.Message == "" {
		return string(l.line)
	}
	return strings.TrimSuffix(entry.Message+": "+entry.Error, ": ")
}
