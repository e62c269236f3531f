//go:build dpdk

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// volume is how many octets a measurement of the limit encrypts, with perPacket added
// to each buffer so that small ones take no longer.
const (
	volume    = 4_000_000_000
	perPacket = 500
)

// limit asks dpdk-test-crypto-perf what the library does with one core: buffers of a
// size for each second that its worker had a processor. Ciphers in CBC mode take whole
// blocks.
func limit(ctx context.Context, a algorithm, octets int) (float64, error) {
	octets = (octets + 15) / 16 * 16
	buffers := volume / (octets + perPacket)
	args := append([]string{
		"--no-huge", "--no-pci", "-m", "256", "-l", "0,1", "--log-level=error", "--file-prefix", "limit" + strconv.Itoa(os.Getpid()),
		"--vdev", a.limit[1] + "0", "--", "--ptest", "throughput", "--silent", "--csv-friendly",
		"--buffer-sz", strconv.Itoa(octets), "--burst-sz", "32", "--total-ops", strconv.Itoa(buffers),
	}, a.limit...)
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
