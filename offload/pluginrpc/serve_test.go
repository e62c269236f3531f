package pluginrpc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/evergate/evergate/offload/pluginrpc"
)

// lines is a log that is read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// process holds on to a process, so that its end can be waited for.
type process struct {
	t   *testing.T
	pid int
	fd  int
}

func hold(t *testing.T, pid int) process {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("Process %d cannot be held: %v.", pid, err)
	}
	t.Cleanup(func() {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // where the test failed before its end
		_ = unix.Close(fd)
	})
	return process{t, pid, fd}
}

func (p process) signal(s unix.Signal) {
	p.t.Helper()
	if err := unix.PidfdSendSignal(p.fd, s, nil, 0); err != nil {
		p.t.Fatalf("Signal %v cannot be sent: %v.", s, err)
	}
}

// waitGone returns when the process has ended. One that never does fails the
// test by the time limit of go test.
func (p process) waitGone() {
	p.t.Helper()
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func wantNoSocket(t *testing.T, path string) {
	t.Helper()
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("A plugin that ended should leave no socket at %s, got %v.", path, err)
	}
}

func TestAPluginStopsWhenItIsToldTo(t *testing.T) {
	for _, c := range []struct {
		how  string
		stop func(*plugin.Client, process)
	}{
		{"over gRPC", func(c *plugin.Client, _ process) { c.Kill() }},
		{"by SIGTERM", func(_ *plugin.Client, p process) { p.signal(unix.SIGTERM) }},
	} {
		t.Run(c.how, func(t *testing.T) {
			log := &lines{}
			client := plugin.NewClient(pluginConfig(log))
			defer client.Kill()
			engine, err := pluginrpc.Dispense(client)
			if err != nil {
				t.Fatalf("The plugin cannot be started: %v.\n%s", err, log)
			}
			at := client.ReattachConfig()
			p := hold(t, at.Pid)
			p.signal(unix.SIGINT) // Ctrl-C is the daemon's business
			if info, err := engine.Info(t.Context()); err != nil || info.Name != "mem" {
				t.Errorf("After SIGINT the plugin should go on, got %+v (%v).", info, err)
			}
			c.stop(client, p)
			p.waitGone()
			client.Kill() // waits for the log too
			wantNoSocket(t, at.Addr.String())
			if !strings.Contains(log.String(), `"@message":"engine closed"`) {
				t.Errorf("The engine should be closed at the end, the log says:\n%s", log)
			}
			if !strings.Contains(log.String(), `"@message":"plugin starting"`) || !strings.Contains(log.String(), `"answer":42`) {
				t.Errorf("A line of NewLogger should reach the daemon with its attributes, got:\n%s", log)
			}
		})
	}
}

// daemon starts a daemon process with a plugin of its own.
func daemon(t *testing.T, env ...string) (d process, p started) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), envPart+"="+asDaemon), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatalf("The daemon gets no standard input: %v.", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("The daemon gets no standard output: %v.", err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("The daemon cannot be started: %v.", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // killed: an error
	})
	if err := json.NewDecoder(out).Decode(&p); err != nil {
		t.Fatalf("The daemon does not tell of its plugin: %v.", err)
	}
	return hold(t, cmd.Process.Pid), p
}

func TestAPluginEndsWithItsDaemon(t *testing.T) {
	d, at := daemon(t)
	p := hold(t, at.Pid)
	d.signal(unix.SIGKILL)
	p.waitGone()
	wantNoSocket(t, at.Addr)
}

func TestAPluginOutlivesItsDaemonWhenAskedTo(t *testing.T) { // B6
	d, at := daemon(t, pluginrpc.EnvOrphanTime+"=1h")
	p := hold(t, at.Pid)
	d.signal(unix.SIGKILL)
	d.waitGone()

	conn, err := grpc.NewClient("unix:"+at.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatalf("The plugin cannot be reached: %v.", err)
	}
	defer func() { _ = conn.Close() }()
	engine := pluginrpc.NewClient(conn)
	for range 3 {
		if info, err := engine.Info(t.Context()); err != nil || info.Name != "mem" {
			t.Fatalf("A plugin that outlives its daemon should answer, got %+v (%v).", info, err)
		}
	}
	p.signal(unix.SIGTERM) // it logs that the engine was closed, to nobody
	p.waitGone()
	wantNoSocket(t, at.Addr)
}

// TestAPluginThatNoDaemonComesForEnds: what nobody can drive any more must not
// hold interfaces and ports, nor forward for ever.
func TestAPluginThatNoDaemonComesForEnds(t *testing.T) { // B6
	d, at := daemon(t, pluginrpc.EnvOrphanTime+"=50ms")
	p := hold(t, at.Pid)
	d.signal(unix.SIGKILL)
	p.waitGone()
	wantNoSocket(t, at.Addr)
}

func TestAnOrphanTimeThatIsNoneIsRefused(t *testing.T) {
	for _, text := range []string{"soon", "-1s", "0s"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cookie := pluginrpc.Handshake()
		cmd.Env = append(os.Environ(), envPart+"="+asPlugin, cookie.MagicCookieKey+"="+cookie.MagicCookieValue, pluginrpc.EnvOrphanTime+"="+text)
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), pluginrpc.EnvOrphanTime) {
			t.Errorf("An orphan time of %q should be refused by name, got %v: %s", text, err, out)
		}
	}
}

func TestAPluginStartedByHandSaysWhatItIs(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envPart+"="+asPlugin)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "evergated starts it") {
		t.Errorf("A plugin started by hand should say what it is and exit with 2, got %v: %s", err, out)
	}
}
