package mem

import (
	"context"
	"fmt"

	"github.com/evergate/evergate/offload"
)

// Call names a call of offload.Engine.
type Call string

// The calls into which faults can be injected.
const (
	CallConfigure Call = "configure"
	CallInfo      Call = "info"
	CallInstall   Call = "install"
	CallUpdate    Call = "update"
	CallDelete    Call = "delete"
	CallArm       Call = "arm"
	CallPromote   Call = "promote"
	CallDemote    Call = "demote"
	CallExport    Call = "export"
	CallStats     Call = "stats"
)

// Fault is what goes wrong with one call. Its funcs may be nil.
type Fault struct {
	// Before runs before the call, outside of all locks. An error is the call's
	// answer and nothing is done.
	Before func(context.Context) error
	// After runs when the call was carried out. An error is its answer all the
	// same, as when an answer gets lost on its way.
	After func() error
	// Lie changes the placements of Install and Update.
	Lie func([]offload.Placement) []offload.Placement
}

// Fail makes a call answer with err and do nothing.
func Fail(err error) Fault {
	return Fault{Before: func(context.Context) error { return err }}
}

// Hang makes a call wait for the end of its context and do nothing.
func Hang() Fault {
	return Fault{Before: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}}
}

// Slow makes a call wait for ready, or for the end of its context.
func Slow(ready <-chan struct{}) Fault {
	return Fault{Before: func(ctx context.Context) error {
		select {
		case <-ready:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// LoseAnswer makes a call do its work and answer with err.
func LoseAnswer(err error) Fault {
	return Fault{After: func() error { return err }}
}

// Lie makes Install or Update answer with other placements.
func Lie(f func([]offload.Placement) []offload.Placement) Fault { return Fault{Lie: f} }

// Inject makes the next calls go wrong, one fault for each, in order.
func (e *Engine) Inject(call Call, faults ...Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults[call] = append(e.faults[call], faults...)
}

// nextFault takes the fault of this call.
func (e *Engine) nextFault(call Call) Fault {
	e.mu.Lock()
	defer e.mu.Unlock()
	waiting := e.faults[call]
	if len(waiting) == 0 {
		return Fault{}
	}
	e.faults[call] = waiting[1:]
	return waiting[0]
}

// call carries out do under the lock, with the fault that waits for it. placed
// are the placements that do makes, nil for a call that makes none.
func (e *Engine) call(ctx context.Context, call Call, placed *[]offload.Placement, do func() error) error {
	fault := e.nextFault(call)
	if fault.Before != nil {
		if err := fault.Before(ctx); err != nil {
			return fmt.Errorf("mem: %s: %w", call, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mem: %s: %w", call, err)
	}
	if err := e.locked(call, do); err != nil {
		return err
	}
	if fault.Lie != nil && placed != nil {
		*placed = fault.Lie(*placed)
	}
	if fault.After != nil {
		if err := fault.After(); err != nil {
			return fmt.Errorf("mem: %s: %w", call, err)
		}
	}
	return nil
}

func (e *Engine) locked(call Call, do func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.closed:
		return fmt.Errorf("mem: %s: %w", call, offload.ErrDown)
	case !e.configured && call != CallConfigure && call != CallInfo:
		return fmt.Errorf("mem: %s: %w", call, offload.ErrNotConfigured)
	}
	return do()
}
