package rig

import (
	"context"
	"time"
)

// Rest lets time pass, unless ctx ends; then it returns why.
func Rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
