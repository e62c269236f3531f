package examplenpu

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// Name is what Info says.
const Name = "examplenpu"

// maxSAs is how many SAs the software keeps; the NPU takes far fewer.
const maxSAs = 4096

// Options of an Engine; the zero value works.
type Options struct {
	// Version is what Info says; empty is "unknown".
	Version string
	// Log gets what happens outside of calls; nil is for nobody.
	Log *slog.Logger
}

// Engine is an offload.Engine: software that forwards packets, and the model of
// an NPU that it moves SAs into.
type Engine struct {
	version string
	log     *slog.Logger
	process string // random, so that every process has boot ids of its own
	host    host
	events  queue
	stats   stats

	// configuring is held by Configure and Close, which may wait for goroutines
	// that need mu. It is taken first.
	configuring sync.Mutex

	// mu guards all below. It is held by each call and, for each packet, from the
	// look-up of its SA until the packet has left. That is why Demote is true to
	// its word: when it returns, no packet is half way.
	mu         sync.Mutex
	closed     bool
	configured bool
	boot       uint32 // of the last Configure
	minBoot    uint32 // what the next one must bring at least
	resets     int
	settings   settings
	ivs        uint64 // explicit IVs made in this boot
	serial     uint64 // of the SA that was installed last
	table      table
	groups     [offload.MaxGroups]group
	npu        npu
	acquires   map[flow]time.Time
	packet     []byte // the ESP packet that is being made
}

var _ offload.Engine = (*Engine)(nil)

// New makes an Engine, which opens nothing before Configure.
func New(o Options) *Engine {
	e := &Engine{version: cmp.Or(o.Version, "unknown"), log: o.Log, process: rand.Text(), settings: defaults()}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.host = newMachine(e)
	e.forget()
	return e
}

// forget drops all that a Reset loses.
func (e *Engine) forget() {
	e.table = newTable()
	e.groups = [offload.MaxGroups]group{}
	e.npu = npu{}
	e.acquires = make(map[flow]time.Time)
}

// Configure implements offload.Engine.
func (e *Engine) Configure(ctx context.Context, c offload.Config) (offload.Info, error) {
	e.configuring.Lock()
	defer e.configuring.Unlock()
	s, err := e.check(c)
	if err == nil {
		err = e.host.configure(ctx, c, s)
	}
	if err != nil {
		return offload.Info{}, fmt.Errorf("examplenpu: configure: %w", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.checkBoot(c.Boot); err != nil { // the firmware may have been reset meanwhile
		return offload.Info{}, fmt.Errorf("examplenpu: configure: %w", err)
	}
	if c.Boot != e.boot {
		e.ivs = 0
	}
	e.configured, e.boot, e.minBoot = true, c.Boot, c.Boot
	e.reform(s)
	return e.info(), nil
}

// check changes nothing, as what was configured before is kept after an error.
func (e *Engine) check(c offload.Config) (settings, error) {
	if err := offload.CheckConfig(c); err != nil {
		return settings{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return settings{}, offload.ErrDown
	}
	if err := e.checkBoot(c.Boot); err != nil {
		return settings{}, err
	}
	return parseSettings(c.Settings)
}

// checkBoot is called with mu held.
func (e *Engine) checkBoot(boot uint32) error {
	switch {
	case boot < e.minBoot:
		return fmt.Errorf("%w: boot %d, want at least %d", offload.ErrInvalid, boot, e.minBoot)
	case boot > maxBoot:
		return fmt.Errorf("%w: boot %d does not fit into an iv, want at most %d", offload.ErrInvalid, boot, maxBoot)
	default:
		return nil
	}
}

// Info implements offload.Engine.
func (e *Engine) Info(context.Context) (offload.Info, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return offload.Info{}, fmt.Errorf("examplenpu: info: %w", offload.ErrDown)
	}
	return e.info(), nil
}

func (e *Engine) info() offload.Info {
	info := offload.Info{
		Name:               Name,
		Version:            e.version,
		BootID:             fmt.Sprintf("%s-%d", e.process, e.resets),
		NPUs:               []offload.NPU{{ID: theNPU, Name: "example", Emulated: true}},
		MaxSAs:             maxSAs,
		MaxReplayWindow:    ipsec.MaxReplayWindow,
		Links:              true,
		IVSource:           offload.IVMember,
		EnforcesCeiling:    true,
		ReportsFirstPacket: true,
		OwnsNATT:           true,
		PlaintextInterface: e.settings.tunName,
	}
	for _, a := range algorithms() {
		in, out := e.settings.takes(ipsec.Inbound), e.settings.takes(ipsec.Outbound)
		info.Transforms = append(info.Transforms, offload.Capability{
			Algorithms: a, NPUInbound: in && npuKnows(a), NPUOutbound: out && npuKnows(a),
		})
	}
	return info
}

// begin starts every call but Info, Configure and Events; the caller unlocks mu,
// whatever the answer.
func (e *Engine) begin() error {
	e.mu.Lock()
	switch {
	case e.closed:
		return offload.ErrDown
	case !e.configured:
		return offload.ErrNotConfigured
	default:
		return nil
	}
}

// ResetFirmware loses all SAs, epochs and arming, as an NPU does whose firmware
// starts again. Calls answer ErrNotConfigured until Configure brings a higher
// boot.
func (e *Engine) ResetFirmware() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.forget()
	e.resets++
	e.configured, e.minBoot = false, e.boot+1
	e.events.push(offload.Reset{BootID: e.info().BootID})
	e.log.Warn("npu firmware was reset", "resets", e.resets)
}

// Close ends the dataplane: calls and streams of events answer ErrDown.
func (e *Engine) Close() error {
	e.configuring.Lock()
	defer e.configuring.Unlock()
	e.mu.Lock()
	again := e.closed
	e.closed = true
	e.mu.Unlock()
	if again {
		return nil
	}
	e.events.close()
	if err := e.host.close(); err != nil {
		return fmt.Errorf("examplenpu: close: %w", err)
	}
	return nil
}
