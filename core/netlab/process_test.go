package netlab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/evergate/evergate/core/netlab"
)

// family is a shell that says its child's id and waits for it.
func family() *exec.Cmd {
	return exec.Command("sh", "-c", "sleep 1000 & echo child $!; wait")
}

func childOf(t *testing.T, p *netlab.Process) int {
	t.Helper()
	pid, err := strconv.Atoi(p.WaitLog(`child (\d+)$`, limit)[1])
	if err != nil {
		t.Fatalf("read the child's id: %v", err)
	}
	return pid
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	t.Parallel()
	p := netlab.New(t).Namespace("host").Start(family())
	child := childOf(t, p)
	p.Kill()
	p.Kill() // again: no error
	for _, pid := range []int{p.PID(), child} {
		netlab.Eventually(t, limit, "the killed group is gone", func() error { return gone(pid) })
	}
}

func TestAGroupDoesNotOutliveItsLeader(t *testing.T) {
	t.Parallel()
	p := netlab.New(t).Namespace("host").Start(exec.Command("sh", "-c", "sleep 1000 & echo child $!"))
	child := childOf(t, p)
	if err := p.Wait(limit); err != nil {
		t.Fatalf("the leader ended with %v", err)
	}
	netlab.Eventually(t, limit, "what the leader left behind is gone", func() error { return gone(child) })
}

func TestStopAsksFirst(t *testing.T) {
	t.Parallel()
	host := netlab.New(t).Namespace("host")
	polite := host.Start(exec.Command("sh", "-c", `trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.01; done`))
	polite.WaitLog("ready", limit)
	var exit *exec.ExitError
	if err := polite.Stop(limit); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("the polite process ended with %v, want its own exit status 3", err)
	}
	if text := polite.Log().Text(); !strings.Contains(text, "bye") {
		t.Fatalf("the log is %q, want the last words in it", text)
	}
	stubborn := host.Start(exec.Command("sh", "-c", `trap '' TERM; echo ready; while :; do sleep 0.01; done`))
	stubborn.WaitLog("ready", limit)
	if err := stubborn.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "was killed") {
		t.Fatalf("the stubborn process ended with %v, want an error that says it was killed", err)
	}
}

func TestPrivateDirectoryIsSeenByItsProcessOnly(t *testing.T) {
	t.Parallel()
	name := fmt.Sprintf("/run/netlab-%d", os.Getpid())
	host := netlab.New(t).Namespace("host")
	p := host.StartPrivate(exec.Command("sh", "-c", "ls -A /run; touch "+name+" && ls -A /run && echo wrote"), "/run")
	if err := p.Wait(limit); err != nil {
		t.Fatalf("writing in the private directory: %v: %s", err, p.Log().Text())
	}
	if text := p.Log().Text(); text != strings.TrimPrefix(name, "/run/")+"\nwrote\n" {
		t.Errorf("the process saw %q, want an empty directory that takes its file", text)
	}
	if _, err := os.Stat(name); err == nil {
		t.Error("the private file is visible outside")
	}
}

func TestWaitLogEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	said := failure(t, func(tb netlab.TB) {
		p := netlab.New(tb).Namespace("host").Start(exec.Command("sh", "-c", "echo cannot go on; exit 1"))
		p.WaitLog("listening", time.Hour)
	})
	if !strings.Contains(said, "ended before") || !strings.Contains(said, "cannot go on") {
		t.Fatalf("the failure says %q, want that the process ended and what it said", said)
	}
}

func TestLogNowSeesOnlyWhatIsAdded(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	path := lab.File("log")
	log := lab.OpenLog(path)
	if text := log.Text(); text != "" {
		t.Fatalf("a log without a file has text %q", text)
	}
	write := func(s string) {
		t.Helper()
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = f.WriteString(s)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatalf("write the log: %v", err)
		}
	}
	write("tunnel up\n")
	later := log.Now()
	write("tunnel down\n")
	if text := later.Text(); text != "tunnel down\n" {
		t.Errorf("the later part is %q, want the second line only", text)
	}
	if m := log.Wait(`^tunnel (\w+)$`, limit); m[1] != "up" {
		t.Errorf("the first match is %q, want up", m[1])
	}
	if tail := log.Tail(1); tail != "tunnel down" {
		t.Errorf("the tail is %q, want the last line", tail)
	}
}

// state is what a lab could leave behind in this process and on the machine.
func state(t *testing.T) (fds int, mounts string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatalf("list file descriptors: %v", err)
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatalf("list mounts: %v", err)
	}
	return len(entries), string(b)
}

// Not parallel: it counts file descriptors.
func TestTeardownLeavesNothing(t *testing.T) {
	var pids []int
	var dir, path string
	build := func(tb netlab.TB) {
		lab := netlab.New(tb)
		a, b := lab.Namespace("a"), lab.Namespace("b")
		wan, far := lab.Link(a.Port("wan", "192.0.2.1/24"), b.Port("wan", "192.0.2.2/24"))
		far.Masquerade()
		wan.Drop("udp dport 9", netlab.All())
		capture := wan.Capture("")
		p := a.StartPrivate(exec.Command("sleep", "1000"), "/run")
		pids, dir, path = append(pids, p.PID()), lab.Dir(), a.Path()
		netlab.Stream{From: a, To: b, Dest: "192.0.2.2"}.Start(tb).WaitFor(3, limit)
		if _, err := os.Stat(capture.Path()); err != nil {
			tb.Fatalf("the capture has no file: %v", err)
		}
	}
	// The first run opens what the runtime keeps, such as the network poller.
	for range 2 {
		fds, mounts := state(t)
		if err := netlab.Run(t.Context(), "teardown", t.Logf, build); err != nil {
			t.Fatalf("build and tear down: %v", err)
		}
		for _, pid := range pids {
			if err := gone(pid); err != nil {
				t.Errorf("after the teardown %v", err)
			}
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("after the teardown the directory %s is still there", dir)
		}
		fdsAfter, mountsAfter := state(t)
		if mounts != mountsAfter {
			t.Errorf("the teardown changed the mounts from\n%s\nto\n%s", mounts, mountsAfter)
		}
		if path != "" && fdsAfter > fds+2 {
			t.Errorf("%d file descriptors before the lab, %d after it", fds, fdsAfter)
		}
	}
}

func TestInterruptedProgramCleansUp(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancelCause(t.Context())
	var p *netlab.Process
	err := netlab.Run(ctx, "interrupted", t.Logf, func(tb netlab.TB) {
		p = netlab.New(tb).Namespace("host").Start(family())
		p.WaitLog("child", limit)
		tb.Cleanup(func() { tb.Errorf("a later clean-up runs first") })
		tb.Cleanup(func() { tb.Fatalf("a clean-up that fails does not stop the others") })
		interrupt(errors.New("Ctrl-C"))
		netlab.Eventually(tb, time.Hour, "the impossible happens", func() error { return errors.New("not yet") })
	})
	for _, want := range []string{"Ctrl-C", "the impossible happens", "does not stop the others", "runs first"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the program returned %v, want %q in it", err, want)
		}
	}
	if err := gone(p.PID()); err != nil {
		t.Error(err)
	}
}

func TestKilledProgramLeavesNoProcess(t *testing.T) {
	t.Parallel()
	host := netlab.New(t).Namespace("host")
	self, err := os.Executable()
	if err != nil {
		t.Fatalf("find this test binary: %v", err)
	}
	cmd := exec.Command(self)
	// Nobody removes the lab's directory, so it goes with this test's.
	cmd.Env = append(os.Environ(), abandonEnv+"=1", "TMPDIR="+t.TempDir())
	program := host.Start(cmd)
	pid, err := strconv.Atoi(program.WaitLog(`started (\d+)`, limit)[1])
	if err != nil {
		t.Fatalf("read the id of the program's process: %v", err)
	}
	program.Kill()
	netlab.Eventually(t, limit, "the process of the killed program is gone", func() error { return gone(pid) })
}
