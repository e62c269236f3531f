package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/evergate/evergate/core/config"
)

// hear reloads on each signal until ctx ends.
func (d *daemon) hear(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			notify(d.log, reloading)
			if _, err := d.Reload(ctx); err != nil {
				d.log.Error("configuration was not reloaded; nothing changed", "error", err)
			}
			notify(d.log, ready)
		}
	}
}

// Reload implements admin.Gateway: it reads the configuration again and touches
// only what changed. Where it fails, the old one stays.
func (d *daemon) Reload(ctx context.Context) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	next, err := config.Load(d.cfg.Path)
	if err != nil {
		return nil, err
	}
	changes := config.Diff(d.cfg, next)
	if changes.Empty() {
		d.log.Info("configuration reloaded; nothing changed")
		return nil, nil
	}
	if next.Dataplane.Plugin != d.cfg.Dataplane.Plugin {
		return nil, fmt.Errorf("%s: dataplane.plugin: another dataplane needs a restart of evergated", next.Path)
	}
	if err := d.change(ctx, next); err != nil {
		return nil, err
	}
	lines := changes.Lines()
	d.level.Set(next.Log.Level)
	d.cfg = next
	for _, l := range lines {
		d.log.Info("configuration reloaded", "change", l)
	}
	return lines, nil
}

// change puts next in place. New addresses come before the connections that use
// them, and old ones go after the tunnels on them.
func (d *daemon) change(ctx context.Context, next *config.Config) error {
	before, after := policyOf(d.cfg).LocalAddresses(), policyOf(next).LocalAddresses()
	both := slices.Clone(before)
	for _, a := range after {
		if !slices.Contains(both, a) {
			both = append(both, a)
		}
	}
	if err := d.configure(ctx, next, both); err != nil {
		if back := d.configure(ctx, d.cfg, before); back != nil {
			d.log.Error("configuration could not be taken back", "error", back)
		}
		return err
	}
	if err := d.engine.Reload(ctx, policyOf(next)); err != nil {
		return err
	}
	if err := d.network.gateways(next); err != nil {
		d.log.Error("addresses are announced as before", "error", err)
	}
	if len(both) == len(after) {
		return nil
	}
	return d.configure(ctx, next, after)
}
