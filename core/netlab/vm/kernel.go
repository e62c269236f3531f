package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"

	"golang.org/x/sys/unix"
)

// kernelPackage depends on the kernel of the day.
const kernelPackage = "linux-image-cloud-amd64"

// A kernel is one that was unpacked.
type kernel struct {
	release string // what uname -r says in the machine
	version string // of its Debian packages
	dir     string // its cache directory
}

func (k kernel) image() string { return filepath.Join(k.dir, "root/boot/vmlinuz-"+k.release) }

// modules returns the directory that belongs at /lib/modules.
func (k kernel) modules() string { return filepath.Join(k.dir, "root/lib/modules") }

// netDevSim returns the module's file.
func (k kernel) netDevSim() string { return filepath.Join(k.dir, "netdevsim/netdevsim.ko") }

// findKernel returns the kernel that apt's package lists name, and gets it when
// the cache does not have it. Of several processes one works on the cache, and
// the others wait.
func findKernel(ctx context.Context, netDevSim bool) (kernel, error) {
	if runtime.GOARCH != "amd64" {
		return kernel{}, fmt.Errorf("vm: this works on amd64 only, and here is %s", runtime.GOARCH)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, fmt.Errorf("vm: find the cache directory: %w", err)
	}
	cache = filepath.Join(cache, "evergate-vm")
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return kernel{}, fmt.Errorf("vm: make the cache directory: %w", err)
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	k, err := makeKernel(ctx, cache, netDevSim)
	if err == nil {
		return k, nil
	}
	// The lists may be empty, or older than the archive, which drops a version
	// soon after its successor has come.
	if _, e := command(ctx, "", "apt-get", "-q", "update"); e != nil {
		return kernel{}, errors.Join(err, e)
	}
	return makeKernel(ctx, cache, netDevSim)
}

// makeKernel makes what the cache does not have yet.
func makeKernel(ctx context.Context, cache string, netDevSim bool) (kernel, error) {
	k, err := resolveKernel(ctx)
	if err != nil {
		return kernel{}, err
	}
	k.dir = filepath.Join(cache, k.release+"_"+k.version)
	err = once(filepath.Join(k.dir, "root"), func(dir string) error { return k.unpackImage(ctx, dir) })
	if err == nil && netDevSim {
		err = once(filepath.Join(k.dir, "netdevsim"), func(dir string) error { return k.buildNetDevSim(ctx, dir) })
	}
	return k, err
}

// imageDependency finds the kernel of the day and its version.
var imageDependency = regexp.MustCompile(`(?m)^Depends:.*linux-image-(\S+) \(= ([^)]+)\)`)

func resolveKernel(ctx context.Context) (kernel, error) {
	text, err := command(ctx, "", "apt-cache", "show", "--no-all-versions", kernelPackage)
	if err != nil {
		return kernel{}, err
	}
	m := imageDependency.FindStringSubmatch(text)
	if m == nil {
		return kernel{}, fmt.Errorf("vm: %s names no kernel that it depends on:\n%s", kernelPackage, text)
	}
	return kernel{release: m[1], version: m[2]}, nil
}

// unpackImage gets the kernel and its modules.
func (k kernel) unpackImage(ctx context.Context, dir string) error {
	if err := unpack(ctx, dir, "linux-image-"+k.release+"="+k.version); err != nil {
		return err
	}
	_, err := command(ctx, "", "depmod", "-b", dir, k.release)
	return err
}

// once makes a directory unless it is there. build fills an empty one, which
// then takes that name, so nobody ever finds it half full.
func once(target string, build func(dir string) error) error {
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	partial := target + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("vm: remove what an earlier try left: %w", err)
	}
	if err := os.MkdirAll(partial, 0o750); err != nil {
		return fmt.Errorf("vm: make a directory of the cache: %w", err)
	}
	if err := build(partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return os.Rename(partial, target)
}

// lock waits for an exclusive lock on the file. It is the kernel's, so it ends
// with the process at the latest.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("vm: open the lock of the cache: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("vm: lock the cache: %w", err)
	}
	return func() { f.Close() }, nil
}
