package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool returns the path of a program that the machine needs.
func tool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	// A service manager or an unprivileged login may have a PATH without them.
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("vm: %s is not installed: run make deps", name)
}

// command runs a program in a directory to its end and returns what it wrote
// to stdout. The error holds what it wrote to stderr.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	path, err := tool(name)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		err = fmt.Errorf("vm: %s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}

// unpack downloads packages, each "name=version", and unpacks them into dir.
func unpack(ctx context.Context, dir string, packages ...string) (err error) {
	debs, err := os.MkdirTemp("", "evergate-deb-")
	if err != nil {
		return fmt.Errorf("vm: make a directory for packages: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(debs)) }()
	// Apt would otherwise write as a user of its own, who cannot enter debs.
	get := []string{"-q", "-o", "APT::Sandbox::User=root", "download"}
	if _, err := command(ctx, debs, "apt-get", append(get, packages...)...); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return err
	}
	if len(files) != len(packages) {
		return fmt.Errorf("vm: apt-get downloaded %d packages, not %q", len(files), packages)
	}
	for _, file := range files {
		if _, err := command(ctx, "", "dpkg", "-x", file, dir); err != nil {
			return err
		}
	}
	return nil
}
