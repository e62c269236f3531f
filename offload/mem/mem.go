package mem

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// DefaultEventQueue is how many events are kept while nobody reads.
const DefaultEventQueue = 4096

// Options of an Engine. The zero value is a plane without NPUs and limits that
// reads this machine's clock.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Name distinguishes the boot ids of several planes; empty is "mem".
	Name string
	// Capacity is how many SAs fit; 0 for no limit.
	Capacity int
	// EventQueue is how many events are kept; 0 is DefaultEventQueue.
	EventQueue int
	// NPUs are the network processors, tried in order.
	NPUs []NPU
	// Settings are the names that Configure knows.
	Settings []string
	// Overrun is how many packets an SA runs over its ceiling, as a plane does that can
	// only approximate, or has none. Adjust should say so.
	Overrun uint64
	// Adjust changes what Info says about itself, such as IVSource. It does not
	// change what the engine does, except that ReportsFirstPacket false makes
	// Arm unsupported and first packets unseen, Links false the SAs of links, and HoldsPackets false drops what
	// would wait.
	Adjust func(*offload.Info)
}

// Engine is an offload.Engine in memory.
type Engine struct {
	options   Options
	events    queue
	supported map[ipsec.Algorithms]bool

	mu         sync.Mutex // guards all below
	configured bool
	closed     bool
	boot       uint32 // of the last Configure
	minBoot    uint32 // what the next Configure must bring at least
	resets     int
	about      offload.Info
	serial     uint64 // of the last installed SA
	ivs        uint64 // explicit IVs made in this boot
	sas        map[ipsec.SAID]*entry
	tunnels    map[ipsec.TunnelID][]*entry
	groups     [offload.MaxGroups]group
	held       map[ipsec.TunnelID]int // packets that wait
	released   []Packet
	npuUse     map[offload.NPUID]int
	faults     map[Call][]Fault
	stats      stats
}

var _ offload.Engine = (*Engine)(nil)

// group is what is remembered of one failover group.
type group struct {
	epoch   offload.Epoch // the highest seen
	armed   bool
	armedBy offload.Epoch
}

// New makes an engine, which waits for Configure.
func New(o Options) *Engine {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Name == "" {
		o.Name = "mem"
	}
	e := &Engine{options: o, faults: make(map[Call][]Fault)}
	e.events.limit = o.EventQueue
	if e.events.limit == 0 {
		e.events.limit = DefaultEventQueue
	}
	e.forget()
	e.about = e.describe()
	e.supported = make(map[ipsec.Algorithms]bool)
	for _, c := range e.about.Transforms {
		e.supported[c.Algorithms] = true
	}
	return e
}

// forget drops all SAs and groups.
func (e *Engine) forget() {
	e.sas = make(map[ipsec.SAID]*entry)
	e.tunnels = make(map[ipsec.TunnelID][]*entry)
	e.groups = [offload.MaxGroups]group{}
	e.held = make(map[ipsec.TunnelID]int)
	e.npuUse = make(map[offload.NPUID]int)
}

// Configure implements offload.Engine.
func (e *Engine) Configure(ctx context.Context, c offload.Config) (info offload.Info, err error) {
	err = e.call(ctx, CallConfigure, nil, func() error {
		if err := e.checkConfig(c); err != nil {
			return fmt.Errorf("mem: configure: %w", err)
		}
		if c.Boot != e.boot {
			e.ivs = 0
		}
		e.configured, e.boot, e.minBoot = true, c.Boot, c.Boot
		info = e.info()
		return nil
	})
	return info, err
}

func (e *Engine) checkConfig(c offload.Config) error {
	if err := offload.CheckConfig(c); err != nil {
		return err
	}
	switch {
	case c.Boot < e.minBoot:
		return fmt.Errorf("%w: boot %d, want at least %d", offload.ErrInvalid, c.Boot, e.minBoot)
	case c.Boot > maxBoot:
		return fmt.Errorf("%w: boot %d does not fit into an IV, want at most %d", offload.ErrInvalid, c.Boot, maxBoot)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		if !slices.Contains(e.options.Settings, name) {
			return fmt.Errorf("%w: unknown setting %q", offload.ErrInvalid, name)
		}
	}
	return nil
}

// Info implements offload.Engine.
func (e *Engine) Info(ctx context.Context) (info offload.Info, err error) {
	err = e.call(ctx, CallInfo, nil, func() error {
		info = e.info()
		return nil
	})
	return info, err
}

// info is a copy of what the plane says of itself.
func (e *Engine) info() offload.Info {
	info := e.about
	info.NPUs, info.Transforms = slices.Clone(info.NPUs), slices.Clone(info.Transforms)
	return info
}

func (e *Engine) describe() offload.Info {
	info := offload.Info{
		Name:               "mem",
		Version:            "1",
		BootID:             fmt.Sprintf("%s-%d", e.options.Name, e.resets),
		Transforms:         e.capabilities(),
		MaxSAs:             e.options.Capacity,
		MaxReplayWindow:    ipsec.MaxReplayWindow,
		TransportMode:      true,
		Links:              true,
		IVSource:           offload.IVMember,
		EnforcesCeiling:    true,
		HoldsPackets:       true,
		ReportsFirstPacket: true,
	}
	for _, n := range e.options.NPUs {
		info.NPUs = append(info.NPUs, offload.NPU{ID: n.ID, Name: n.Name, Emulated: true})
	}
	if e.options.Adjust != nil {
		e.options.Adjust(&info)
	}
	return info
}

// Export implements offload.Engine.
func (e *Engine) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		var all []offload.Counters
		err := e.call(ctx, CallExport, nil, func() error {
			if g != offload.AllGroups {
				if err := offload.CheckGroup(g); err != nil {
					return fmt.Errorf("mem: export: %w", err)
				}
			}
			for _, sa := range e.inOrder() {
				if g == offload.AllGroups || sa.in(g) {
					all = append(all, sa.export(e.options.Now()))
				}
			}
			return nil
		})
		if err != nil {
			yield(offload.Counters{}, err)
			return
		}
		for _, c := range all {
			if err := ctx.Err(); err != nil {
				yield(offload.Counters{}, err)
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// inOrder returns the SAs in order of installation.
func (e *Engine) inOrder() []*entry {
	return slices.SortedFunc(maps.Values(e.sas), func(a, b *entry) int { return cmp.Compare(a.serial, b.serial) })
}

// Reset loses all SAs, epochs and arming, as a device that was reset does. Calls
// answer ErrNotConfigured until Configure brings a higher boot.
func (e *Engine) Reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget()
	e.resets++
	e.stats = stats{}
	e.configured = false
	e.minBoot = e.boot + 1
	e.about = e.describe()
	e.events.push(offload.Reset{BootID: e.about.BootID})
}

// Close ends the engine as the end of its process would: streams end with
// ErrDown, and so does every call from now on.
func (e *Engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.events.close()
	return nil
}
