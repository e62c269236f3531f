package pluginhost

import (
	"bytes"
	"context"
	"crypto/tls"
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

// process is one life of a plugin, or what is left of one that began under an
// earlier daemon.
type process struct {
	program *program
	client  *plugin.Client
	engine  *pluginrpc.Client
	dir     string  // its sockets
	keep    *keeper // nil for one that ends with us
	record  record
	logs    sync.WaitGroup // the reader of an adopted one's log

	// Guarded by Host.configuring:
	boot   uint32
	bootID string
}

// launch starts a process and shakes hands with it. It ends early with ctx.
func (h *Host) launch(ctx context.Context) (*process, error) {
	spec := h.config.Plugin
	if err := spec.check(); err != nil {
		return nil, unfit{err}
	}
	id, err := newIdentity()
	if err != nil {
		return nil, err
	}
	var seen seenCert
	tlsConfig, err := id.tlsConfig(&seen)
	if err != nil {
		return nil, err
	}
	prog, last := newProgram(spec, h.keep), new(lastLine)
	p := &process{program: prog, keep: h.keep}
	if h.keep != nil {
		prog.cmd.Env = append(prog.cmd.Env, pluginrpc.EnvOrphanTime+"="+h.config.Outlive.String())
		prog.began = func(pid int) (err error) {
			if p.record, err = recordOf(spec, h.config.Owner, pid, id); err == nil {
				err = h.keep.save(p.record)
			}
			return err
		}
	}
	config := h.clientConfig(tlsConfig)
	config.StartTimeout, config.Stderr = h.config.StartTimeout, last
	config.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: h.config.RuntimeDir}
	config.RunnerFunc = func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
		p.dir = dir
		prog.cmd.Env = append(append(prog.cmd.Env, cmd.Env...), envClientCert+"="+string(id.Certificate))
		return prog, nil
	}
	p.client = plugin.NewClient(config)
	defer context.AfterFunc(ctx, prog.kill)()
	if p.engine, err = pluginrpc.Dispense(p.client); err != nil {
		select {
		case <-prog.done:
			err = errors.Join(err, prog.err)
		default:
		}
		p.kill()
		if err = startError(spec, err, last); prog.unfit() {
			err = unfit{err}
		}
		return nil, err
	}
	p.record.Identity.Plugin = seen.get()
	p.record.Socket, p.record.Dir = p.client.ReattachConfig().Addr.String(), p.dir
	return p, nil
}

func (h *Host) clientConfig(c *tls.Config) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  pluginrpc.Handshake(),
		Plugins:          pluginrpc.Plugins(nil),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		TLSConfig:        c,
		SkipHostEnv:      true,
		Logger:           newBridge(h.log),
	}
}

// remember notes what the next daemon must know of a process that is up. The
// caller holds configuring.
func (p *process) remember() error {
	if p.keep == nil {
		return nil
	}
	p.record.Boot = p.boot
	return p.keep.save(p.record)
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
	p.logs.Wait()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // what a process that was killed left there
	}
	p.keep.forget()
}

// leave lets the process go on, for the next daemon: the connection ends without
// a word.
func (p *process) leave() {
	if protocol, err := p.client.Client(); err == nil {
		if c, ok := protocol.(*plugin.GRPCClient); ok {
			_ = c.Conn.Close()
		}
	}
	p.program.leave()
	<-p.program.done
	p.logs.Wait()
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
