package rig

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Processors is what the processors of this machine have done since its start, in ticks
// of the kernel's.
type Processors struct {
	idle, all uint64
}

// LookAtProcessors asks the kernel: the first line of proc_stat(5).
func LookAtProcessors() (Processors, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Processors{}, fmt.Errorf("rig: look at the processors: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return parseProcessors(line)
}

func parseProcessors(line string) (p Processors, err error) {
	// "cpu user nice system idle iowait irq softirq steal guest guest_nice", where the
	// last two are in the first two as well.
	const first, idle, iowait, last = 1, 4, 5, 8
	fields := strings.Fields(line)
	if len(fields) <= last || fields[0] != "cpu" {
		return p, fmt.Errorf("rig: look at the processors: the kernel says %q", line)
	}
	for i, field := range slices.All(fields[first : last+1]) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return p, fmt.Errorf("rig: look at the processors: %w", err)
		}
		if p.all += n; i+first == idle || i+first == iowait {
			p.idle += n
		}
	}
	return p, nil
}

// IdleSince is the part of the time of all processors, since an earlier look, in which
// nothing ran, whosever work that would have been; 0 where no time has passed.
func (p Processors) IdleSince(earlier Processors) float64 {
	// The kernel's count of idle time may go back a little.
	if p.all <= earlier.all || p.idle <= earlier.idle {
		return 0
	}
	return float64(p.idle-earlier.idle) / float64(p.all-earlier.all)
}
