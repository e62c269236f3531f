// Package job is what the host's side of a virtual machine and its init tell
// each other: the job goes in with the initramfs, the result comes out on the
// serial console.
package job

import (
	"fmt"
	"strconv"
	"strings"
)

// Where the initramfs holds things.
const (
	// File holds the Job as JSON.
	File = "/job.json"
	// Modules is the directory of what Job.Boot names.
	Modules = "/modules"
)

// Names of the devices between the two sides: the share of the host's files,
// and the ports for what the command writes.
const (
	Share  = "host"
	Stdout = "stdout"
	Stderr = "stderr"
)

// Job is what the machine is to do. Its paths are the host's.
type Job struct {
	// Boot are the files in Modules that lead to the host's files, in the
	// order in which they must be loaded.
	Boot []string
	// KernelModules is the directory that becomes /lib/modules.
	KernelModules string
	// Load are the modules that modprobe loads before the command starts.
	Load []string
	// Insert are files of further modules, which are loaded after them.
	Insert []string
	// Sealed: the kernel loads no module by itself.
	Sealed bool
	// Path, Args, Dir and Env are those of exec.Cmd.
	Path string
	Args []string
	Dir  string
	Env  []string
}

// Result is how a job ended.
type Result struct {
	// Status is the command's exit status, or 128 and the signal's number.
	Status int
	// Broken tells why the command could not be run; then Status means nothing.
	Broken string
}

// UpLine is what the console says, as a line, when the command is about to run.
const UpLine = "evergate-vm: up\n"

// Up tells whether that line of the console, perhaps after something of the
// kernel's, is UpLine.
func Up(line string) bool { return strings.HasSuffix(line+"\n", UpLine) }

const (
	exited = "evergate-vm: exit "
	broken = "evergate-vm: broken: "
)

// Line returns the line that says so on the console, newline included.
func (r Result) Line() string {
	if r.Broken != "" {
		return broken + strings.ReplaceAll(r.Broken, "\n", " ") + "\n"
	}
	return fmt.Sprintf("%s%d\n", exited, r.Status)
}

// Parse looks for a Result in a line of the console. The kernel may have
// written something before it in the same line.
func Parse(line string) (Result, bool) {
	line = strings.TrimRight(line, "\r\n")
	if _, why, ok := strings.Cut(line, broken); ok {
		return Result{Broken: why}, true
	}
	if _, number, ok := strings.Cut(line, exited); ok {
		if status, err := strconv.Atoi(number); err == nil {
			return Result{Status: status}, true
		}
	}
	return Result{}, false
}
