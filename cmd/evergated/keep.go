package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/evergate/evergate/core/config"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/sealed"
	"github.com/evergate/evergate/ha"
	hawire "github.com/evergate/evergate/ha/wire"
)

// keep is what a gateway keeps for its next life: the journal of its tunnels, and
// what the last life has left.
type keep struct {
	store *sealed.Store
	log   *slog.Logger
	left  []sealed.Value
}

// keeps tells whether the tunnels of a gateway outlive its process by what is on
// disk.
func keeps(cfg *config.Config) bool {
	return !cfg.Flush && cfg.State.SealKey.Len() > 0
}

// outlive is for how long the dataplane goes on without us: where there is something
// to adopt its SAs with, on disk or at other members.
func outlive(cfg *config.Config) time.Duration {
	if keeps(cfg) || !cfg.Flush && cfg.Group() != nil {
		return cfg.Dataplane.OrphanTime
	}
	return 0
}

func sealedFiles(cfg *config.Config) sealed.Config {
	return sealed.Config{
		File:   filepath.Join(cfg.StateDir, "tunnels.sealed"),
		Anchor: filepath.Join(filepath.Dir(cfg.Admin.Socket), "tunnels.anchor"),
		Key:    cfg.State.SealKey,
	}
}

// openKeep finds what the last life has left and begins this one. What must not be
// used is no reason not to start: then the peers dial again. It is nil where
// nothing is kept.
func openKeep(cfg *config.Config, log *slog.Logger) (*keep, error) {
	files := sealedFiles(cfg)
	if !keeps(cfg) {
		return nil, sealed.Remove(files)
	}
	left, err := sealed.Load(files)
	if stale := (*sealed.StaleError)(nil); errors.As(err, &stale) {
		log.Error("state of the last life is not used; its tunnels begin anew", "error", err)
	} else if err != nil {
		return nil, err
	}
	store, err := sealed.Create(files, left)
	if err != nil {
		return nil, err
	}
	return &keep{store: store, log: log, left: left}, nil
}

// close lets go of the file, for the next life.
func (k *keep) close() error {
	if k == nil {
		return nil
	}
	return k.store.Close()
}

// The names of values, in the set of a tunnel.
const ikeValue = "ike"

func childValue(in ipsec.SAID) string { return "child " + in.String() }

// Note implements engine.Journal.
func (k *keep) Note(records ...ha.Record) error {
	changes := make([]sealed.Change, 0, len(records))
	for _, r := range records {
		c := sealed.Change{}
		switch r := r.(type) {
		case ha.PutIKE:
			c.Set, c.Name = uint64(r.Tunnel), ikeValue
		case ha.PutChild:
			c.Set, c.Name = uint64(r.Tunnel), childValue(r.Child.In.ID)
		case ha.DropChild:
			c.Set, c.Name = uint64(r.Tunnel), childValue(r.Child)
			changes = append(changes, c)
			continue
		case ha.Remove:
			c.Set = uint64(r.Tunnel)
			changes = append(changes, c)
			continue
		}
		b, err := hawire.Marshal(ha.Frame{Records: []ha.Record{r}})
		if err != nil {
			return err
		}
		c.Data = b
		changes = append(changes, c)
	}
	return k.store.Write(changes...)
}

// keptTunnel is a tunnel of the last life; version and title are those of a group.
type keptTunnel struct {
	engine.Restore
	version ha.Version
	title   ha.Title
}

// tunnels are those that the last life has left, in the order in which they came
// up.
func (k *keep) tunnels() []keptTunnel {
	var out []keptTunnel
	at := make(map[ipsec.TunnelID]int)
	for _, v := range k.left {
		id := ipsec.TunnelID(v.Set)
		f, err := hawire.Unmarshal(v.Data)
		if err != nil || len(f.Records) != 1 {
			k.log.Error("state of a tunnel was not understood", "tunnel", id.String(), "error", err)
			continue
		}
		i, known := at[id]
		if !known {
			i = len(out)
			at[id] = i
			out = append(out, keptTunnel{Restore: engine.Restore{Tunnel: ha.Restored{Tunnel: id}}})
		}
		switch r := f.Records[0].(type) {
		case ha.PutIKE:
			out[i].Tunnel.IKE, out[i].Age, out[i].title = r.IKE, v.Age, r.Title
			out[i].note(r.Version)
		case ha.PutChild:
			out[i].note(r.Version)
			out[i].Tunnel.Children = append(out[i].Tunnel.Children, r.Child)
		}
	}
	return slices.DeleteFunc(out, func(t keptTunnel) bool { return t.Tunnel.IKE.State.Len() == 0 })
}

// note keeps the newest version that was written.
func (t *keptTunnel) note(v ha.Version) {
	if v.Compare(t.version) > 0 {
		t.version = v
	}
}

// remembered are the same for a member of a group, as it was when it wrote them
// down.
func (k *keep) remembered() []ha.Remembered {
	var out []ha.Remembered
	for _, t := range k.tunnels() {
		r := ha.Return{Tunnel: t.Tunnel.Tunnel, Version: t.version, Title: t.title, IKE: t.Tunnel.IKE, Children: t.Tunnel.Children}
		out = append(out, ha.Remembered{Return: r, Age: t.Age})
	}
	return out
}

// adopt goes on with the tunnels of the last life, and tells whether its dataplane
// has lived on. It is called before the engine runs.
func (d *daemon) adopt() (lives bool) {
	lives = d.host.Status().Adopted
	if d.cluster != nil {
		var known []ha.Remembered
		if d.keep != nil {
			known = d.keep.remembered()
			d.keep.left = nil
		}
		if lives {
			d.log.Info("dataplane of the last life is taken over", "on_disk", len(known))
		}
		d.engine.Rejoin(lives, known...)
		return lives
	}
	d.adoptAlone(lives)
	return lives
}

// adoptAlone is adopt for a gateway that stands alone.
func (d *daemon) adoptAlone(lives bool) {
	if d.keep == nil {
		return
	}
	var tunnels []engine.Restore
	for _, t := range d.keep.tunnels() {
		tunnels = append(tunnels, t.Restore)
	}
	d.keep.left = nil
	switch {
	case lives:
		d.log.Info("dataplane of the last life is taken over", "tunnels", len(tunnels))
	case len(tunnels) > 0:
		d.log.Warn("the dataplane did not outlive the last life: its tunnels get new keys", "tunnels", len(tunnels))
	default:
		return
	}
	d.engine.Adopt(tunnels...)
}

// sweep removes the routes of the last life that nobody has taken over.
func (d *daemon) sweep(ctx context.Context) error {
	if err := d.engine.Settled(ctx); err != nil {
		return fmt.Errorf("wait for the tunnels of the last life: %w", err)
	}
	return d.routes.Sweep()
}

// rejoined is sweep for a member whose dataplane has lived on: other members say what
// became of its tunnels, and that takes them a while.
func (d *daemon) rejoined(ctx context.Context) error {
	if err := d.sweep(ctx); err != nil {
		return err
	}
	stats, err := d.engine.Resumed(ctx)
	if err != nil {
		return err
	}
	d.log.Info("tunnels of the last life are settled", "resumed", stats.Resumed)
	if stats.Swept > 0 {
		d.log.Warn("sas of the last life were deleted: no member knows their tunnels, nor the disk", "count", stats.Swept)
	}
	<-ctx.Done()
	return nil
}

// stopped is why a gateway stops.
type stopped struct{ os.Signal }

func (s stopped) Error() string { return s.String() }

// leaving is to whom a gateway that stops leaves its tunnels.
type leaving int

const (
	leftNowhere leaving = iota // their peers are told
	leftToOthers
	leftHere // the next process goes on with them
)

// stays tells to whom the tunnels are left: with SIGTERM, which service managers send
// for a restart too, to the next process, if they are kept at all; in a group to other
// members, where there are any, and the dataplane waits. SIGINT ends it.
func (d *daemon) stays(ctx context.Context, cfg *config.Config) leaving {
	asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	var s stopped
	switch {
	case outlive(cfg) == 0 || !errors.As(context.Cause(ctx), &s) || s.Signal != syscall.SIGTERM:
		return leftNowhere
	case d.cluster != nil && d.accompanied(asking):
		return leftToOthers
	case d.keep != nil:
		return leftHere
	default:
		return leftNowhere
	}
}

func (d *daemon) accompanied(ctx context.Context) bool {
	kept, err := d.engine.Accompanied(ctx)
	return err == nil && kept
}
