package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/pluginhost"
	"github.com/evergate/evergate/core/telemetry"
	"github.com/evergate/evergate/offload"
)

// patience is what the service manager is asked for again and again while the dataplane
// does not come up, by the half of it.
const patience = time.Minute

// errNoPlane answers operators until there was a dataplane.
var errNoPlane = errors.New("this gateway waits for its dataplane; see its status")

// begin configures the dataplane for the first time. One that dies, as it may while its
// device comes up, is waited for until stay ends, and meanwhile is called, so that
// operators see why. What waiting does not mend is an error: a plugin that does not fit,
// and settings that it does not take.
func (d *daemon) begin(stay context.Context, cfg *config.Config, meanwhile func()) error {
	for waits := false; ; waits = true {
		err := d.configure(stay, cfg, policyOf(cfg).LocalAddresses())
		switch {
		case stay.Err() != nil || !errors.Is(err, offload.ErrDown):
			return err
		case errors.Is(err, pluginhost.ErrUnfit):
			return fmt.Errorf("dataplane.plugin: %w", err)
		}
		if !waits {
			meanwhile()
		}
		d.log.Warn("gateway waits for its dataplane", "error", err)
		if err := d.awaitPlane(stay); err != nil {
			return err
		}
	}
}

// awaitPlane waits for a process to talk to, whose pauses are the host's.
func (d *daemon) awaitPlane(ctx context.Context) error {
	again := time.NewTicker(patience / 2)
	defer again.Stop()
	for {
		serving, changed := d.host.Serving()
		if serving {
			return nil
		}
		notify(d.log, fmt.Sprintf("STATUS=waits for its dataplane: %s\nEXTEND_TIMEOUT_USEC=%d", d.host.Status().LastError, patience.Microseconds()))
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		case <-again.C:
		}
	}
}

// Ready implements admin.Gateway.
func (d *daemon) Ready() error {
	if !d.works.Load() {
		return errNoPlane
	}
	return nil
}

// once has c yield its values from when the gateway works: whoever has them would wait
// for that.
func (d *daemon) once(c telemetry.Collector) telemetry.Collector {
	read := c.Read
	c.Read = func(emit telemetry.Emit) {
		if d.Ready() == nil {
			read(emit)
		}
	}
	return c
}
