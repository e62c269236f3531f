// Command init is process 1 of a virtual machine of package vm. It makes the
// host's files, under a layer of memory that takes what is written, its root
// directory, runs the one command that it is there for, says on the console how
// that ended, and turns the machine off.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

func main() {
	if os.Args[0] == idleName {
		spin()
	}
	result, err := run()
	if err != nil {
		result = job.Result{Broken: err.Error()}
	}
	fmt.Fprint(os.Stderr, "\n", result.Line())
	// Without it the machine may be off before the line is out.
	_ = unix.IoctlSetInt(int(os.Stderr.Fd()), unix.TCSBRK, 1)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // process 1 must not end
}

func run() (job.Result, error) {
	text, err := os.ReadFile(job.File)
	if err != nil {
		return job.Result{}, err
	}
	var j job.Job
	if err := json.Unmarshal(text, &j); err != nil {
		return job.Result{}, fmt.Errorf("read the job: %w", err)
	}
	if err := insertBoot(j.Boot); err != nil {
		return job.Result{}, err
	}
	if err := enterHostRoot(j.KernelModules); err != nil {
		return job.Result{}, err
	}
	if err := prepare(); err != nil {
		return job.Result{}, err
	}
	if err := loadModules(j); err != nil {
		return job.Result{}, err
	}
	if err := startIdle(); err != nil {
		return job.Result{}, err
	}
	fmt.Fprint(os.Stderr, "\n", job.UpLine)
	return execute(j)
}
