package vm

import (
	"bufio"
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"
)

// bootModules are what a kernel needs to reach the host's files and to write
// to its ports; Debian's has them as modules.
var bootModules = [...]string{"virtio_pci", "virtio_console", "virtiofs", "overlay"}

// ESP returns the modules of the kernel's ESP, with all algorithms that the project
// knows, of its interfaces, of nftables and of virtual Ethernet.
func ESP() []string {
	return []string{
		"esp4", "esp6", "esp4_offload", "esp6_offload", "xfrm_user", "xfrm_interface",
		"aesni_intel", "cryptd", "gcm", "ctr", "ecb", "authenc", "authencesn", "seqiv", "echainiv", "drbg",
		"sha512_generic", "des_generic", "chacha_generic", "poly1305_generic", "chacha20poly1305",
		"nf_tables", "nft_xfrm", "nft_limit", "nft_log", "nfnetlink_log", "nft_dup_ipv4", "nft_dup_ipv6", "veth",
	}
}

// dependencies is what depmod writes to modules.dep: for each module's file the
// files that it needs, itself excluded.
type dependencies map[string][]string

// parseDependencies reads modules.dep, whose lines are
// "kernel/net/b.ko: kernel/net/a.ko kernel/lib/c.ko".
func parseDependencies(text []byte) dependencies {
	deps := dependencies{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		file, needs, ok := strings.Cut(lines.Text(), ":")
		if ok {
			deps[file] = strings.Fields(needs)
		}
	}
	return deps
}

// order returns the files of the named modules and of all that they need, each
// once and after what it needs.
func (d dependencies) order(names ...string) ([]string, error) {
	var files []string
	for _, name := range names {
		file, err := d.file(name)
		if err != nil {
			return nil, err
		}
		// depmod names direct needs before the needs of those.
		needs := slices.Clone(d[file])
		slices.Reverse(needs)
		for _, f := range append(needs, file) {
			if !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files, nil
}

// file finds a module by its name. File names may have a hyphen where the name
// has an underscore.
func (d dependencies) file(name string) (string, error) {
	for file := range d {
		base, _, _ := strings.Cut(path.Base(file), ".")
		if strings.ReplaceAll(base, "-", "_") == name {
			return file, nil
		}
	}
	return "", fmt.Errorf("vm: the kernel has no module %s", name)
}
