//go:build dpdk

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// busy is how long the thread of that name has had a processor, 0 when there is none.
// What else the machine does costs it turns, which are not its own time.
func busy(pid int, name string) time.Duration {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil {
		return 0
	}
	for _, t := range threads {
		comm, err := os.ReadFile(filepath.Join(t, "comm"))
		if err != nil || !strings.Contains(string(comm), name) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(t, "schedstat"))
		var ns int64
		if _, scanned := fmt.Sscan(string(b), &ns); err == nil && scanned == nil {
			return time.Duration(ns)
		}
	}
	return 0
}
