package pluginhost_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/pluginhost"
)

// outlive makes the plugins of a host live on, in a directory that it shares with
// other daemons of its member.
func outlive(dir string, d time.Duration) func(*pluginhost.Config) {
	return func(c *pluginhost.Config) { c.RuntimeDir, c.Outlive = dir, d }
}

// boots gives the hosts of one test different boot numbers, from 7.
func boots() func(*pluginhost.Config) {
	var last atomic.Uint32
	last.Store(6)
	return func(c *pluginhost.Config) { c.Boot = func() (uint32, error) { return last.Add(1), nil } }
}

// leave ends the host and lets its plugin go on.
func (b *bench) leave() (pid int) {
	b.t.Helper()
	pid = b.wait("a process", func(s pluginhost.Status) bool { return s.State == pluginhost.Up }).PID
	b.Leave()
	b.stop()
	return pid
}

// wantEnded waits until a process that is nobody's any more has ended: one that was sent
// SIGKILL lives until it gets a processor.
func wantEnded(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone altogether
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 60_000); err != nil || n != 1 {
		t.Errorf("Process %d has not ended after a minute (%v).", pid, err)
	}
	_, _ = unix.Wait4(pid, nil, 0, nil) // it is our child in the tests only
}

// wantOnlyTheLock fails when anything but the lock is left of plugins that live on.
func wantOnlyTheLock(t *testing.T, dir string) {
	t.Helper()
	var left []string
	for _, pattern := range []string{"*", "*/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatalf("The runtime directory cannot be read: %v.", err)
		}
		left = append(left, found...)
	}
	if len(left) != 2 || left[1] != filepath.Join(dir, "dataplane", "lock") {
		t.Errorf("In the runtime directory %v is left, want the lock only.", left)
	}
}

func TestTheNextDaemonAdoptsThePlugin(t *testing.T) { // B6
	dir, boot := runtimeDir(t), boots()
	first := run(t, spec(t, "good"), outlive(dir, time.Hour), boot)
	info := first.configure(config("192.0.2.1"))
	if err := first.install(0x1001); err != nil {
		t.Fatalf("An SA cannot be installed: %v.", err)
	}
	pid := first.leave()

	second := run(t, spec(t, "good"), outlive(dir, time.Hour), boot)
	again := second.configure(config("192.0.2.1", "192.0.2.2"))
	if s := second.Status(); s.PID != pid || !s.Adopted || s.Boot != 7 || again.BootID != info.BootID {
		t.Errorf("The second daemon has %+v, want process %d with boot number 7.", s, pid)
	}
	second.wantVersion("boot 7, 2 addresses")
	if n := second.installed(); n != 1 {
		t.Errorf("After the adoption %d SAs are installed, want the one that was.", n)
	}
	second.wait("the plugin's own words", func(pluginhost.Status) bool {
		return strings.Contains(second.log.String(), "plugin configured")
	})

	// It is as good as one that it has started itself.
	if err := second.Demote(t.Context(), 15, 1); err != nil {
		t.Fatalf("The device does not reset: %v.", err)
	}
	second.wantReset()
	second.wantVersion("boot 8, 2 addresses")
	second.signal(unix.SIGKILL)
	second.wantReset()
	if s := second.Status(); s.Adopted || s.PID == pid {
		t.Errorf("After the death of an adopted plugin the status is %+v.", s)
	}
	wantEnded(t, pid)
	second.stop()
	wantOnlyTheLock(t, dir)
}

// TestCallsWaitForASlowAdoption: a plugin that gets no processor is there all the same,
// and is not given up for a call that is in a hurry.
func TestCallsWaitForASlowAdoption(t *testing.T) { // B6
	dir := runtimeDir(t)
	pid := run(t, spec(t, "good"), outlive(dir, time.Hour)).leave()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatalf("The plugin cannot be stopped: %v.", err)
	}
	second := run(t, spec(t, "good"), outlive(dir, time.Hour), func(c *pluginhost.Config) { c.WaitTimeout = time.Millisecond })
	second.waitStarting()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := second.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("During the adoption a call returned %v, want it to wait until its own end.", err)
	}
	if err := unix.Kill(pid, unix.SIGCONT); err != nil {
		t.Fatalf("The plugin does not go on: %v.", err)
	}
	second.configure(config("192.0.2.1"))
	if s := second.Status(); s.PID != pid || !s.Adopted {
		t.Errorf("The second daemon has %+v, want process %d.", s, pid)
	}
}

// waitStarting waits until Run is at work; no line of the log tells of that.
func (b *bench) waitStarting() {
	b.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); b.Status().State != pluginhost.Starting; <-tick.C {
		if time.Now().After(end) {
			b.t.Fatalf("The host never began to start; it is %+v.", b.Status())
		}
	}
}

func TestAPluginThatDoesNotFitIsReplaced(t *testing.T) { // B6
	for name, c := range map[string]struct {
		next func(t *testing.T, dir string) (pluginhost.Spec, time.Duration)
		want string
	}{
		"another plugin": {func(t *testing.T, _ string) (pluginhost.Spec, time.Duration) {
			s := spec(t, "good")
			s.Name = "better"
			return s, time.Hour
		}, "it is good"},
		"no adoption any more": {func(t *testing.T, _ string) (pluginhost.Spec, time.Duration) {
			return spec(t, "good"), 0
		}, "not to outlive a daemon"},
		"another owner": {func(t *testing.T, dir string) (pluginhost.Spec, time.Duration) {
			edit(t, dir, func(r map[string]any) { r["Owner"] = "member 1" })
			return spec(t, "good"), time.Hour
		}, "holds the SAs of"},
		"another protocol": {func(t *testing.T, dir string) (pluginhost.Spec, time.Duration) {
			edit(t, dir, func(r map[string]any) { r["Protocol"] = 99 })
			return spec(t, "good"), time.Hour
		}, "speaks version 99"},
		"a daemon that died before the handshake": {func(t *testing.T, dir string) (pluginhost.Spec, time.Duration) {
			edit(t, dir, func(r map[string]any) { r["Socket"] = "" })
			return spec(t, "good"), time.Hour
		}, "had not come up"},
		"a key that does not open it": {func(t *testing.T, dir string) (pluginhost.Spec, time.Duration) {
			other := runtimeDir(t)
			stranger := run(t, spec(t, "good"), outlive(other, time.Hour))
			pid := stranger.leave()
			t.Cleanup(func() {
				_ = unix.Kill(-pid, unix.SIGKILL)
				wantEnded(t, pid)
				os.RemoveAll(other)
			})
			edit(t, other, func(theirs map[string]any) {
				edit(t, dir, func(r map[string]any) { r["Identity"] = theirs["Identity"] })
			})
			return spec(t, "good"), time.Hour
		}, "certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := runtimeDir(t)
			first := run(t, spec(t, "good"), outlive(dir, time.Hour))
			pid := first.leave()
			s, d := c.next(t, dir)
			second := run(t, s, outlive(dir, d), func(c *pluginhost.Config) { c.HealthTimeout = 5 * time.Second })
			second.configure(config("192.0.2.1"))
			if now := second.Status(); now.Adopted || now.PID == pid {
				t.Errorf("The second daemon goes on with %+v.", now)
			}
			if !strings.Contains(second.log.String(), c.want) {
				t.Errorf("The log does not say %q:\n%s", c.want, second.log)
			}
			wantEnded(t, pid)
			second.stop()
			wantOnlyTheLock(t, dir)
		})
	}
}

// edit changes the record of a plugin that lives on.
func edit(t *testing.T, dir string, change func(map[string]any)) {
	t.Helper()
	path, record := filepath.Join(dir, "dataplane", "process"), make(map[string]any)
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &record)
	}
	if err == nil {
		change(record)
		b, err = json.Marshal(record)
	}
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatalf("The record cannot be edited: %v.", err)
	}
}

func TestAPluginThatEndedMeanwhileIsStarted(t *testing.T) { // B6
	dir := runtimeDir(t)
	pid := run(t, spec(t, "good"), outlive(dir, time.Second)).leave()
	wantEnded(t, pid)
	second := run(t, spec(t, "good"), outlive(dir, time.Hour))
	second.configure(config("192.0.2.1"))
	if s := second.Status(); s.Adopted || s.PID == pid || s.Failures != 0 {
		t.Errorf("After the end of the plugin the second daemon has %+v.", s)
	}
}

func TestADamagedRecordIsNoObstacle(t *testing.T) { // B6
	dir := runtimeDir(t)
	pid := run(t, spec(t, "good"), outlive(dir, time.Second)).leave()
	if err := os.WriteFile(filepath.Join(dir, "dataplane", "process"), []byte(`{"PID":`), 0o600); err != nil {
		t.Fatal(err)
	}
	second := run(t, spec(t, "good"), outlive(dir, time.Hour))
	second.configure(config("192.0.2.1"))
	if s := second.Status(); s.Adopted || !strings.Contains(second.log.String(), "is damaged") {
		t.Errorf("With a damaged record the second daemon has %+v; its log:\n%s", s, second.log)
	}
	wantEnded(t, pid) // by itself
}

func TestTwoDaemonsNeverDriveOnePlugin(t *testing.T) { // B6
	dir := runtimeDir(t)
	first := run(t, spec(t, "good"), outlive(dir, time.Hour))
	first.configure(config("192.0.2.1"))
	host, err := pluginhost.New(pluginhost.Config{
		Plugin: spec(t, "good"), RuntimeDir: dir, Outlive: time.Hour, Boot: func() (uint32, error) { return 1, nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("No host: %v.", err)
	}
	if err := host.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "another daemon drives the dataplane") {
		t.Errorf("A second daemon beside the first ends with %v.", err)
	}
	if err := first.install(0x1001); err != nil {
		t.Errorf("The first daemon was disturbed: %v.", err)
	}
}

func TestADirectoryThatOthersCanReadIsRefused(t *testing.T) { // B6
	dir := runtimeDir(t)
	if err := os.Mkdir(filepath.Join(dir, "dataplane"), 0o755); err != nil {
		t.Fatal(err)
	}
	host, err := pluginhost.New(pluginhost.Config{
		Plugin: spec(t, "good"), RuntimeDir: dir, Outlive: time.Hour, Boot: func() (uint32, error) { return 1, nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatalf("No host: %v.", err)
	}
	if err := host.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "ours alone") {
		t.Errorf("Keys in a directory for all: got %v.", err)
	}
}
