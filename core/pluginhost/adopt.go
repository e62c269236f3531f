package pluginhost

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"

	"github.com/evergate/evergate/offload/pluginrpc"
)

// adopt returns the process that a daemon before us has left, nil when there is
// none that we could go on with: then none is left behind either.
func (h *Host) adopt(ctx context.Context) *process {
	if h.keep == nil {
		return nil
	}
	r, err := h.keep.load()
	if err != nil {
		// Whatever runs there ends by itself: no daemon can reach it.
		h.log.Error("dataplane plugin of an earlier daemon is not known", "error", err)
		h.keep.forget()
		return nil
	}
	if r == nil {
		return nil
	}
	p, err := h.reattach(ctx, r)
	if err == nil {
		return p
	}
	if errors.Is(err, errEnded) {
		h.log.Info("dataplane plugin of an earlier daemon has ended", "pid", r.PID)
	} else {
		h.log.Warn("dataplane plugin of an earlier daemon is replaced", "pid", r.PID, "error", err)
	}
	return nil
}

var errEnded = errors.New("it has ended")

// reattach goes on with the process of a record, or ends it.
func (h *Host) reattach(ctx context.Context, r *record) (*process, error) {
	p := &process{dir: r.Dir, keep: h.keep, record: *r, boot: r.Boot}
	if !r.lives() {
		return nil, errors.Join(errEnded, p.clear())
	}
	var err error
	if p.program, err = adoptProgram(r, h.keep); err != nil {
		return nil, errors.Join(err, p.clear())
	}
	p.logs.Go(func() { forward(newBridge(h.log).Named(p.program.name), p.program.Stderr()) })
	if err := p.connect(ctx, h); err != nil {
		p.program.kill()
		<-p.program.done
		if p.client != nil {
			p.client.Kill() // ends what it has begun
		}
		_ = p.program.stderr.Close() // or that was done with the client
		return nil, errors.Join(err, p.clear())
	}
	return p, nil
}

// clear removes what is left of a process that is gone.
func (p *process) clear() error {
	p.logs.Wait()
	p.keep.forget()
	if p.dir == "" {
		return nil
	}
	return os.RemoveAll(p.dir)
}

// connect opens a connection to a process that was started by another daemon.
func (p *process) connect(ctx context.Context, h *Host) error {
	if h.config.Outlive <= 0 {
		return errors.New("it is not to outlive a daemon any more")
	}
	if err := p.record.fits(h.config.Plugin, h.config.Owner); err != nil {
		return err
	}
	tlsConfig, err := p.record.Identity.tlsConfig(new(seenCert))
	if err != nil {
		return err
	}
	config := h.clientConfig(tlsConfig)
	config.Reattach = &plugin.ReattachConfig{
		Protocol: plugin.ProtocolGRPC, ProtocolVersion: p.record.Protocol,
		Addr:         &net.UnixAddr{Name: p.record.Socket, Net: "unix"},
		ReattachFunc: func() (runner.AttachedRunner, error) { return p.program, nil },
	}
	p.client = plugin.NewClient(config)
	if p.engine, err = pluginrpc.Dispense(p.client); err != nil {
		return err
	}
	// The connection is made by the first call.
	if _, err := p.info(ctx, h.config.HealthTimeout); err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	return nil
}

// forward hands the lines of an adopted process's log on, as go-plugin does for
// those that it has started.
func forward(log hclog.Logger, lines io.ReadCloser) {
	in := bufio.NewScanner(lines)
	in.Buffer(nil, maxLogLine)
	for in.Scan() {
		logLine(log, in.Bytes())
	}
	// A line that is too long ends the scanner, and must not stop the process.
	_, _ = io.Copy(io.Discard, lines)
}

// maxLogLine bounds what is kept of one.
const maxLogLine = 64 << 10

// logLine logs one line: hclog's JSON, or plain text.
func logLine(log hclog.Logger, line []byte) {
	var entry map[string]any
	if json.Unmarshal(line, &entry) != nil {
		log.Info(string(line))
		return
	}
	message, _ := entry["@message"].(string)
	level, _ := entry["@level"].(string)
	var args []any
	for _, key := range slices.Sorted(maps.Keys(entry)) {
		if !strings.HasPrefix(key, "@") {
			args = append(args, key, entry[key])
		}
	}
	log.Log(hclog.LevelFromString(level), message, args...)
}
