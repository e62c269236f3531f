package pluginhost_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/offload/offloadtest"
)

// TestHostKeepsTheContract runs those clauses of the conformance suite that a
// layer between core and plugin could break through a host and real processes.
func TestHostKeepsTheContract(t *testing.T) { // B8
	dir, s := runtimeDir(t), spec(t, "good")
	var boot atomic.Uint32
	open := func(context.Context) (*offloadtest.Harness, error) {
		host, err := pluginhost.New(pluginhost.Config{
			Plugin: s, RuntimeDir: dir, Log: slog.New(slog.DiscardHandler),
			Boot: func() (uint32, error) { return boot.Add(1), nil },
		})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- host.Run(ctx) }()
		return &offloadtest.Harness{Engine: host, Close: func() error { cancel(); return <-ended }}, nil
	}
	clauses, err := offloadtest.Select("batch", "concurrent", "events", "export", "install.partial")
	if err != nil {
		t.Fatalf("The suite has other clauses now: %v.", err)
	}
	report, err := offloadtest.Check(t.Context(), open, clauses, func(r offloadtest.Result) {
		if r.Outcome == offloadtest.Failed {
			t.Errorf("Through a host, clause %s fails: %s", r.ID, strings.Join(r.Notes, "; "))
		}
	})
	if err != nil {
		t.Fatalf("The suite cannot run: %v.", err)
	}
	t.Logf("%d clauses passed, %d failed, %d need traffic or faults.", report.Count(offloadtest.Passed), report.Count(offloadtest.Failed), report.Count(offloadtest.NotExercised))
}
