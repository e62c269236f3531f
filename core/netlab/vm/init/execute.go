package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

// loadModules loads what the job asks for.
func loadModules(j job.Job) error {
	if len(j.Load) > 0 {
		cmd := exec.CommandContext(context.Background(), "/sbin/modprobe", append([]string{"--all"}, j.Load...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("modprobe %s: %w: %s", strings.Join(j.Load, " "), err, out)
		}
	}
	if err := insert(j.Insert); err != nil || !j.Sealed {
		return err
	}
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("\n"), 0); err != nil {
		return fmt.Errorf("keep the kernel from loading modules: %w", err)
	}
	return nil
}

// execute runs the command and returns how it ended.
func execute(j job.Job) (job.Result, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return job.Result{}, err
	}
	stdout, err := openPort(job.Stdout)
	if err != nil {
		return job.Result{}, err
	}
	stderr, err := openPort(job.Stderr)
	if err != nil {
		return job.Result{}, err
	}
	p, err := os.StartProcess(j.Path, j.Args, &os.ProcAttr{
		Dir: j.Dir, Env: j.Env, Files: []*os.File{null, stdout, stderr},
	})
	if err != nil {
		return job.Result{}, fmt.Errorf("start the command: %w", err)
	}
	return reap(p.Pid)
}

// reap waits for the command, and for every orphan that ends before it, which
// is the duty of process 1.
func reap(command int) (job.Result, error) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return job.Result{}, fmt.Errorf("wait for the command: %w", err)
		case pid != command:
		case status.Signaled():
			return job.Result{Status: 128 + int(status.Signal())}, nil
		default:
			return job.Result{Status: status.ExitStatus()}, nil
		}
	}
}

// openPort opens the virtio port of that name. No udev is there to make a link
// of it.
func openPort(name string) (*os.File, error) {
	ports, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	if err != nil {
		return nil, err
	}
	for _, port := range ports {
		text, err := os.ReadFile(port)
		if err != nil {
			return nil, err
		}
		if strings.TrimSpace(string(text)) == name {
			device := filepath.Join("/dev", filepath.Base(filepath.Dir(port)))
			// Blocking writes return when the host has taken the bytes.
			fd, err := unix.Open(device, unix.O_WRONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open %s: %w", device, err)
			}
			return os.NewFile(uintptr(fd), device), nil
		}
	}
	return nil, fmt.Errorf("find port %s among %d", name, len(ports))
}
