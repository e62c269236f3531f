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

// keep is what a gateway that stands alone keeps for its next life: the journal of
// its tunnels, and what the last life has left.
type keep struct {
	store *sealed.Store
	log   *slog.Logger
	left  []sealed.Value
}

// keeps tells whether the tunnels of a gateway outlive its process by what is on
// disk.
func keeps(cfg *config.Config) bool {
	return !cfg.Flush && cfg.Group() == nil && cfg.State.SealKey.Len() > 0
}

// outlive is for how long the dataplane goes on without us: as long as there is
// something to adopt its SAs with.
func outlive(cfg *config.Config) time.Duration {
	if !keeps(cfg) {
		return 0
	}
	return cfg.Dataplane.OrphanTime
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

// tunnels are those that the last life has left, in the order in which they came
// up.
func (k *keep) tunnels() []engine.Restore {
	var out []engine.Restore
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
			out = append(out, engine.Restore{Tunnel: ha.Restored{Tunnel: id}})
		}
		switch r := f.Records[0].(type) {
		case ha.PutIKE:
			out[i].Tunnel.IKE, out[i].Age = r.IKE, v.Age
		case ha.PutChild:
			out[i].Tunnel.Children = append(out[i].Tunnel.Children, r.Child)
		}
	}
	return slices.DeleteFunc(out, func(r engine.Restore) bool { return r.Tunnel.IKE.State.Len() == 0 })
}

// adopt goes on with the tunnels of the last life. It is called before the engine
// runs.
func (d *daemon) adopt() {
	if d.keep == nil {
		return
	}
	tunnels := d.keep.tunnels()
	d.keep.left = nil
	switch {
	case d.host.Status().Adopted:
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

// stopped is why a gateway stops.
type stopped struct{ os.Signal }

func (s stopped) Error() string { return s.String() }

// stays tells whether the tunnels are left to the next process: with SIGTERM, which
// service managers send for a restart too, if they are kept at all. SIGINT ends
// them.
func (d *daemon) stays(ctx context.Context) bool {
	var s stopped
	return d.keep != nil && errors.As(context.Cause(ctx), &s) && s.Signal == syscall.SIGTERM
}
