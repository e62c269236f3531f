package softesp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Name is what Info calls this dataplane.
const Name = "softesp"

// maxSAs bounds the installed SAs, a good KiB each before they carry packets.
const maxSAs = 1 << 18

// Options are what an Engine is made with. The zero value works.
type Options struct {
	// Version is reported in Info.
	Version string
	// Log gets what happens outside of the packet path; nil discards it.
	Log *slog.Logger
}

// Engine is the dataplane. It implements offload.Engine; Close ends it.
type Engine struct {
	log     *slog.Logger
	version string
	bootID  string
	started time.Time
	seed    maphash.Seed // of key fingerprints
	events  *eventQueue
	stats   counters
	// unsurveyed are SAs whose first hop nobody has looked up; resurvey has a
	// token when all are to be looked up again.
	unsurveyed chan *association
	resurvey   chan struct{}

	// The packet path reads these.
	inbound  inboundTable
	outbound *policyTable
	groups   [offload.MaxGroups]*group
	links    linkTable
	held     holder
	// unowned is the group of what belongs to none: the SAs of links.
	unowned *group

	// names guards sas for those who do not hold mu: the writers of sas hold
	// both. Who holds mu may wait for goroutines that read sas.
	names sync.RWMutex
	sas   map[ipsec.SAID]*association

	// mu serializes control calls. The packet path never takes it.
	mu       sync.Mutex
	closed   chan struct{}
	settings settings
	config   offload.Config
	network  *network // nil before Configure
	tunnels  map[ipsec.TunnelID]*tunnel
	slots    map[netip.Addr]int
	serial   uint64
	ledger   ivLedger
	tried    map[ipsec.Algorithms]bool // ciphers can be made for them
}

// New makes an Engine. It opens nothing before Configure.
func New(o Options) (*Engine, error) {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return nil, fmt.Errorf("softesp: draw a boot id: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{
		log: o.Log, version: o.Version, bootID: hex.EncodeToString(id),
		started: time.Now(), seed: maphash.MakeSeed(),
		events: newEventQueue(), outbound: newPolicyTable(),
		unsurveyed: make(chan *association, surveyQueue), resurvey: make(chan struct{}, 1),
		closed: make(chan struct{}),
		sas:    make(map[ipsec.SAID]*association), tunnels: make(map[ipsec.TunnelID]*tunnel),
		slots: make(map[netip.Addr]int), tried: make(map[ipsec.Algorithms]bool),
	}
	e.held.stats = &e.stats
	e.unowned = new(group)
	for i := range e.groups {
		e.groups[i] = &group{id: offload.Group(i)}
	}
	return e, nil
}

// now is the engine's clock.
func (e *Engine) now() time.Duration { return time.Since(e.started) }

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

// drain waits until every batch of packets that is under way has ended: what
// was changed before is then seen by all packets.
func (e *Engine) drain() {
	if e.network != nil {
		e.network.drain()
	}
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
		Transforms:         capabilities(),
		MaxSAs:             maxSAs,
		MaxReplayWindow:    ipsec.MaxReplayWindow,
		TransportMode:      true,
		Links:              true,
		IVSource:           offload.IVMember,
		EnforcesCeiling:    true,
		HoldsPackets:       true,
		ReportsFirstPacket: true,
		OwnsNATT:           true,
	}
	if e.network != nil {
		i.PlaintextInterface = e.settings.tunName
	}
	return i
}

// capabilities lists every combination of algorithms. No NPU takes any of them.
func capabilities() []offload.Capability {
	var out []offload.Capability
	for _, a := range ipsec.Combinations() {
		out = append(out, offload.Capability{Algorithms: a})
	}
	return out
}

// Events yields what the dataplane noticed.
func (e *Engine) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return e.events.stream(ctx, e.closed)
}

// Close stops the packet path, removes the TUN device and ends the event stream.
// Calls that come later fail with offload.ErrDown.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if errors.Is(e.usable(), offload.ErrDown) {
		return nil
	}
	close(e.closed)
	if e.network == nil {
		return nil
	}
	err := e.network.close()
	e.network = nil
	return err
}
