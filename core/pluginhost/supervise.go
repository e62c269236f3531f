package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/evergate/evergate/offload"
)

const (
	// exitGrace is how long we wait to see how a process ended that has stopped
	// answering.
	exitGrace = time.Second
	// streamPause is the rest before a stream of events that broke is opened
	// again.
	streamPause = time.Second
)

// errHung says that a process was alive, but did not answer.
var errHung = errors.New("the plugin hung")

// Run keeps a plugin running until ctx ends, then stops it, and returns when no
// process is left, unless Leave was called. It is called once at a time.
//
// With Config.Outlive it begins with the process that another daemon has left, if
// there is one that fits. It fails when that daemon lives.
func (h *Host) Run(ctx context.Context) error {
	h.mu.Lock()
	if h.running {
		h.mu.Unlock()
		return errors.New("pluginhost: run: already running")
	}
	h.running = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.running, h.status.State = false, Stopped
	}()
	var err error
	if h.keep, err = openKeeper(h.config.RuntimeDir, h.config.Outlive > 0); err != nil {
		return err
	}
	defer h.keep.close()
	h.report(func(s *Status) { s.State = Starting }) // calls wait while we talk to what was left
	inherited := h.adopt(ctx)
	if h.config.Outlive <= 0 { // what was left there is gone
		h.keep.close()
		h.keep = nil
	}
	for pause := h.config.MinPause; ; pause = min(2*pause, h.config.MaxPause) {
		began := time.Now()
		err := h.live(ctx, inherited)
		inherited = nil
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) >= h.config.SettledAfter {
			pause = h.config.MinPause
		}
		h.fail(err, pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// fail notes why a life ended.
func (h *Host) fail(err error, pause time.Duration) {
	h.report(func(s *Status) {
		s.State, s.LastError, s.LastFailure, s.Unfit = Down, err.Error(), time.Now(), errors.Is(err, ErrUnfit)
		s.Failures++
		if errors.Is(err, errHung) {
			s.Hangs++
		}
		h.turn()
	})
	h.log.Error("dataplane plugin failed", "error", err, "restart_in", pause)
}

// live is one life of a process, from its start, or from here on where we inherited
// it, until it is gone. It returns why it ended.
func (h *Host) live(ctx context.Context, p *process) error {
	h.report(func(s *Status) { s.State = Starting; s.Starts++; s.Adopted = p != nil })
	bringUp := h.takeUp
	if p == nil {
		var err error
		if p, err = h.launch(ctx); err != nil {
			return err
		}
		bringUp = h.bringUp
	}
	h.report(func(s *Status) { s.PID = p.program.pid() })
	defer h.report(func(s *Status) { s.PID, s.UpSince = 0, time.Time{} })
	if err := bringUp(ctx, p); err != nil {
		p.kill()
		return err
	}
	err := h.tend(ctx, p)
	h.setCurrent(nil)
	if h.config.Down != nil {
		h.config.Down()
	}
	switch {
	case ctx.Err() == nil:
		p.kill()
	case h.keep != nil && h.leaving.Load():
		p.leave()
		h.log.Info("dataplane plugin goes on for the next daemon", "pid", p.program.pid(), "for", h.config.Outlive)
	default:
		p.stop(h.config.StopTimeout)
		h.log.Info("dataplane plugin stopped", "pid", p.program.pid())
	}
	return err
}

// Leave makes Run, when its context ends, let the process go on for the next
// daemon, where Config.Outlive allows it.
func (h *Host) Leave() { h.leaving.Store(true) }

// takeUp goes on with a process that was left by another daemon, with the boot
// number that it has. Its SAs are there: no Reset is reported.
func (h *Host) takeUp(ctx context.Context, p *process) error {
	h.configuring.Lock()
	defer h.configuring.Unlock()
	info, err := p.info(ctx, h.config.CallTimeout)
	if err != nil {
		return fmt.Errorf("pluginhost: ask plugin %s for its info: %w", h.config.Plugin.Name, err)
	}
	p.bootID = info.BootID
	h.report(func(s *Status) { s.State, s.UpSince, s.Info, s.Boot = Up, time.Now(), info, p.boot })
	h.setCurrent(p)
	h.log.Info("dataplane plugin adopted", "pid", p.program.pid(), "name", info.Name, "version", info.Version, "boot", p.boot)
	return nil
}

// bringUp makes a process what the one before it was, and lets calls through. A
// process that replaces another reports itself as a Reset.
func (h *Host) bringUp(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, h.config.CallTimeout)
	defer cancel()
	h.configuring.Lock()
	defer h.configuring.Unlock()
	info, err := p.engine.Info(ctx)
	if err != nil {
		return fmt.Errorf("pluginhost: ask plugin %s for its info: %w", h.config.Plugin.Name, err)
	}
	p.bootID = info.BootID
	if info, err = h.reboot(ctx, p, info); err != nil {
		return err
	}
	h.report(func(s *Status) { s.State, s.UpSince, s.Unfit = Up, time.Now(), false })
	h.setCurrent(p)
	h.log.Info("dataplane plugin up", "pid", p.program.pid(), "name", info.Name, "version", info.Version, "boot", p.boot)
	return nil
}

// reboot gives a process without SAs a new boot number, and the configuration
// if there is one; then it tells the reader of events. The caller holds
// configuring.
func (h *Host) reboot(ctx context.Context, p *process, info offload.Info) (offload.Info, error) {
	boot, err := h.config.Boot()
	if err != nil {
		return info, fmt.Errorf("pluginhost: get a boot number: %w", err)
	}
	p.boot = boot
	if err := p.remember(); err != nil {
		return info, err
	}
	if h.wanted != nil {
		if info, err = p.configure(ctx, *h.wanted); err != nil {
			return info, fmt.Errorf("pluginhost: configure plugin %s after its start: %w", h.config.Plugin.Name, err)
		}
		h.events.push(offload.Reset{BootID: info.BootID})
	}
	h.report(func(s *Status) { s.Info, s.Boot = info, boot })
	return info, nil
}

// tend follows a process that is up, until it is gone, hangs or ctx ends.
func (h *Host) tend(ctx context.Context, p *process) error {
	ctx, end := context.WithCancelCause(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		if err := h.follow(ctx, p); err != nil {
			end(err)
		}
	})
	err := h.watch(ctx, p)
	end(nil)
	reader.Wait()
	return err
}

// watch returns when the process is gone or no longer answers.
func (h *Host) watch(ctx context.Context, p *process) error {
	ticker := time.NewTicker(h.config.HealthInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.program.done:
			return p.exitError()
		case <-ticker.C:
		}
		if err := h.checkHealth(ctx, p); err != nil {
			return err
		}
	}
}

// checkHealth asks whether the process answers and still has its SAs.
func (h *Host) checkHealth(ctx context.Context, p *process) error {
	info, err := p.info(ctx, h.config.HealthTimeout)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: no answer within %v", errHung, h.config.HealthTimeout)
	case down(err):
		select {
		case <-p.program.done:
			return p.exitError()
		case <-time.After(exitGrace):
			return fmt.Errorf("the plugin lives but does not serve: %w", err)
		}
	case err != nil:
		return fmt.Errorf("the plugin does not know what it is: %w", err)
	}
	return h.afterReset(ctx, p, info.BootID)
}

// follow passes the process's events on, until ctx ends or a Reset could not be
// dealt with.
func (h *Host) follow(ctx context.Context, p *process) error {
	for {
		for ev, err := range p.engine.Events(ctx) {
			if err != nil {
				h.log.Debug("stream of events broke", "error", err)
				break
			}
			reset, ok := ev.(offload.Reset)
			if !ok {
				h.events.push(ev)
				continue
			}
			if err := h.afterReset(ctx, p, reset.BootID); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.program.done:
			return nil
		case <-time.After(streamPause):
			h.events.push(offload.Overrun{Lost: 1}) // how many, nobody knows
		}
	}
}

// afterReset configures a process again that lost its SAs, if its boot id says
// so.
func (h *Host) afterReset(ctx context.Context, p *process, bootID string) error {
	ctx, cancel := context.WithTimeout(ctx, h.config.CallTimeout)
	defer cancel()
	h.configuring.Lock()
	defer h.configuring.Unlock()
	if p.bootID == bootID {
		return nil
	}
	p.bootID = bootID
	h.log.Warn("dataplane lost its sas", "boot_id", bootID)
	h.mu.Lock()
	info := h.status.Info
	h.mu.Unlock()
	info.BootID = bootID
	_, err := h.reboot(ctx, p, info)
	if err != nil && ctx.Err() == context.Canceled {
		return nil // we are stopping
	}
	return err
}
