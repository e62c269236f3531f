package main

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// idleName is the name by which this program is the idle process.
const idleName = "idle"

// startIdle starts a process that keeps the processor busy when nothing else does.
// Time is counted in instructions here, so it passes while that process runs, and
// faster than the host's.
func startIdle() error {
	runtime.LockOSThread() // whose policy the process inherits
	defer runtime.UnlockOSThread()
	policy := func(p uint32) error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: p}, 0)
	}
	// "SCHED_IDLE: for running very low priority background jobs", sched(7).
	if err := policy(unix.SCHED_IDLE); err != nil {
		return fmt.Errorf("become idle: %w", err)
	}
	// Without preemption no signal interrupts it.
	_, err := os.StartProcess("/proc/self/exe", []string{idleName}, &os.ProcAttr{Env: []string{"GODEBUG=asyncpreemptoff=1"}})
	if err != nil {
		return fmt.Errorf("start the idle process: %w", err)
	}
	if err := policy(unix.SCHED_NORMAL); err != nil {
		return fmt.Errorf("become busy again: %w", err)
	}
	return nil
}
