//go:build dpdk

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// volume is how many octets a measurement of the limit encrypts, with perPacket added
// to each buffer so that small ones take no longer.
const (
	volume    = 4_000_000_000
	perPacket = 500
)

// limit asks dpdk-test-crypto-perf what the library does with one core, by the
// arguments of a direction: buffers of a size for each second that its worker had a
// processor. Ciphers in CBC mode take whole blocks.
func (p *player) limit(ctx context.Context, arguments []string, octets int) (float64, error) {
	octets = (octets + 15) / 16 * 16
	if slices.Contains(arguments, "verify") {
		file := filepath.Join(p.dir, "vector")
		if err := os.WriteFile(file, vector(octets), 0o600); err != nil {
			return 0, err
		}
		arguments = append(slices.Clone(arguments), "--test-file", file)
	}
	buffers := volume / (octets + perPacket)
	args := append([]string{
		"--no-huge", "--no-pci", "-m", "256", "-l", "0,1", "--log-level=error", "--file-prefix", "limit" + strconv.Itoa(os.Getpid()),
		"--vdev", arguments[1] + "0", "--", "--ptest", "throughput", "--silent", "--csv-friendly",
		"--buffer-sz", strconv.Itoa(octets), "--burst-sz", "32", "--total-ops", strconv.Itoa(buffers),
	}, arguments...)
	cmd := exec.CommandContext(ctx, "dpdk-test-crypto-perf", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	took, err := watchWorker(cmd)
	if err != nil || took == 0 {
		return 0, fmt.Errorf("dpdk-test-crypto-perf: %w: %s", errors.Join(err, ctx.Err()), out.Bytes())
	}
	return float64(buffers) / took.Seconds(), nil
}

// vector is what dpdk-test-crypto-perf insists on for HMAC-SHA1 that is verified: a
// buffer and what belongs to it. It verifies each, and does not mind that none is right.
func vector(octets int) []byte {
	var b bytes.Buffer
	for _, v := range []struct {
		name   string
		octets int
	}{{"plaintext", octets}, {"ciphertext", octets}, {"cipher_key", 16}, {"cipher_iv", 16}, {"auth_key", 64}, {"digest", 12}} {
		fmt.Fprintf(&b, "%s =\n0x00%s\n", v.name, strings.Repeat(", 0x00", v.octets-1))
	}
	return b.Bytes()
}

// watchWorker waits for a program of DPDK with one worker, and returns how long that
// had a processor. Outside of its work it waits for it.
func watchWorker(cmd *exec.Cmd) (took time.Duration, err error) {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return took, err
		case <-tick.C:
			took = max(took, busy(cmd.Process.Pid, "worker"))
		}
	}
}
