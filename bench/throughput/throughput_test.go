package throughput_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/bench/report"
	"github.com/evergate/evergate/bench/throughput"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// build makes a program for the test.
func build(t *testing.T, name, pkg string, flags ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	args := append([]string{"build", "-buildvcs=false", "-o", path}, flags...)
	if out, err := exec.CommandContext(t.Context(), "go", append(args, pkg)...).CombinedOutput(); err != nil {
		t.Fatalf("%s was not built: %v\n%s", name, err, out)
	}
	return path
}

// TestEverybodyTakesTurns makes short tests of all contestants: the measurement
// works, and says all that it is to say. The figures of so short a time say
// nothing.
func TestEverybodyTakesTurns(t *testing.T) {
	const rounds = 1
	tests := []string{"tcp-1", "udp-spread", "udp-600M", "udp-8192"}
	r, err := throughput.Run(t.Context(), throughput.Options{
		Plugin:    build(t, "softesp", "github.com/evergate/evergate/cmd/evergate-plugin-softesp"),
		WireGuard: build(t, "wireguard-go", "golang.zx2c4.com/wireguard", "-modfile=../../tools.mod"), StrongSwan: true,
		Others: []string{build(t, "evergate-plugin-xfrm", "github.com/evergate/evergate/cmd/evergate-plugin-xfrm")},
		Raw:    true, SAs: []int{20}, Framings: true, Queues: []int{1, 2}, Ciphers: []string{"aes128gcm", "aes128-sha1"}, Tests: tests, Rounds: rounds, Time: 30 * time.Millisecond, Logf: t.Logf,
	})
	if err != nil {
		t.Fatalf("The measurement failed: %v.", err)
	}
	var names []string
	for _, c := range r.Contestants {
		names = append(names, c.Name)
		if c.Gateway == 0 || c.Client == 0 {
			t.Errorf("The memory of %s was not measured: %+v.", c.Name, c)
		}
		if c.Version == "" {
			t.Errorf("%s has no version in the result.", c.Name)
		}
	}
	want := "evergate softesp, 20 SAs; evergate softesp, protocol 50, 20 SAs; wireguard-go; strongswan kernel-libipsec"
	const small = "strongswan kernel-libipsec, above 1400 octets: the limit of its device"
	missing := slices.DeleteFunc(slices.Clone(r.Missing), func(what string) bool { return what == small })
	if len(missing) == len(r.Missing) {
		t.Errorf("strongSwan was not asked to carry large packets, which should be said: %q.", r.Missing)
	}
	if len(missing) == 0 { // the kernel has ESP
		names = slices.DeleteFunc(names, func(name string) bool { return strings.Contains(name, "xfrm") })
	} else if len(missing) > 1 || !strings.HasPrefix(missing[0], "evergate-plugin-xfrm: ") || !strings.Contains(missing[0], "module esp4") {
		t.Errorf("Where the kernel has no ESP it should be said, and nothing else is missing: %q.", missing)
	}
	if got := strings.Join(names, "; "); got != want {
		t.Errorf("Those were measured: %s; want %s.", got, want)
	}
	n := len(r.Contestants)*len(tests) - 1 // strongSwan's large packets
	if len(r.Samples) != n*rounds || len(r.Sums) != n || len(r.Ratios) != n-len(tests) {
		t.Errorf("There are %d samples, %d sums and %d ratios of %d tests.", len(r.Samples), len(r.Sums), len(r.Ratios), n)
	}
	cpu := make(map[string]float64)
	probed := false
	for _, s := range r.Samples {
		cpu[s.Contestant] += s.Gateway + s.Client
		probed = probed || s.Test == "tcp-1" && s.P50 > 0
		if s.Bits <= 0 || s.Test != "tcp-1" && (s.Packets <= 0 || s.P99 <= 0 || s.P999 < s.P99) {
			t.Errorf("%s of %s has no figures: %+v.", s.Test, s.Contestant, s.Figures)
		}
		if s.Disordered > 0 && strings.HasPrefix(s.Contestant, "evergate") {
			t.Errorf("In %s of %s %v of the packets changed places within their flow.", s.Test, s.Contestant, s.Disordered)
		}
	}
	if !probed {
		t.Error("Of no contestant it was seen how late packets are beside TCP.")
	}
	for what, steps := range map[string][]throughput.Step{"queues=2": r.Scaling, "aes128-sha1": r.Ciphers, "protocol 50": r.Framings} {
		if len(steps) != 2 || steps[1].Name != what || steps[1].Bits <= 0 || steps[0].Speed.Median != 1 {
			t.Errorf("%s was not compared with the first of its kind: %+v.", what, steps)
		}
	}
	for _, name := range names {
		if cpu[name] <= 0 {
			t.Errorf("The processor time of %s was not measured.", name)
		}
	}
	checkReports(t, r)
}

// checkReports looks at what people and programs read.
func checkReports(t *testing.T, r throughput.Result) {
	t.Helper()
	var text, lines strings.Builder
	if err := r.Report().Write(&text); err != nil {
		t.Fatalf("The report cannot be written: %v.", err)
	}
	_, line, found := strings.Cut(text.String(), "\n{")
	var back throughput.Result
	if err := json.Unmarshal([]byte("{"+line), &back); err != nil || !found || len(back.Samples) != len(r.Samples) {
		t.Errorf("The report's last line is not the whole result (%v), but:\n%s", err, text.String())
	}
	if err := r.Report().WriteSamples(&lines); err != nil || strings.Count(lines.String(), "BenchmarkThroughput/test=") != len(r.Samples) ||
		!strings.Contains(lines.String(), "BenchmarkScaling/queues=2 1 ") {
		t.Errorf("benchstat should get a line for each of %d samples (%v):\n%s", len(r.Samples), err, lines.String())
	}
	if err := report.WriteHTML(io.Discard, r.Report()); err != nil {
		t.Errorf("The page was not written: %v.", err)
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	for name, o := range map[string]throughput.Options{
		"an unknown test": {Tests: []string{"tcp-5"}},
		"no SA":           {SAs: []int{0}},
		"too many SAs":    {SAs: []int{1 << 20}},
	} {
		if _, err := throughput.Run(t.Context(), o); err == nil {
			t.Errorf("%s should be refused.", name)
		}
	}
}
