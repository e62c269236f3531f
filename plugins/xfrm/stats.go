package xfrm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/evergate/evergate/offload"
)

// counters are those of the kernel, /proc/net/xfrm_stat, since the engine began to
// use them; the kernel's count for the whole network namespace.
type counters struct {
	first map[string]uint64
	// rebuilt is how often the gate was removed by others.
	rebuilt uint64
}

// statNames are the kernel's names of what no SA can be blamed for, and ours.
var statNames = [...][2]string{
	{"XfrmInError", "in-error"},
	{"XfrmInBufferError", "in-buffer"},
	{"XfrmInHdrError", "in-header"},
	{"XfrmInNoStates", "in-unknown-spi"},
	{"XfrmInStateProtoError", "in-state-protocol"},
	{"XfrmInStateModeError", "in-state-mode"},
	{"XfrmInStateSeqError", "in-sequence"},
	{"XfrmInStateExpired", "in-expired"},
	{"XfrmInStateMismatch", "in-state-mismatch"},
	{"XfrmInStateInvalid", "in-state-invalid"},
	{"XfrmInTmplMismatch", "in-template-mismatch"},
	{"XfrmInNoPols", "in-no-policy"},
	{"XfrmInPolBlock", "in-policy-block"},
	{"XfrmInPolError", "in-policy-error"},
	{"XfrmOutError", "out-error"},
	{"XfrmOutBundleGenError", "out-bundle"},
	{"XfrmOutBundleCheckError", "out-bundle-check"},
	{"XfrmOutNoStates", "out-no-sa"},
	{"XfrmOutStateProtoError", "out-state-protocol"},
	{"XfrmOutStateModeError", "out-state-mode"},
	{"XfrmOutStateSeqError", "out-sequence"},
	{"XfrmOutStateExpired", "out-expired"},
	{"XfrmOutPolBlock", "out-policy-block"},
	{"XfrmOutPolDead", "out-policy-dead"},
	{"XfrmOutPolError", "out-policy-error"},
	{"XfrmFwdHdrError", "forward-header"},
	{"XfrmOutStateInvalid", "out-state-invalid"},
	{"XfrmAcquireError", "acquire-error"},
}

// Stats returns the kernel's counters since Configure. They are of the network
// namespace of the calling thread's process when it was configured.
func (e *Engine) Stats(context.Context) ([]offload.Stat, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("xfrm: stats: %w", err)
	}
	values, err := readStats(e.kernel.statFile)
	if err != nil {
		return nil, fmt.Errorf("xfrm: stats: %w", err)
	}
	out := make([]offload.Stat, len(statNames), len(statNames)+1)
	for i, n := range statNames {
		out[i] = offload.Stat{Name: n[1], Value: above(values[n[0]], e.stats.first[n[0]])}
	}
	return append(out, offload.Stat{Name: "gate-rebuilt", Value: e.stats.rebuilt}), nil
}

// readStats reads the kernel's counters; those that it has not are 0, all without
// CONFIG_XFRM_STATISTICS.
func readStats(f *os.File) (map[string]uint64, error) {
	out := make(map[string]uint64)
	if f == nil {
		return out, nil
	}
	if _, err := f.Seek(0, 0); err != nil {
		return nil, fmt.Errorf("read the kernel's counters: %w", err)
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "\t")
		fields := strings.Fields(name + " " + value)
		if len(fields) != 2 {
			continue
		}
		if n, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
			out[fields[0]] = n
		}
	}
	return out, lines.Err()
}
