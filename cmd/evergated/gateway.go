package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/evergate/evergate/core/admin"
	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/pluginhost"
)

var _ admin.Gateway = (*daemon)(nil)

// Status implements admin.Gateway.
func (d *daemon) Status(ctx context.Context) (diag.Status, error) {
	d.mu.Lock()
	path := d.cfg.Path
	d.mu.Unlock()
	s := diag.Status{
		Version: version, PID: os.Getpid(), Uptime: time.Since(d.started), Config: path, Member: int(d.member()),
		Dataplane: describe(d.host.Status()), Network: d.network.describe(),
	}
	if d.Ready() != nil {
		if s.Dataplane.State == string(pluginhost.Up) {
			s.Dataplane.State = string(pluginhost.Starting) // it is about to be configured
		}
		for _, c := range d.engine.Policy().Connections() {
			s.Phase1 = append(s.Phase1, diag.FromPhase1(c, nil))
		}
		return s, nil
	}
	tunnels, err := d.engine.Tunnels(ctx)
	if err != nil {
		return diag.Status{}, err
	}
	links, _, err := d.engine.Links(ctx)
	if err != nil {
		return diag.Status{}, err
	}
	for _, l := range links {
		s.Links = append(s.Links, diag.FromLink(l, time.Now()))
	}
	for _, c := range d.engine.Policy().Connections() {
		s.Phase1 = append(s.Phase1, diag.FromPhase1(c, tunnels))
	}
	return s, nil
}

func describe(s pluginhost.Status) diag.Dataplane {
	d := diag.Dataplane{
		Plugin: s.Name, Version: s.Info.Version, State: string(s.State), PID: s.PID,
		LastError: s.LastError, NPUs: len(s.Info.NPUs), Interface: s.Info.PlaintextInterface,
	}
	if s.Starts > 0 {
		d.Restarts = s.Starts - 1
	}
	if !s.UpSince.IsZero() {
		d.Uptime = time.Since(s.UpSince)
	}
	return d
}

// Tunnels implements admin.Gateway. Those whose IKE SA is not up yet have no name
// and are not listed; Status counts them.
func (d *daemon) Tunnels(ctx context.Context, name string, keys bool) ([]diag.Tunnel, error) {
	all, err := d.engine.Tunnels(ctx)
	if err != nil {
		return nil, err
	}
	now, info := time.Now(), d.host.Status().Info
	tunnels := []diag.Tunnel{}
	for _, t := range all {
		if t.Name != "" && (name == "" || t.Name == name || t.Phase1 == name) {
			tunnels = append(tunnels, diag.FromTunnel(t, now, info, keys))
		}
	}
	return tunnels, nil
}

// IKEStats implements admin.Gateway.
func (d *daemon) IKEStats(ctx context.Context) (diag.Stats, error) {
	s, err := d.engine.Stats(ctx)
	if err != nil || d.cluster == nil {
		return diag.FromStats(s), err
	}
	_, _, group, err := d.engine.Group(ctx)
	return append(diag.FromStats(s), diag.FromGroup(group)...), err
}

// StandalonePeers implements admin.Gateway.
func (d *daemon) StandalonePeers(ctx context.Context) (diag.StandalonePeers, error) {
	if d.cluster == nil {
		return diag.StandalonePeers{}, errors.New("this gateway is in no standalone-cluster")
	}
	return d.cluster.peers(ctx)
}

// Up implements admin.Gateway.
func (d *daemon) Up(ctx context.Context, name string) error {
	return notFound(d.engine.Up(ctx, name))
}

// Down implements admin.Gateway.
func (d *daemon) Down(ctx context.Context, name string) error {
	return notFound(d.engine.Down(ctx, name))
}

// Rekey implements admin.Gateway.
func (d *daemon) Rekey(ctx context.Context, name string, ike bool) error {
	return notFound(d.engine.Rekey(ctx, name, ike))
}

func notFound(err error) error {
	if errors.Is(err, engine.ErrNoSuchTunnel) {
		return fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	}
	return err
}
