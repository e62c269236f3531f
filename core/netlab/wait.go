package netlab

import (
	"context"
	"fmt"
	"time"
)

// A condition is looked at so often that waiting for it takes a sixteenth longer than
// it does itself, within these bounds: what comes soon is seen soon, and what takes its
// time has the processor for it.
const (
	pollShare = 16
	pollLeast = 10 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// Poll calls check until it returns nil, for at most limit. The error is the
// one of the last check, or the cause of ctx.
func Poll(ctx context.Context, limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		again.Reset(min(max(time.Since(began)/pollShare, pollLeast), pollMost))
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%w (gave up: %w)", err, context.Cause(ctx))
		}
	}
}

// Eventually ends the test when check does not return nil within limit. The
// sentence says what should have come true: "the gateway has the client's route".
func Eventually(tb TB, limit time.Duration, sentence string, check func() error) {
	tb.Helper()
	if err := Poll(tb.Context(), limit, check); err != nil {
		tb.Fatalf("waited up to %v for this: %s; but: %v", limit, sentence, err)
	}
}
