package netlab_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
)

// abandonEnv makes this test binary build a lab and wait to be killed.
const abandonEnv = "NETLAB_TEST_ABANDON"

func TestMain(m *testing.M) {
	if os.Getenv(abandonEnv) != "" {
		abandon()
		return
	}
	goleak.VerifyTestMain(m)
}

// abandon builds a lab with a process, says its id, and waits.
func abandon() {
	err := netlab.Run(context.Background(), "abandoned", func(string, ...any) {}, func(tb netlab.TB) {
		p := netlab.New(tb).Namespace("host").Start(exec.Command("sleep", "1000"))
		fmt.Fprintf(os.Stdout, "started %d\n", p.PID())
		<-p.Done()
	})
	fmt.Fprintln(os.Stdout, "ended:", err)
}

// limit bounds waits that take milliseconds on an idle machine.
const limit = 20 * time.Second

// gone tells whether a process is no more. A zombie is: only its parent, which
// may be slow, keeps its number.
func gone(pid int) error {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && strings.Contains(string(stat), ") Z ") {
		return nil
	}
	return fmt.Errorf("process %d is still there: %s (%w)", pid, stat, err)
}

// failure runs body as a program and returns how it failed.
func failure(t *testing.T, body func(netlab.TB)) string {
	t.Helper()
	err := netlab.Run(t.Context(), t.Name(), t.Logf, body)
	if err == nil {
		t.Fatal("the body succeeded, but it should have failed")
	}
	return err.Error()
}

func wantPing(t *testing.T, from *netlab.Namespace, to string) {
	t.Helper()
	if err := from.Echo(t.Context(), to, "", 3); err != nil {
		t.Fatalf("ping from %s to %s: %v", from.Name(), to, err)
	}
}

func wantSilence(t *testing.T, from *netlab.Namespace, to, why string) {
	t.Helper()
	r, err := from.Ping(t.Context(), netlab.Ping{To: to, Count: 1, Wait: 500 * time.Millisecond})
	if err == nil && r.Received > 0 {
		t.Fatalf("%s answered %s, but %s", to, from.Name(), why)
	}
}
