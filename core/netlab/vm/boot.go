package vm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/evergate/evergate/core/netlab/vm/job"
)

// boots is how often a machine is started until its command runs.
const boots = 3

// errNotUp is why a boot is ended that takes too long.
var errNotUp = errors.New("it did not come up in time")

// boot starts the machine, and once more where it ends or hangs before the
// command starts: nothing has happened yet.
// The last boot may take as long as ctx lets it. It returns how the command ended.
func (m Machine) boot(ctx context.Context, dir, image, initramfs string, cmd *exec.Cmd) (int, error) {
	var failed []error
	for n := range boots {
		last := n == boots-1
		status, up, err := m.bootOnce(ctx, last, filepath.Join(dir, "files"+strconv.Itoa(n)), image, initramfs, cmd)
		if err == nil {
			return status, nil
		}
		failed = append(failed, err)
		if up || last || ctx.Err() != nil {
			break
		}
	}
	return 0, errors.Join(failed...)
}

// bootOnce runs QEMU to its end and returns what the console said; up tells
// that the machine got as far as the command. The machine's files are served on
// a new socket of that path, because virtiofsd serves one machine in its life.
func (m Machine) bootOnce(ctx context.Context, last bool, socket, image, initramfs string, cmd *exec.Cmd) (status int, up bool, err error) {
	path, err := tool("qemu-system-x86_64")
	if err != nil {
		return 0, false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := startShare(ctx, socket)
	if err != nil {
		return 0, false, err
	}
	defer s.stop()
	limit := time.AfterFunc(m.BootLimit, func() { cancel(errNotUp) })
	defer limit.Stop()
	if last {
		limit.Stop()
	}
	console := &console{onUp: func() { limit.Stop() }}
	streams, err := openStreams(console, cmd.Stdout, cmd.Stderr)
	if err != nil {
		return 0, false, err
	}
	qemu := exec.CommandContext(ctx, path, m.arguments(image, initramfs, s.socket)...)
	qemu.ExtraFiles = streams.writers
	said, err := runTied(qemu, streams.closeWriters)
	streams.wait()

	switch result, ok := console.result(); {
	case ok && result.Broken != "":
		return 0, true, fmt.Errorf("vm: the machine could not run the command: %s", result.Broken)
	case ok:
		return result.Status, true, nil
	case ctx.Err() != nil:
		return 0, console.up, fmt.Errorf("vm: the machine was ended: %w; its console ends:\n%s", context.Cause(ctx), console.tail())
	default:
		if err == nil {
			err = errors.New("it was turned off")
		}
		s.stop()
		return 0, console.up, fmt.Errorf("vm: the machine ended without the command's exit status: %w: %s %s\nIts console ends:\n%s", err, said, s.said, console.tail())
	}
}

// arguments returns QEMU's. File descriptors 3, 4 and 5 are the console,
// stdout and stderr.
func (m Machine) arguments(image, initramfs, socket string) []string {
	memory := strconv.Itoa(m.Memory) + "M"
	return []string{
		// Always emulated: /dev/kvm may open and still not work. The type pc,
		// because microvm hangs now and then.
		"-M", "pc,memory-backend=memory", "-accel", "tcg", "-smp", "1",
		// An instruction takes a nanosecond, whatever the host does meanwhile. More
		// processors would take turns and gain nothing.
		"-icount", "shift=0", "-rtc", "clock=vm",
		// A processor without AVX: to emulate that costs a third more time.
		"-cpu", "Westmere,+rdrand",
		// Virtiofsd reads and writes the machine's memory itself.
		"-m", memory, "-object", "memory-backend-memfd,id=memory,share=on,size=" + memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", image, "-initrd", initramfs,
		// Without the processor's own timer: to measure that, a kernel waits for a tenth
		// of a second in a loop of pauses, and QEMU leaves its translated code for each.
		"-append", "console=ttyS0 quiet panic=-1 oops=panic mitigations=off cryptomgr.notests=1 nolapic_timer",
		"-chardev", "file,id=console,path=/dev/fd/3", "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", "file,id=stdout,path=/dev/fd/4", "-device", "virtserialport,chardev=stdout,name=" + job.Stdout,
		"-chardev", "file,id=stderr,path=/dev/fd/5", "-device", "virtserialport,chardev=stderr,name=" + job.Stderr,
		"-chardev", "socket,id=files,path=" + socket, "-device", "vhost-user-fs-pci,chardev=files,tag=" + job.Share,
	}
}
