package netlab

import (
	"context"
	"fmt"
	"time"
)

// pollEvery is how often a condition is looked at: often enough that waiting
// costs a test nothing, seldom enough to leave the processor to the peers.
const pollEvery = 10 * time.Millisecond

// Poll calls check until it returns nil, for at most limit. The error is the
// one of the last check, or the cause of ctx.
func Poll(ctx context.Context, limit time.Duration, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
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
