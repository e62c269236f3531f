package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/evergate/evergate/bench/throughput"
	"github.com/evergate/evergate/core/netlab/strongswan"
)

// throughputFlags are those of throughput alone.
func throughputFlags(f *pflag.FlagSet, o *benchOptions) {
	t := &o.throughput
	f.StringSliceVar(&t.Others, "with", nil, "names or `paths` of plugins to measure next to it, such as an earlier build (xfrm where it is beside this program)")
	f.StringToStringVar(&t.Settings, "set", nil, "settings of the plugin: `name=value`")
	f.StringVar(&t.Proposal, "proposal", "", "algorithms of ESP, as in a phase2 (aes128gcm)")
	f.BoolVar(&t.Raw, "raw", false, "measure the plugin without UDP, too")
	f.IntSliceVar(&t.SAs, "sas", nil, "`numbers` of SA pairs to measure the plugin with (1,100,10000)")
	f.StringSliceVar(&t.Ciphers, "ciphers", nil, "`proposals` between which the speed of the plugin is compared (aes128gcm,aes256gcm,chacha20poly1305,aes128-sha1); '' for no such comparison")
	f.IntSliceVar(&t.Queues, "queues", nil, "`numbers` of SA pairs with a queue each, whose speeds are compared (1,2,4); 0 for no such comparison")
	f.BoolVar(&t.Framings, "framings", true, "compare ESP as protocol 50 with that in UDP")
	f.StringSliceVar(&t.Tests, "tests", nil, fmt.Sprintf("`names` of tests, of %s (all of them)", strings.Join(throughput.Tests(), ",")))
	f.DurationVar(&t.Time, "time", 0, "how long each test takes (1s)")
	f.StringVar(&t.WireGuard, "wireguard", "", "wireguard-go to measure (the one beside this program, or on PATH)")
	f.BoolVar(&t.StrongSwan, "strongswan", strongswan.Installed(), "measure strongSwan")
}

func runThroughput(ctx context.Context, o *benchOptions) (reporter, error) {
	t := o.throughput
	t.Rounds, t.Logf, t.Plugin = o.rounds, o.logf, o.plugin
	if t.Plugin == "" {
		t.Plugin = "softesp"
	}
	if t.Others = slices.Clone(t.Others); t.Others == nil {
		t.Others = kernels(t.Plugin)
	}
	if slices.Equal(t.Queues, []int{0}) {
		t.Queues = []int{}
	}
	paths := []*string{&t.Plugin}
	for i := range t.Others {
		paths = append(paths, &t.Others[i])
	}
	for _, path := range paths {
		if strings.Contains(*path, "/") {
			continue
		}
		var err error
		if *path, err = beside("evergate-plugin-" + *path); err != nil {
			return nil, err
		}
	}
	if t.WireGuard == "" {
		t.WireGuard = findWireGuard()
	}
	return throughput.Run(ctx, t)
}

// kernels is the plugin of the kernel's ESP, to measure next to another one, if it was
// built. Where this kernel has none, the result says so.
func kernels(plugin string) []string {
	const name = "xfrm"
	path, err := beside("evergate-plugin-" + name)
	if err != nil || plugin == name || plugin == path {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	return []string{name}
}

// findWireGuard is the path of wireguard-go, or "" when there is none.
func findWireGuard() string {
	const name = "wireguard-go"
	if path, err := beside(name); err == nil {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	path, _ := exec.LookPath(name)
	return path
}
