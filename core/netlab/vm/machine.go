package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

// What bounds a machine whose user sets no limits.
const (
	DefaultLimit     = 10 * time.Minute
	DefaultBootLimit = 4 * time.Minute
)

// Machine says what a command gets to run in. The zero value is of use.
type Machine struct {
	// Modules are kernel modules, by name, that are loaded before the command
	// starts. Most of them the kernel loads by itself on first use.
	Modules []string
	// NetDevSim adds the simulator of network cards with IPsec offload, as the
	// module netdevsim, loaded.
	NetDevSim bool
	// Sealed keeps the kernel from loading modules by itself. That takes a program for
	// each algorithm that it looks for, whether there is one or not, and half a minute
	// for those that ESP may use together; with what ESP returns none is missing.
	Sealed bool
	// Memory is in MiB. Zero means 1024. What the command writes to files
	// takes of it, too.
	Memory int
	// Limit is how long the machine may run, its boots included. Zero means
	// DefaultLimit.
	Limit time.Duration
	// BootLimit is how long a boot may take that is not the last one. Zero means
	// DefaultBootLimit.
	BootLimit time.Duration
}

func (m Machine) withDefaults() Machine {
	if m.Memory == 0 {
		m.Memory = 1024
	}
	if m.Limit == 0 {
		m.Limit = DefaultLimit
	}
	if m.BootLimit == 0 {
		m.BootLimit = DefaultBootLimit
	}
	return m
}

// Run boots a machine, runs the command in it as root, and returns its exit
// status, or 128 and the number of the signal that ended it. It uses Path,
// Args, Dir, Env, Stdout and Stderr of cmd, which mean what they mean outside;
// stdin is empty.
//
// An error means that the command's end is not known: something is missing, the
// machine crashed, Limit passed or ctx ended. Then the machine is gone, too.
//
// Run needs root, because the machine may read every file of the host.
func Run(ctx context.Context, m Machine, cmd *exec.Cmd) (status int, err error) {
	if cmd.Err != nil {
		return 0, fmt.Errorf("vm: %w", cmd.Err)
	}
	if os.Geteuid() != 0 {
		return 0, fmt.Errorf("vm: sharing the host's files needs root, and this process runs as uid %d", os.Geteuid())
	}
	m = m.withDefaults()
	dir, err := os.MkdirTemp("", "evergate-vm-")
	if err != nil {
		return 0, fmt.Errorf("vm: make the machine's directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	k, err := findKernel(ctx, m.NetDevSim)
	if err != nil {
		return 0, err
	}
	j, err := newJob(m, k, cmd)
	if err != nil {
		return 0, err
	}
	initramfs := filepath.Join(dir, "initramfs")
	if err := writeInitramfs(ctx, k, j, dir, initramfs); err != nil {
		return 0, err
	}

	ctx, cancel := context.WithTimeoutCause(ctx, m.Limit, fmt.Errorf("it ran for the %v that it may", m.Limit))
	defer cancel()
	return m.boot(ctx, dir, k.image(), initramfs, cmd)
}

func newJob(m Machine, k kernel, cmd *exec.Cmd) (job.Job, error) {
	j := job.Job{KernelModules: k.modules(), Load: append([]string{"tun"}, m.Modules...), Path: cmd.Path, Args: cmd.Args, Dir: cmd.Dir}
	j.Sealed = m.Sealed
	if m.NetDevSim {
		j.Load = append(j.Load, "psample") // which it needs
		j.Insert = append(j.Insert, k.netDevSim())
	}
	j.Env = append(cmd.Environ(), insideEnv+"=1")
	if j.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return job.Job{}, fmt.Errorf("vm: find the working directory: %w", err)
		}
		j.Dir = dir
	}
	if !filepath.IsAbs(j.Path) {
		j.Path = filepath.Join(j.Dir, j.Path)
	}
	return j, nil
}
