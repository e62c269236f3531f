package rig

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/core/netlab/gateway"
)

// Conditions say under what a measurement was taken.
type Conditions struct {
	When      time.Time `json:"when"`
	Processor string    `json:"processor"`
	Cores     int       `json:"cores"`
	Kernel    string    `json:"kernel"`
	Go        string    `json:"go"`
	// Daemon and Dataplane are the versions of what was measured.
	Daemon    string `json:"daemon"`
	Dataplane string `json:"dataplane"`
	// Load is the machine's load average of the last minute, before the run.
	Load float64 `json:"load"`
}

// Machine describes this machine, before a run.
func Machine() (Conditions, error) {
	c := Conditions{
		When: time.Now().UTC().Truncate(time.Second), Cores: runtime.NumCPU(), Go: runtime.Version(),
		Processor: processor(), Load: Load(),
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return c, fmt.Errorf("rig: ask for the kernel's version: %w", err)
	}
	c.Kernel = unix.ByteSliceToString(u.Release[:])
	return c, nil
}

// ConditionsOf describes this machine and a running member.
func ConditionsOf(d *gateway.Daemon) (Conditions, error) {
	c, err := Machine()
	if err != nil {
		return c, err
	}
	s, err := d.Status()
	if err != nil {
		return c, fmt.Errorf("rig: ask for the daemon's version: %w", err)
	}
	c.Daemon, c.Dataplane = s.Version, s.Dataplane.Plugin+" "+s.Dataplane.Version
	return c, nil
}

// Lines are c for a reader.
func (c Conditions) Lines() []string {
	measured := c.When.Format(time.RFC3339)
	if c.Daemon != "" {
		measured += ", evergated " + c.Daemon
	}
	if c.Dataplane != "" {
		measured += ", dataplane " + c.Dataplane
	}
	return []string{
		fmt.Sprintf("%d cores of %s, Linux %s, %s, load %.1f before", c.Cores, c.Processor, c.Kernel, c.Go, c.Load), measured,
	}
}

// Load is the machine's load average of the last minute; 0 when it has none.
func Load() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	var load float64
	_, _ = fmt.Sscan(string(b), &load)
	return load
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	_, rest, _ := strings.Cut(string(b), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimLeft(line, "\t :")
}

// Spread sums up durations. The zero Spread is of none.
type Spread struct {
	N      int           `json:"n"`
	Median time.Duration `json:"median_ns"`
	P99    time.Duration `json:"p99_ns"`
	Max    time.Duration `json:"max_ns"`
}

// SpreadOf sorts ds.
func SpreadOf(ds []time.Duration) Spread {
	if len(ds) == 0 {
		return Spread{}
	}
	slices.Sort(ds)
	return Spread{N: len(ds), Median: ds[len(ds)/2], P99: ds[int(math.Ceil(float64(len(ds))*0.99))-1], Max: ds[len(ds)-1]}
}

// Middle is the median.
func (s Spread) Middle() time.Duration { return s.Median }

// Late is the 99th percentile.
func (s Spread) Late() time.Duration { return s.P99 }

// Cells are the median, the 99th percentile, the longest and how many, for a
// table below [SpreadHeader].
func (s Spread) Cells() []any {
	return []any{round(s.Median), round(s.P99), round(s.Max), s.N}
}

// SpreadHeader heads a table of spreads.
func SpreadHeader(title string, more ...string) []string {
	return append([]string{title, "median", "p99", "max", "n"}, more...)
}

// round keeps three digits or so.
func round(d time.Duration) time.Duration {
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit)
		}
	}
}
