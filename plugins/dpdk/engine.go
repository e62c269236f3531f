//go:build dpdk

package dpdk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Name is what Info calls this dataplane.
const Name = "dpdk"

// Options are what an Engine is made with. The zero value works.
type Options struct {
	// Version is reported in Info.
	Version string
	// Log gets what happens outside of the packet path; nil discards it.
	Log *slog.Logger
	// EAL is shared by the engines of a process; nil makes one.
	EAL *EAL
}

// Engine is the dataplane. It implements offload.Engine; Close ends it.
type Engine struct {
	log     *slog.Logger
	version string
	bootID  string
	eal     *EAL
	seed    maphash.Seed // of key fingerprints
	events  *events
	closed  chan struct{}
	pumping sync.Mutex // orders what workers noticed

	// names guards serials for those who do not hold mu.
	names   sync.RWMutex
	serials map[uint64]ipsec.SAID

	// mu serializes control calls. The packet path knows nothing of it.
	mu       sync.Mutex
	settings settings
	config   offload.Config
	network  *network // nil before Configure
	devices  []cryptodev
	cards    []card
	sas      map[ipsec.SAID]*association
	tunnels  map[ipsec.TunnelID]*tunnel
	groups   [offload.MaxGroups]offload.Epoch // the highest one seen
	serial   uint64
	ledger   ledger
}

var _ offload.Engine = (*Engine)(nil)

// New makes an Engine. It opens nothing before Configure.
func New(o Options) *Engine {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.EAL == nil {
		o.EAL = new(EAL)
	}
	return &Engine{
		log: o.Log, version: o.Version, bootID: rand.Text(), eal: o.EAL, seed: maphash.MakeSeed(), settings: defaults(),
		events: newEvents(), closed: make(chan struct{}),
		serials: make(map[uint64]ipsec.SAID), sas: make(map[ipsec.SAID]*association), tunnels: make(map[ipsec.TunnelID]*tunnel),
	}
}

// usable tells whether calls that program SAs are welcome; e.mu is held.
func (e *Engine) usable() error {
	select {
	case <-e.closed:
		return offload.ErrDown
	default:
	}
	if e.network == nil {
		return offload.ErrNotConfigured
	}
	return nil
}

// drain waits until every packet sees what was changed before, and what it led to
// is told.
func (e *Engine) drain() {
	e.network.plane.Drain()
	e.pump(e.network.plane)
}

// Info tells what the dataplane is and can do.
func (e *Engine) Info(context.Context) (offload.Info, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.info(), nil
}

func (e *Engine) info() offload.Info {
	i := offload.Info{
		Name: Name, Version: e.version, BootID: e.bootID,
		NPUs:               npusOf(e.devices, e.cards),
		Transforms:         e.capabilities(),
		MaxSAs:             e.settings.maxSAs,
		MaxReplayWindow:    ipsec.MaxReplayWindow,
		Links:              true,
		IVSource:           offload.IVMember,
		EnforcesCeiling:    true,
		ReportsFirstPacket: true,
	}
	if e.network != nil {
		i.PlaintextInterface = e.settings.tunName
	}
	return i
}

// Stats returns what belongs to no SA, since the engine was configured.
func (e *Engine) Stats(context.Context) ([]offload.Stat, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.usable(); err != nil {
		return nil, fmt.Errorf("dpdk: stats: %w", err)
	}
	return e.network.plane.Stats(), nil
}

// Close stops the workers, gives the ports back and ends the event stream. Calls
// that come later fail with offload.ErrDown.
func (e *Engine) Close() error {
	e.mu.Lock()
	if errors.Is(e.usable(), offload.ErrDown) {
		e.mu.Unlock()
		return nil
	}
	close(e.closed)
	n := e.network
	e.network = nil
	e.mu.Unlock()
	if n == nil {
		return nil
	}
	n.stopTasks() // they want mu
	if err := n.stopPlane(); err != nil {
		return fmt.Errorf("dpdk: close: %w", err)
	}
	for _, a := range e.sas {
		a.loop.Free()
	}
	for _, t := range e.tunnels {
		t.loop.Free()
	}
	if err := n.free(); err != nil {
		return fmt.Errorf("dpdk: close: %w", err)
	}
	return nil
}
