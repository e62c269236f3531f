package config_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/core/config"
)

func TestRestartsAdoptUnlessTheyFlush(t *testing.T) { // B6, C11
	c := mustLoad(t, minimal)
	want(t, "what a restart does", c.Flush, false)
	want(t, "how long the dataplane goes on", c.Dataplane.OrphanTime, 2*time.Minute)
	want(t, "whether state is sealed", c.State.SealKey.Len(), 0)

	c = mustLoad(t, minimal+"ike-restart: flush\ndataplane: {orphan-time: 5m}\n")
	want(t, "what a restart does", c.Flush, true)
	want(t, "how long the dataplane goes on", c.Dataplane.OrphanTime, 5*time.Minute)

	c = mustLoad(t, minimal+"ike-restart: flush\nstate: {seal-key: {literal: a key of the operator himself}}\n")
	if len(c.Warnings) == 0 {
		t.Error("State that is never kept has no warning.")
	}
}

func TestAnotherSealKeyNeedsARestart(t *testing.T) { // B6
	from := mustLoad(t, minimal+"state: {seal-key: {literal: a key of the operator himself}}\n")
	to := mustLoad(t, minimal+"state: {seal-key: {literal: another of the operator's}}\n")
	changes := config.Diff(from, to)
	want(t, "what needs a restart", len(changes.Restart), 1)
	want(t, "what changed", len(changes.Sections), 1)
	if again := config.Diff(from, from); !again.Empty() {
		t.Errorf("A configuration differs from itself: %v.", again.Lines())
	}
}
