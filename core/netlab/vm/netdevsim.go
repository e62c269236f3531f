package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// buildNetDevSim compiles the module into dir, for exactly this kernel: with
// the headers and from the source that belong to its packages.
func (k kernel) buildNetDevSim(ctx context.Context, dir string) (err error) {
	tree, err := os.MkdirTemp("", "evergate-netdevsim-")
	if err != nil {
		return fmt.Errorf("vm: make a directory for the kernel's source: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tree)) }()

	abi := strings.TrimSuffix(k.release, "-cloud-amd64") // 6.1.0-56
	numbers := strings.SplitN(abi, ".", 3)
	series := strings.Join(numbers[:min(2, len(numbers))], ".") // 6.1
	packages := []string{"linux-headers-" + k.release, "linux-headers-" + abi + "-common", "linux-kbuild-" + series, "linux-source-" + series}
	for i := range packages {
		packages[i] += "=" + k.version
	}
	if err := unpack(ctx, tree, packages...); err != nil {
		return err
	}

	const module = "drivers/net/netdevsim"
	src := filepath.Join(tree, "usr/src")
	_, err = command(ctx, src, "tar", "--extract", "--use-compress-program=xz -T0",
		"--file=linux-source-"+series+".tar.xz", "linux-source-"+series+"/"+module)
	if err != nil {
		return err
	}
	// The package's own names the place where its installation would be.
	headers := filepath.Join(src, "linux-headers-"+k.release)
	include := "include " + filepath.Join(src, "linux-headers-"+abi+"-common", "Makefile") + "\n"
	if err := os.WriteFile(filepath.Join(headers, "Makefile"), []byte(include), 0o600); err != nil {
		return fmt.Errorf("vm: write the Makefile of the headers: %w", err)
	}
	source := filepath.Join(src, "linux-source-"+series, module)
	_, err = command(ctx, "", "make", "-j"+strconv.Itoa(runtime.NumCPU()), "-C", headers, "M="+source, "CONFIG_NETDEVSIM=m", "modules")
	if err != nil {
		return err
	}
	// The two directories may be on different file systems.
	built, err := os.ReadFile(filepath.Join(source, "netdevsim.ko"))
	if err != nil {
		return fmt.Errorf("vm: keep netdevsim: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "netdevsim.ko"), built, 0o600); err != nil { //nolint:gosec // the caller's own directory
		return fmt.Errorf("vm: keep netdevsim: %w", err)
	}
	return nil
}
