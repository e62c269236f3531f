package netlab

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
)

// Run calls body with a TB for programs that are not tests, and then its
// clean-up functions, whichever way body ended. It returns nil when body
// finished without Errorf or Fatalf.
//
// When ctx ends, the waits inside body end with it: a program that gives a
// context of signal.NotifyContext cleans up on Ctrl-C.
//
// logf gets whole lines, one per call, without the newline.
func Run(ctx context.Context, name string, logf func(format string, args ...any), body func(TB)) error {
	ctx, cancel := context.WithCancel(ctx)
	p := &program{ctx: ctx, cancel: cancel, name: name, logf: logf}
	done := make(chan struct{})
	// A goroutine of its own, because Fatalf ends it.
	go func() {
		defer close(done)
		defer p.unwind()
		defer cancel()
		body(p)
	}()
	<-done
	return p.result()
}

// program is the TB of Run.
type program struct {
	ctx    context.Context //nolint:containedctx // TB.Context hands it out
	cancel context.CancelFunc
	name   string
	logf   func(format string, args ...any)

	mu       sync.Mutex
	errs     []error
	cleanups []func()
}

func (p *program) Helper()                         {}
func (p *program) Name() string                    { return p.name }
func (p *program) Context() context.Context        { return p.ctx }
func (p *program) Logf(format string, args ...any) { p.logf(format, args...) }

func (p *program) Errorf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errs = append(p.errs, fmt.Errorf(format, args...))
}

func (p *program) Fatalf(format string, args ...any) {
	p.Errorf(format, args...)
	runtime.Goexit()
}

func (p *program) Failed() bool { return p.result() != nil }

func (p *program) result() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.errs...)
}

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

// unwind calls the clean-up functions, the rest of them also when one of them
// ends the goroutine.
func (p *program) unwind() {
	p.mu.Lock()
	n := len(p.cleanups)
	if n == 0 {
		p.mu.Unlock()
		return
	}
	f := p.cleanups[n-1]
	p.cleanups = p.cleanups[:n-1]
	p.mu.Unlock()
	defer p.unwind()
	f()
}
