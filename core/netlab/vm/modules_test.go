package vm

import (
	"slices"
	"strings"
	"testing"
)

const modulesDep = `kernel/fs/fuse/fuse.ko:
kernel/fs/fuse/virtiofs.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko kernel/fs/fuse/fuse.ko
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
`

func TestModulesComeAfterWhatTheyNeed(t *testing.T) {
	files, err := parseDependencies([]byte(modulesDep)).order("virtiofs", "virtio_rng")
	want := []string{
		"kernel/fs/fuse/fuse.ko", "kernel/drivers/virtio/virtio_ring.ko", "kernel/drivers/virtio/virtio.ko",
		"kernel/fs/fuse/virtiofs.ko", "kernel/drivers/char/hw_random/virtio-rng.ko",
	}
	if err != nil || !slices.Equal(files, want) {
		t.Errorf("The order is %q (%v), not %q.", files, err, want)
	}
}

func TestAModuleThatTheKernelLacksIsNamed(t *testing.T) {
	_, err := parseDependencies([]byte(modulesDep)).order("9p")
	if err == nil || !strings.Contains(err.Error(), "no module 9p") {
		t.Errorf("The error should name 9p: %v", err)
	}
}
