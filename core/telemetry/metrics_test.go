package telemetry_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// drops is a family as others define them.
func drops() telemetry.Desc {
	return telemetry.Desc{
		Subsystem: "ike", Name: "drops_total", Help: "Datagrams that were ignored.",
		Labels: []telemetry.Label{{Name: "reason", Values: []string{"malformed", "replayed"}}},
	}
}

// scrape asks for the metrics as Prometheus does.
func scrape(t *testing.T, r *telemetry.Registry) string {
	t.Helper()
	return get(t, serve(t, r)+"/metrics")
}

// serve starts the endpoint for as long as the test runs, and returns its URL.
func serve(t *testing.T, r *telemetry.Registry) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("No port was free: %v.", err)
	}
	served := make(chan error, 1)
	go func() { served <- r.Serve(t.Context(), l, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() { // the context of the test has ended
		if err := <-served; err != nil {
			t.Errorf("The endpoint did not stop in order: %v.", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + l.Addr().String()
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatalf("The endpoint does not answer: %v.", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("The endpoint answered %s, %v: %s.", resp.Status, err, body)
	}
	return string(body)
}

func wantLine(t *testing.T, metrics, line string) {
	t.Helper()
	for got := range strings.Lines(metrics) {
		if strings.TrimSpace(got) == line {
			return
		}
	}
	t.Errorf("The metrics should have the line %q, they are\n%s", line, ours(metrics))
}

// ours leaves out the metrics of the runtime.
func ours(metrics string) string {
	var b strings.Builder
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "evergate_") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func TestInstruments(t *testing.T) { // B7
	r := telemetry.NewRegistry("v1.2.3")
	c := r.Counter(drops())
	g := r.Gauge(telemetry.Desc{Subsystem: "plugin", Name: "up", Help: "Whether the plugin runs."})
	h := r.Histogram(telemetry.Desc{Subsystem: "ike", Name: "setup_seconds", Help: "How long a peer waits."}, 0.1, 1)
	if err := r.Err(); err != nil {
		t.Fatalf("The instruments are refused: %v.", err)
	}
	c.Add(2, "malformed")
	g.Set(3)
	g.Add(-2)
	h.Observe(0.5)
	got := scrape(t, r)
	wantLine(t, got, `evergate_ike_drops_total{reason="malformed"} 2`)
	wantLine(t, got, `evergate_ike_drops_total{reason="replayed"} 0`) // there before it happens
	wantLine(t, got, `evergate_plugin_up 1`)
	wantLine(t, got, `evergate_ike_setup_seconds_bucket{le="0.1"} 0`)
	wantLine(t, got, `evergate_ike_setup_seconds_bucket{le="1"} 1`)
	wantLine(t, got, `evergate_ike_setup_seconds_sum 0.5`)
	if !strings.Contains(got, `evergate_build_info{go="go`) || !strings.Contains(got, `version="v1.2.3"} 1`) {
		t.Errorf("The metrics should say which program this is:\n%s", ours(got))
	}
	if !strings.Contains(got, "go_goroutines ") || !strings.Contains(got, "process_resident_memory_bytes ") {
		t.Error("The metrics of the runtime and the process should be there.")
	}
}

func TestLabelsAreClosedSets(t *testing.T) {
	r := telemetry.NewRegistry("")
	c := r.Counter(drops())
	c.Add(1, "192.0.2.1")
	c.Add(1)
	c.Add(1, "malformed", "replayed")
	c.Add(-1, "malformed")
	got := scrape(t, r)
	wantLine(t, got, `evergate_ike_drops_total{reason="malformed"} 0`)
	wantLine(t, got, "evergate_telemetry_series_skipped_total 3")
	if strings.Contains(got, "192.0.2.1") {
		t.Errorf("An address became a label:\n%s", ours(got))
	}
}

func TestCollectReadsWhenAsked(t *testing.T) {
	r := telemetry.NewRegistry("")
	tunnels := telemetry.Desc{Subsystem: "ike", Name: "tunnels", Help: "Tunnels that are up.", Labels: []telemetry.Label{{Name: "phase1"}}}
	asked := 0
	r.Collect(telemetry.Collector{
		Counters: []telemetry.Desc{drops()},
		Gauges:   []telemetry.Desc{tunnels},
		Read: func(emit telemetry.Emit) {
			asked++
			emit(drops(), 7, "replayed")
			emit(drops(), 8, "replayed") // twice
			emit(drops(), 1, "no such reason")
			emit(tunnels, float64(asked), "vpn1")
			emit(tunnels, 5, "vpn2")
			emit(telemetry.Desc{Subsystem: "ike", Name: "others"}, 1) // not announced
		},
	})
	if err := r.Err(); err != nil {
		t.Fatalf("The collector is refused: %v.", err)
	}
	url := serve(t, r) + "/metrics"
	get(t, url)
	got := get(t, url)
	wantLine(t, got, `evergate_ike_drops_total{reason="replayed"} 7`)
	wantLine(t, got, `evergate_ike_tunnels{phase1="vpn1"} 2`)
	wantLine(t, got, `evergate_ike_tunnels{phase1="vpn2"} 5`)
	if !strings.Contains(got, "evergate_telemetry_series_skipped_total") {
		t.Error("What was left out should be counted.")
	}
}

func TestSeriesAreBounded(t *testing.T) {
	r := telemetry.NewRegistry("")
	open := telemetry.Desc{Subsystem: "ike", Name: "tunnels", Help: "Tunnels that are up.", Labels: []telemetry.Label{{Name: "phase1"}}}
	r.Collect(telemetry.Collector{Gauges: []telemetry.Desc{open}, Read: func(emit telemetry.Emit) {
		for i := range 10000 {
			emit(open, 1, strings.Repeat("x", i%100)+string(rune('0'+i%10))+strings.Repeat("y", i/100))
		}
	}})
	if n := strings.Count(scrape(t, r), "evergate_ike_tunnels{"); n != 4096 {
		t.Errorf("There are %d series, the limit is 4096.", n)
	}
}

func TestNamesFollowTheRules(t *testing.T) {
	label := func(names ...string) (ls []telemetry.Label) {
		for _, n := range names {
			ls = append(ls, telemetry.Label{Name: n, Values: []string{"a"}})
		}
		return ls
	}
	for _, m := range []struct {
		desc telemetry.Desc
		want string
	}{
		{telemetry.Desc{Subsystem: "ike", Name: "drops", Help: "H."}, "telemetry: evergate_ike_drops: counters, and they alone, end in _total"},
		{telemetry.Desc{Subsystem: "ike", Name: "Drops_total", Help: "H."}, `telemetry: evergate_ike_Drops_total: "Drops_total" is not lower case words joined by underscores`},
		{telemetry.Desc{Subsystem: "ike_v2", Name: "drops_total", Help: "H."}, `telemetry: evergate_ike_v2_drops_total: "ike_v2" is not the one word of a subsystem`},
		{telemetry.Desc{Name: "drops_total", Help: "H."}, `telemetry: evergate_drops_total: "" is not the one word of a subsystem`},
		{telemetry.Desc{Subsystem: "ike", Name: "drops_total"}, "telemetry: evergate_ike_drops_total: has no help"},
		{telemetry.Desc{Subsystem: "ike", Name: "drops_total", Help: "H.", Labels: label("a", "a")}, `telemetry: evergate_ike_drops_total: label "a" is no lower case word, or is there twice`},
		{telemetry.Desc{Subsystem: "ike", Name: "drops_total", Help: "H.", Labels: []telemetry.Label{{Name: "spi"}}}, "telemetry: evergate_ike_drops_total: the labels of an instrument have closed sets of values"},
	} {
		r := telemetry.NewRegistry("")
		c := r.Counter(m.desc)
		if err := r.Err(); err == nil || err.Error() != m.want {
			t.Errorf("The error should be %q, it is %v.", m.want, err)
		}
		c.Add(1, make([]string, len(m.desc.Labels))...) // works all the same
	}
}

func TestWrongRegistrationsAreTold(t *testing.T) {
	r := telemetry.NewRegistry("")
	r.Counter(drops())
	r.Counter(drops())
	r.Histogram(telemetry.Desc{Subsystem: "ike", Name: "setup_seconds", Help: "H."}, 2, 1)
	r.Collect(telemetry.Collector{Gauges: []telemetry.Desc{{Subsystem: "ike", Name: "x_total", Help: "H."}}})
	err := r.Err()
	for _, part := range []string{
		"register evergate_ike_drops_total: duplicate",
		"evergate_ike_setup_seconds: buckets do not ascend",
		"evergate_ike_x_total: counters, and they alone, end in _total",
	} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("The errors should say %q, they are: %v.", part, err)
		}
	}
}

func TestPromlintIsContent(t *testing.T) {
	r := telemetry.NewRegistry("v1")
	r.Counter(drops())
	r.Histogram(telemetry.Desc{Subsystem: "ike", Name: "setup_seconds", Help: "How long a peer waits."}, 0.1, 1)
	problems, err := promlint.New(strings.NewReader(scrape(t, r))).Lint()
	if err != nil {
		t.Fatalf("The metrics cannot be parsed: %v.", err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestScrapesAtOnce(t *testing.T) {
	r := telemetry.NewRegistry("")
	c := r.Counter(drops())
	url := serve(t, r) + "/metrics"
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for range 20 {
				c.Add(1, "malformed")
				resp, err := http.Get(url)
				if err != nil {
					t.Errorf("The endpoint does not answer: %v.", err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
	wantLine(t, get(t, url), `evergate_ike_drops_total{reason="malformed"} 60`)
}
