package pluginhost_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/offload"
)

// A bench is a running host with what can be seen of it.
type bench struct {
	*pluginhost.Host
	t      *testing.T
	dir    string
	log    *buffer
	events chan offload.Event
	stop   func()
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu    sync.Mutex
	b     bytes.Buffer
	grown chan struct{} // closed by the next line
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
	return b.b.Write(p)
}

// next returns a channel that the next line closes.
func (b *buffer) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return b.grown
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func spec(t *testing.T, mode string, env ...string) pluginhost.Spec {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("The test does not know its own file: %v.", err)
	}
	return pluginhost.Spec{Name: mode, Path: self, Env: append(env, envMode+"="+mode, "GORACE=atexit_sleep_ms=0")}
}

// runtimeDir is short enough for the paths of sockets.
func runtimeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "evg") //nolint:usetesting // t.TempDir has the test's name in its path
	if err != nil {
		t.Fatalf("No runtime directory: %v.", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// run starts a host; it ends with the test, and leaves nothing behind.
func run(t *testing.T, s pluginhost.Spec, adjust ...func(*pluginhost.Config)) *bench {
	t.Helper()
	b := &bench{t: t, dir: runtimeDir(t), log: new(buffer), events: make(chan offload.Event, 100)}
	boot := uint32(6)
	c := pluginhost.Config{
		Plugin: s, RuntimeDir: b.dir, Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Boot:        func() (uint32, error) { boot++; return boot, nil },
		WaitTimeout: time.Minute, CallTimeout: time.Minute, HealthTimeout: time.Minute,
		MinPause: time.Millisecond, MaxPause: 4 * time.Millisecond,
	}
	for _, f := range adjust {
		f(&c)
	}
	host, err := pluginhost.New(c)
	if err != nil {
		t.Fatalf("No host: %v.", err)
	}
	b.Host = host
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // t's ends before the cleanup
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := host.Run(ctx); err != nil {
			t.Errorf("The host ended with %v.", err)
		}
	})
	parts.Go(func() {
		for ev, err := range host.Events(ctx) {
			if err != nil {
				t.Errorf("The stream of events has an error: %v.", err)
			}
			b.events <- ev
		}
	})
	b.stop = sync.OnceFunc(func() { cancel(); parts.Wait() })
	t.Cleanup(b.wantNothingLeft)
	return b
}

func (b *bench) wantNothingLeft() {
	b.stop()
	left, err := os.ReadDir(b.dir)
	if err != nil || len(left) > 0 {
		b.t.Errorf("In the runtime directory %v is left, error %v.", left, err)
	}
	if s := b.Status(); s.PID != 0 || s.State != pluginhost.Stopped {
		b.t.Errorf("After the end the state is %s with process %d.", s.State, s.PID)
	}
	if b.t.Failed() {
		b.t.Logf("The log:\n%s", b.log)
	}
}

func config(addresses ...string) offload.Config {
	c := offload.Config{}
	for _, a := range addresses {
		c.Addresses = append(c.Addresses, netip.MustParseAddr(a))
	}
	return c
}

func (b *bench) configure(c offload.Config) offload.Info {
	b.t.Helper()
	info, err := b.Configure(b.t.Context(), c)
	if err != nil {
		b.t.Fatalf("The plugin is not configured: %v.", err)
	}
	return info
}

// wantReset reads events up to a Reset.
func (b *bench) wantReset() {
	b.t.Helper()
	for {
		select {
		case ev := <-b.events:
			if _, ok := ev.(offload.Reset); ok {
				return
			}
		case <-time.After(time.Minute):
			b.t.Fatalf("No Reset came; the log:\n%s", b.log)
		}
	}
}

// wait returns the first status that is as wanted; every change comes with a
// line in the log.
func (b *bench) wait(what string, wanted func(pluginhost.Status) bool) pluginhost.Status {
	b.t.Helper()
	for {
		line := b.log.next()
		if s := b.Status(); wanted(s) {
			return s
		}
		select {
		case <-line:
		case <-time.After(time.Minute):
			b.t.Fatalf("The host never came to %s; it is %+v.", what, b.Status())
		}
	}
}

func (b *bench) wantVersion(want string) {
	b.t.Helper()
	info, err := b.Info(b.t.Context())
	if err != nil || info.Version != want {
		b.t.Fatalf("The plugin says %q, error %v, want %q.", info.Version, err, want)
	}
}

func sa(spi ipsec.SPI) ipsec.SA {
	local, remote := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	all := []ipsec.TrafficSelector{ipsec.SelectorOf(netip.MustParsePrefix("0.0.0.0/0"))}
	return ipsec.SA{
		ID: ipsec.SAID{SPI: spi, Dst: local, Proto: ipsec.ESP}, Direction: ipsec.Inbound, Tunnel: 1, Pair: spi + 1,
		Generation: 1, Local: local, Remote: remote, Selectors: ipsec.Selectors{Local: all, Remote: all},
		Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128},
		Encryption: ipsec.NewKey(bytes.Repeat([]byte{1}, 20)),
	}
}

func (b *bench) installed() (n int) {
	b.t.Helper()
	for _, err := range b.Export(b.t.Context(), offload.AllGroups) {
		if err != nil {
			b.t.Fatalf("The plugin's SAs cannot be listed: %v.", err)
		}
		n++
	}
	return n
}

func (b *bench) install(spi ipsec.SPI) error {
	placed, err := b.Install(b.t.Context(), offload.NewEpoch(1, 0), offload.Active, sa(spi))
	for _, p := range placed {
		err = errors.Join(err, p.Err)
	}
	return err
}

func (b *bench) signal(sig unix.Signal) {
	b.t.Helper()
	pid := b.wait("a process", func(s pluginhost.Status) bool { return s.PID != 0 }).PID // 0 would be ourselves
	if err := unix.Kill(pid, sig); err != nil {
		b.t.Fatalf("The plugin process %d cannot be sent %v: %v.", pid, sig, err)
	}
}

func wantGone(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("Process %d is still there (%v).", pid, err)
	}
}

func TestHostIsTheEngineOfARealProcess(t *testing.T) {
	b := run(t, spec(t, "good"))
	b.configure(config("192.0.2.1"))
	b.wantVersion("boot 7, 1 addresses")
	if err := b.install(0x1001); err != nil {
		t.Fatalf("An SA cannot be installed: %v.", err)
	}
	if n := b.installed(); n != 1 {
		t.Errorf("%d SAs are installed, want 1.", n)
	}
	if _, err := b.Update(t.Context(), offload.NewEpoch(0, 0), offload.Change{ID: sa(0x1001).ID}); !errors.Is(err, offload.ErrStaleEpoch) {
		t.Errorf("A stale call: got error %v, want ErrStaleEpoch.", err)
	}
	s := b.Status()
	if s.State != pluginhost.Up || s.PID == 0 || s.UpSince.IsZero() || s.Starts != 1 || s.Failures != 0 || s.Boot != 7 {
		t.Errorf("The status is %+v.", s)
	}
	b.stop()
	wantGone(t, s.PID)
}

func TestKilledPluginIsReplaced(t *testing.T) {
	b := run(t, spec(t, "good"))
	b.configure(config("192.0.2.1", "192.0.2.2"))
	for boot := 8; boot < 11; boot++ {
		if err := b.install(0x1001); err != nil {
			t.Fatalf("An SA cannot be installed: %v.", err)
		}
		old := b.Status().PID
		b.signal(unix.SIGKILL)
		b.wantReset()
		b.wantVersion(fmt.Sprintf("boot %d, 2 addresses", boot))
		if n := b.installed(); n != 0 {
			t.Errorf("The new process has %d SAs, want none before the engine reconciles.", n)
		}
		wantGone(t, old)
	}
	if s := b.Status(); s.Failures != 3 || !strings.Contains(s.LastError, "killed") || s.Hangs != 0 {
		t.Errorf("After three deaths the status is %+v.", s)
	}
}

func TestHungPluginIsReplaced(t *testing.T) {
	b := run(t, spec(t, "good"), func(c *pluginhost.Config) {
		c.HealthInterval, c.HealthTimeout = 10*time.Millisecond, 2*time.Second
	})
	b.configure(config("192.0.2.1"))
	old := b.Status().PID
	b.signal(unix.SIGSTOP)
	b.wantReset()
	if s := b.Status(); s.Hangs == 0 || !strings.Contains(s.LastError, "hung") {
		t.Errorf("After a hang the status is %+v.", s)
	}
	wantGone(t, old)
}

func TestSlowAnswerHoldsUpNobodyElse(t *testing.T) {
	b := run(t, spec(t, "good"), func(c *pluginhost.Config) { c.CallTimeout = 4 * time.Second })
	c := config("192.0.2.1")
	c.Settings = map[string]string{"install": "hang"}
	b.configure(c)
	slow := make(chan error)
	go func() { slow <- b.install(0x1001) }()
	b.wantVersion("boot 7, 1 addresses")
	if err := <-slow; !errors.Is(err, offload.ErrDown) || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("A call without an answer: got error %v, want ErrDown.", err)
	}
	if s := b.Status(); s.TimedOut != 1 || s.Failures != 0 {
		t.Errorf("The status is %+v, want one call that timed out.", s)
	}
	if err := b.install(0x1001); err != nil {
		t.Errorf("The next call fails: %v.", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Info(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, offload.ErrDown) {
		t.Errorf("A call of a caller who is gone: got error %v, want context.Canceled only.", err)
	}
}

func TestResetOfALivingPlugin(t *testing.T) { // I1: a new boot number for new counters
	b := run(t, spec(t, "good"))
	b.configure(config("192.0.2.1"))
	pid := b.Status().PID
	if err := b.Demote(t.Context(), 15, 1); err != nil {
		t.Fatalf("The device does not reset: %v.", err)
	}
	b.wantReset()
	b.wantVersion("boot 8, 1 addresses")
	if s := b.Status(); s.PID != pid || s.Failures != 0 || s.Boot != 8 {
		t.Errorf("The status is %+v, want the same process with boot 8.", s)
	}
}

func TestGarbageOnStandardOutputIsHarmless(t *testing.T) {
	b := run(t, spec(t, "good"))
	b.configure(config())
	for range 100 {
		if err := b.Arm(t.Context(), 15, 1); err != nil {
			t.Fatalf("The plugin does not answer: %v.", err)
		}
	}
	if s := b.Status(); s.Starts != 1 {
		t.Errorf("The plugin was started %d times, want once.", s.Starts)
	}
}

func TestRefusedConfigurationIsNotKept(t *testing.T) {
	b := run(t, spec(t, "good"))
	bad := config("192.0.2.1", "192.0.2.2")
	bad.Settings = map[string]string{"colour": "red"}
	if _, err := b.Configure(t.Context(), bad); !errors.Is(err, offload.ErrInvalid) || !strings.Contains(err.Error(), "colour") {
		t.Errorf("An unknown setting: got error %v, want ErrInvalid that names it.", err)
	}
	b.configure(config("192.0.2.1"))
	if _, err := b.Configure(t.Context(), bad); !errors.Is(err, offload.ErrInvalid) {
		t.Errorf("An unknown setting: got error %v, want ErrInvalid.", err)
	}
	b.signal(unix.SIGKILL)
	b.wantReset()
	b.wantVersion("boot 8, 1 addresses")
}

func TestPluginLogReachesOurs(t *testing.T) { // B7
	t.Setenv("VPN1_PSK", "hunter2")
	b := run(t, spec(t, "good"))
	b.configure(config())
	b.stop()
	lines := strings.Split(b.log.String(), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, `msg="plugin configured"`) })
	if i < 0 || !strings.Contains(lines[i], "level=WARN") || !strings.Contains(lines[i], "boot=7") || !strings.Contains(lines[i], "dataplane=good") {
		t.Errorf("The plugin's own words did not arrive with level and attributes.")
	}
	if strings.Contains(b.log.String(), "hunter2") {
		t.Error("The plugin got the daemon's environment, secrets included.")
	}
}

func TestGrandchildrenEndToo(t *testing.T) {
	file := t.TempDir() + "/child"
	b := run(t, spec(t, "family", "CHILD="+file))
	b.configure(config())
	child := func() int {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("No child was started: %v.", err)
		}
		pid, err := strconv.Atoi(string(text))
		if err != nil {
			t.Fatalf("No child was started: %v.", err)
		}
		return pid
	}
	first := child()
	b.signal(unix.SIGKILL)
	b.wantReset()
	second := child()
	b.stop()
	wantEnded(t, first)
	wantEnded(t, second)
}

func TestEmbeddedPluginIsThisExecutable(t *testing.T) {
	b := run(t, pluginhost.AsPlugin("good"))
	b.configure(config())
	b.wantVersion("boot 7, 0 addresses")
}

func TestStopDuringTheStart(t *testing.T) {
	b := run(t, spec(t, "mute"))
	b.wait("a start", func(s pluginhost.Status) bool { return s.Starts > 0 })
	b.stop()
}

func TestCallsWithoutAPlugin(t *testing.T) {
	b := run(t, spec(t, "exits"), func(c *pluginhost.Config) { c.WaitTimeout = time.Millisecond })
	if _, err := b.Info(t.Context()); !errors.Is(err, offload.ErrDown) {
		t.Errorf("Without a plugin: got error %v, want ErrDown.", err)
	}
	for _, err := range b.Export(t.Context(), offload.AllGroups) {
		if !errors.Is(err, offload.ErrDown) {
			t.Errorf("Without a plugin Export yields %v, want ErrDown.", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Arm(ctx, 1, 1); err == nil {
		t.Error("Without a plugin a call succeeded.")
	}
}
