//go:build dpdk

package dpdk

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/evergate/evergate/plugins/dpdk/loop"
)

// EAL is DPDK's environment abstraction layer, which a process starts once. Engines
// of one process share one. The zero value has not started yet.
type EAL struct {
	mu         sync.Mutex
	started    string // the arguments of the start
	failed     error
	cryptodevs []loop.Cryptodev
}

// start starts EAL and the cryptodevs, or checks that they run as s says.
func (l *EAL) start(s settings) ([]loop.Cryptodev, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	asked := strings.Join(append(slices.Clone(s.eal), s.cryptodevs...), " ")
	if l.started == "" {
		l.started = asked
		l.cryptodevs, l.failed = launch(s)
	}
	if l.failed != nil {
		return nil, l.failed
	}
	if l.started != asked {
		return nil, fmt.Errorf("eal runs with %q, and takes %q after a restart of the plugin only", l.started, asked)
	}
	return l.cryptodevs, nil
}

// launch starts EAL with one core of its own, which it does not use: workers are
// threads that we start.
func launch(s settings) ([]loop.Cryptodev, error) {
	cpus, err := usableCPUs()
	if err != nil {
		return nil, err
	}
	args := append([]string{"evergate", "-l", strconv.Itoa(cpus[0]), "--no-shconf", "--no-telemetry", "--log-level=error"}, s.eal...)
	if err := loop.StartEAL(args); err != nil {
		return nil, explain(err, s.eal)
	}
	for _, name := range s.cryptodevs {
		if err := loop.AddDevice(name, "max_nb_queue_pairs="+strconv.Itoa(maxWorkers)); err != nil {
			return nil, fmt.Errorf("setting cryptodevs: %w: does this DPDK have the driver? Leave it out otherwise", err)
		}
	}
	return loop.StartCryptodevs()
}

// explain says what an operator can do about the usual reasons.
func explain(err error, args []string) error {
	switch {
	case errors.Is(err, unix.EINVAL):
		return fmt.Errorf("setting eal: %w: DPDK does not know one of its arguments, or what one says", err)
	case !slices.Contains(args, "--no-huge"):
		return fmt.Errorf("setting eal: %w: are there hugepages (sysctl vm.nr_hugepages), and may this process map them? --no-huge does without", err)
	default:
		return fmt.Errorf("setting eal: %w: does this machine have the memory of its -m?", err)
	}
}

// usableCPUs are those that this process may run on, in order.
func usableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("ask which cpus this process may use: %w", err)
	}
	var out []int
	for cpu := range len(set) * strconv.IntSize {
		if set.IsSet(cpu) {
			out = append(out, cpu)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("this process may use no cpu")
	}
	return out, nil
}
