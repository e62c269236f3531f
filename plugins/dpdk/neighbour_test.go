//go:build dpdk

package dpdk

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
)

// TestListsThatChangeAreReadAgain: of a list that the kernel changed while it was read
// something may be missing, so it is not taken for whole.
func TestListsThatChangeAreReadAgain(t *testing.T) {
	for _, c := range []struct {
		torn, reads int
		whole       bool
	}{{0, 1, true}, {3, 4, true}, {maxDumps - 1, maxDumps, true}, {1000, maxDumps, false}} {
		reads := 0
		got, err := whole(func() ([]int, error) {
			if reads++; reads <= c.torn {
				return []int{1}, fmt.Errorf("list: %w", netlink.ErrDumpInterrupted)
			}
			return []int{1, 2}, nil
		})
		if reads != c.reads || (err == nil) != c.whole || (len(got) == 2) != c.whole {
			t.Errorf("A list that changes during %d reads should be read %d times, and then be whole: %v; got %v after %d: %v.", c.torn, c.reads, c.whole, got, reads, err)
		}
	}
	broken := errors.New("no netlink")
	reads := 0
	if _, err := whole(func() ([]int, error) { reads++; return nil, broken }); !errors.Is(err, broken) || reads != 1 {
		t.Errorf("What cannot be read at all should be tried once, got %d reads: %v.", reads, err)
	}
}
