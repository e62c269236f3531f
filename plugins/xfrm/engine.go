package xfrm

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/xfrm/xfrmnl"
)

// Name is what Info calls this dataplane.
const Name = "xfrm"

// DefaultMaxSAs bounds the installed SAs; reqids have room for more.
const DefaultMaxSAs = 1 << 18

// Options are what an Engine is made with. The zero value works.
type Options struct {
	// Version is reported in Info.
	Version string
	// MaxSAs bounds the installed SAs; 0 means DefaultMaxSAs.
	MaxSAs int
	// SurveyEvery is the time between two looks at the path MTUs that the kernel has
	// learned; 0 means DefaultSurveyEvery.
	SurveyEvery time.Duration
	// Log gets what happens beside the calls; nil discards it.
	Log *slog.Logger
}

// Engine is the dataplane. It implements offload.Engine; Close lets go of the
// kernel and leaves everything in it.
type Engine struct {
	log         *slog.Logger
	version     string
	maxSAs      int
	surveyEvery time.Duration
	bootID      string
	events      *eventQueue
	closed      chan struct{}
	waiters     sync.WaitGroup

	// mu serializes calls and what the kernel says.
	mu         sync.Mutex
	settings   settings
	config     offload.Config
	transforms []offload.Capability
	kernel     *kernel // nil before Configure
	sas        map[ipsec.SAID]*association
	byReqID    map[uint32]*association
	tunnels    map[ipsec.TunnelID][]*association
	links      []*association // SAs of links, in no order
	linked     bool           // there has been such an SA
	groups     [offload.MaxGroups]group
	policies   policyTable
	serial     uint32
	stats      counters
}

// New makes an Engine. It opens nothing before Configure.
func New(o Options) (*Engine, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("xfrm: draw a boot id: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxSAs <= 0 {
		o.MaxSAs = DefaultMaxSAs
	}
	if o.SurveyEvery <= 0 {
		o.SurveyEvery = DefaultSurveyEvery
	}
	e := &Engine{
		log: o.Log, version: o.Version, maxSAs: min(o.MaxSAs, serialMask), surveyEvery: o.SurveyEvery, bootID: hex.EncodeToString(id),
		events: newEventQueue(), closed: make(chan struct{}),
		sas: make(map[ipsec.SAID]*association), byReqID: make(map[uint32]*association),
		tunnels: make(map[ipsec.TunnelID][]*association),
	}
	for _, a := range ipsec.Combinations() {
		e.transforms = append(e.transforms, offload.Capability{Algorithms: a})
	}
	return e, nil
}

// usable tells whether calls that program SAs are welcome; e.mu is held.
func (e *Engine) usable() error {
	select {
	case <-e.closed:
		return offload.ErrDown
	default:
	}
	if e.kernel == nil {
		return offload.ErrNotConfigured
	}
	return nil
}

// begin is how calls begin: it takes in what the kernel said before. e.mu is held.
func (e *Engine) begin() error {
	if err := e.usable(); err != nil {
		return err
	}
	return e.hear()
}

// Info tells what the dataplane is and can do. Which algorithms the kernel has is
// found out by Configure.
func (e *Engine) Info(context.Context) (offload.Info, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.info(), nil
}

func (e *Engine) info() offload.Info {
	i := offload.Info{
		Name: Name, Version: e.version, BootID: e.bootID,
		Transforms:         slices.Clone(e.transforms),
		MaxSAs:             e.maxSAs,
		MaxReplayWindow:    xfrmnl.MaxReplayWindow,
		IVSource:           offload.IVRandomSalt,
		EnforcesCeiling:    true,
		ReportsFirstPacket: true,
		SocketOptions:      nattOptions(),
	}
	if e.kernel != nil {
		i.PlaintextInterface = e.settings.link
		i.TransportMode = e.settings.link == ""
		i.Links = e.kernel.gate.Relays()
		for _, n := range e.kernel.npus {
			i.NPUs = append(i.NPUs, offload.NPU{ID: n.id(), Name: n.name, Emulated: n.emulated})
		}
	}
	return i
}

// Events yields what the kernel noticed.
func (e *Engine) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return e.events.stream(ctx, e.closed)
}

// Close ends the event stream and lets go of the kernel, where everything stays as
// it is. Calls that come later fail with offload.ErrDown.
func (e *Engine) Close() error {
	err := e.close()
	e.waiters.Wait()
	return err
}

func (e *Engine) close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.usable(), offload.ErrDown) {
		return nil
	}
	close(e.closed)
	if e.kernel == nil {
		return nil
	}
	err := e.kernel.close()
	e.kernel = nil
	return err
}

// now is the time by which the kernel counts, too.
func now() time.Time { return time.Now() }
