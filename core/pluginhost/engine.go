package pluginhost

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// call makes one call of the process that is up, with a deadline.
func call[T any](ctx context.Context, h *Host, doing string, f func(context.Context, offload.Engine) (T, error)) (T, error) {
	p, err := h.plane(ctx, doing)
	if err != nil {
		var none T
		return none, err
	}
	bounded, cancel := context.WithTimeout(ctx, h.config.CallTimeout)
	defer cancel()
	answer, err := f(bounded, p.engine)
	return answer, h.explain(ctx, bounded, doing, err)
}

// explain makes offload.ErrDown of a call that was not answered in time, unless
// the caller's own time was over.
//
// The deadline travels with the call, and the plugin's clock may notice it a
// moment before ours does.
func (h *Host) explain(caller, bounded context.Context, doing string, err error) error {
	theirs, limited := caller.Deadline()
	ours, timed := bounded.Deadline()
	switch {
	case err == nil || caller.Err() != nil:
		return err
	case bounded.Err() != nil:
	case !errors.Is(err, context.DeadlineExceeded) || timed && limited && !ours.Before(theirs):
		return err
	}
	h.report(func(s *Status) { s.TimedOut++ })
	return fmt.Errorf("pluginhost: %s: %w: no answer from plugin %s within %v", doing, offload.ErrDown, h.config.Plugin.Name, h.config.CallTimeout)
}

// Configure implements offload.Engine. What it is given goes to every later
// process too, once a plugin has accepted it. Boot is the host's to fill in.
func (h *Host) Configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	return call(ctx, h, "configure", func(ctx context.Context, _ offload.Engine) (offload.Info, error) {
		h.configuring.Lock()
		defer h.configuring.Unlock()
		h.mu.Lock()
		p := h.current // as it is now that no other can come up
		h.mu.Unlock()
		if p == nil {
			return offload.Info{}, fmt.Errorf("pluginhost: configure: %w", offload.ErrDown)
		}
		info, err := p.configure(ctx, c)
		if err != nil {
			return offload.Info{}, err
		}
		h.wanted = &c
		h.report(func(s *Status) { s.Info = info })
		return info, nil
	})
}

// configure gives c to the process, with the process's boot number.
func (p *process) configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	c.Boot = p.boot
	info, err := p.engine.Configure(ctx, c)
	if err == nil {
		p.bootID = info.BootID
	}
	return info, err
}

// Info implements offload.Engine.
func (h *Host) Info(ctx context.Context) (offload.Info, error) {
	return call(ctx, h, "info", func(ctx context.Context, e offload.Engine) (offload.Info, error) { return e.Info(ctx) })
}

// Install implements offload.Engine.
func (h *Host) Install(ctx context.Context, epoch offload.Epoch, role offload.Role, sas ...ipsec.SA) ([]offload.Placement, error) {
	return call(ctx, h, "install", func(ctx context.Context, e offload.Engine) ([]offload.Placement, error) {
		return e.Install(ctx, epoch, role, sas...)
	})
}

// Update implements offload.Engine.
func (h *Host) Update(ctx context.Context, epoch offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	return call(ctx, h, "update", func(ctx context.Context, e offload.Engine) ([]offload.Placement, error) {
		return e.Update(ctx, epoch, changes...)
	})
}

// Delete implements offload.Engine.
func (h *Host) Delete(ctx context.Context, epoch offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	return call(ctx, h, "delete", func(ctx context.Context, e offload.Engine) ([]offload.Counters, error) {
		return e.Delete(ctx, epoch, ids...)
	})
}

// Arm implements offload.Engine.
func (h *Host) Arm(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	return h.onGroup(ctx, "arm", func(ctx context.Context, e offload.Engine) error { return e.Arm(ctx, g, epoch) })
}

// Promote implements offload.Engine.
func (h *Host) Promote(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	return h.onGroup(ctx, "promote", func(ctx context.Context, e offload.Engine) error { return e.Promote(ctx, g, epoch) })
}

// Demote implements offload.Engine.
func (h *Host) Demote(ctx context.Context, g offload.Group, epoch offload.Epoch) error {
	return h.onGroup(ctx, "demote", func(ctx context.Context, e offload.Engine) error { return e.Demote(ctx, g, epoch) })
}

func (h *Host) onGroup(ctx context.Context, doing string, f func(context.Context, offload.Engine) error) error {
	_, err := call(ctx, h, doing, func(ctx context.Context, e offload.Engine) (struct{}, error) { return struct{}{}, f(ctx, e) })
	return err
}

// Export implements offload.Engine. The deadline is for each item, not for the
// whole, and does not run while the caller is busy with one.
func (h *Host) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		p, err := h.plane(ctx, "export")
		if err != nil {
			yield(offload.Counters{}, err)
			return
		}
		bounded, cancel := context.WithCancel(ctx)
		defer cancel()
		idle := time.AfterFunc(h.config.CallTimeout, cancel)
		defer idle.Stop()
		for c, err := range p.engine.Export(bounded, g) {
			idle.Stop()
			if err != nil {
				yield(offload.Counters{}, h.explain(ctx, bounded, "export", err))
				return
			}
			if !yield(c, nil) {
				return
			}
			idle.Reset(h.config.CallTimeout)
		}
	}
}

// Events implements offload.Engine, but does not end when a process does.
func (h *Host) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) { h.events.read(ctx, yield) }
}

// down tells whether err says that the process does not answer.
func down(err error) bool {
	return errors.Is(err, offload.ErrDown) || errors.Is(err, context.DeadlineExceeded)
}
