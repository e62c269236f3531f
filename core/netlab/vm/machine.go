package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

// DefaultLimit bounds the life of a machine whose user sets no limit.
const DefaultLimit = 10 * time.Minute

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
	// CPUs is the number of processors. Zero means 2.
	CPUs int
	// Memory is in MiB. Zero means 1024. What the command writes to files
	// takes of it, too.
	Memory int
	// Limit is how long the machine may run. Zero means DefaultLimit.
	Limit time.Duration
}

func (m Machine) withDefaults() Machine {
	if m.CPUs == 0 {
		m.CPUs = 2
	}
	if m.Memory == 0 {
		m.Memory = 1024
	}
	if m.Limit == 0 {
		m.Limit = DefaultLimit
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
	s, err := startShare(ctx, filepath.Join(dir, "files"))
	if err != nil {
		return 0, err
	}
	defer s.stop()
	return m.boot(ctx, k, initramfs, s, cmd.Stdout, cmd.Stderr)
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

// boot runs QEMU to its end and returns what the console said.
func (m Machine) boot(ctx context.Context, k kernel, initramfs string, s *share, stdout, stderr io.Writer) (int, error) {
	path, err := tool("qemu-system-x86_64")
	if err != nil {
		return 0, err
	}
	console := &console{}
	streams, err := openStreams(console, stdout, stderr)
	if err != nil {
		return 0, err
	}
	qemu := exec.CommandContext(ctx, path, m.arguments(k, initramfs, s.socket)...)
	qemu.ExtraFiles = streams.writers
	said, err := runTied(qemu, streams.closeWriters)
	streams.wait()

	switch result, ok := console.result(); {
	case ok && result.Broken != "":
		return 0, fmt.Errorf("vm: the machine could not run the command: %s", result.Broken)
	case ok:
		return result.Status, nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("vm: the machine was ended: %w; its console ends:\n%s", context.Cause(ctx), console.tail())
	default:
		if err == nil {
			err = errors.New("it was turned off")
		}
		s.stop()
		return 0, fmt.Errorf("vm: the machine ended without the command's exit status: %w: %s %s\nIts console ends:\n%s", err, said, s.said, console.tail())
	}
}

// arguments returns QEMU's. File descriptors 3, 4 and 5 are the console,
// stdout and stderr.
func (m Machine) arguments(k kernel, initramfs, socket string) []string {
	memory := strconv.Itoa(m.Memory) + "M"
	return []string{
		// Always emulated: /dev/kvm may open and still not work. The type pc,
		// because microvm hangs now and then.
		"-M", "pc,memory-backend=memory", "-accel", "tcg", "-smp", strconv.Itoa(m.CPUs),
		// A processor without AVX: to emulate that costs a third more time.
		"-cpu", "Westmere,+rdrand",
		// Virtiofsd reads and writes the machine's memory itself.
		"-m", memory, "-object", "memory-backend-memfd,id=memory,share=on,size=" + memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", k.image(), "-initrd", initramfs,
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off cryptomgr.notests=1",
		"-chardev", "file,id=console,path=/dev/fd/3", "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=stdout,path=/dev/fd/4", "-device", "virtserialport,chardev=stdout,name=" + job.Stdout,
		"-chardev", "file,id=stderr,path=/dev/fd/5", "-device", "virtserialport,chardev=stderr,name=" + job.Stderr,
		"-chardev", "socket,id=files,path=" + socket, "-device", "vhost-user-fs-pci,chardev=files,tag=" + job.Share,
	}
}
