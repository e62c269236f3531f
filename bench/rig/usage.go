package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab/gateway"
)

// Usage is what a process has taken of the machine.
type Usage struct {
	// Resident is its memory in octets, Peak the most that it ever was.
	Resident, Peak int64
	// CPU is the time on processors, in user and system mode, of all threads.
	CPU time.Duration
}

// UsageOf asks the kernel about a process.
func UsageOf(pid int) (Usage, error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return Usage{}, fmt.Errorf("rig: look at process %d: %w", pid, err)
	}
	// The clock of a process is finer than the ticks of its stat:
	// clock_getcpuclockid(3).
	const scheduled = 2 // CPUCLOCK_SCHED
	var clock unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &clock); err != nil {
		return Usage{}, fmt.Errorf("rig: read the processor time of process %d: %w", pid, err)
	}
	return Usage{
		Resident: kib(string(status), "VmRSS:"), Peak: kib(string(status), "VmHWM:"), CPU: time.Duration(clock.Nano()),
	}, nil
}

// kib finds a value in kB and returns it in octets; 0 when it is not there.
func kib(text, name string) int64 {
	_, rest, _ := strings.Cut(text, name)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n << 10
}

// Processes are a member's daemon and its dataplane, asked of the kernel: the
// daemon may be busy.
func Processes(d *gateway.Daemon) (daemon, plane int, err error) {
	daemon = d.Process().PID()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", daemon))
	if err != nil {
		return 0, 0, fmt.Errorf("rig: list the threads of process %d: %w", daemon, err)
	}
	for _, list := range lists {
		b, _ := os.ReadFile(list) // a thread may have ended
		if _, err := fmt.Sscan(string(b), &plane); err == nil {
			return daemon, plane, nil
		}
	}
	return 0, 0, fmt.Errorf("rig: process %d has no dataplane", daemon)
}
