package witness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// reviveInterval is how often neighbors that were cut off for flooding us with
// routes get another try.
const reviveInterval = 30 * time.Second

// errRunning is returned by Run to a second caller.
var errRunning = errors.New("witness: it runs already")

// Witness tells the network what it is told. All its methods may be called at
// any time by any goroutine: before Run they prepare what Run begins with.
type Witness struct {
	cfg Config
	// wake has room for one: the news is in the fields below, not in the channel.
	wake chan struct{}
	// known is what the neighbors were told last. It belongs to Run.
	known map[netip.Prefix]preference

	mu      sync.Mutex
	running bool
	table   *table
	fit     bool
	reason  string
	drain   drain
	// everything is set when more has changed than the prefixes that the table
	// noted.
	everything bool
	// wanted counts the changes, and told those of them that the speaker has.
	wanted, told uint64
	// settled is closed, and replaced, when told moves or Run ends.
	settled chan struct{}
	speaker *speaker       // while running, and only with BGP
	health  netip.AddrPort // where the endpoint listens, while it does
	counts  counts
	routes  routeCount // in known
}

type drain uint8

const (
	staying drain = iota
	leaving       // the last resort, for as long as traffic needs to move
	left
)

// counts never fall while the Witness exists.
type counts struct{ announced, withdrawn, refused uint64 }

// routeCount is a number of routes by family.
type routeCount struct{ ipv4, ipv6 int }

func (c *routeCount) count(p netip.Prefix, n int) {
	if p.Addr().Is4() {
		c.ipv4 += n
	} else {
		c.ipv6 += n
	}
}

// New checks the configuration. It returns everything that is wrong with it.
func New(c Config) (*Witness, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Witness{
		cfg:     c,
		wake:    make(chan struct{}, 1),
		table:   newTable(c),
		reason:  "starting",
		settled: make(chan struct{}),
	}, nil
}

// Run speaks to the network until ctx ends, and closes every session before it
// returns: what was announced is withdrawn by that. It fails when it cannot
// listen where it is told to, or when the speaker fails; it may be called again
// then.
func (w *Witness) Run(ctx context.Context) (err error) {
	if !w.begin() {
		return errRunning
	}
	defer w.end()
	// A nil error from here on is an end that was asked for.
	defer func() {
		if err != nil {
			err = fmt.Errorf("witness: %w", err)
		}
	}()
	health, err := w.serveHealth(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, health.stop()) }()
	if len(w.cfg.BGP.Neighbors) > 0 {
		s, err := startSpeaker(ctx, w.cfg.BGP, w.cfg.Log)
		if err != nil {
			return err
		}
		w.setSpeaker(s)
		defer func() {
			w.setSpeaker(nil)
			err = errors.Join(err, s.stop())
		}()
	}
	return w.loop(ctx, health)
}

func (w *Witness) loop(ctx context.Context, health *healthServer) error {
	revive := time.NewTicker(reviveInterval)
	defer revive.Stop()
	var came <-chan struct{}
	if w.speaker != nil {
		came = w.speaker.came
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-health.failed:
			return err
		case <-revive.C:
			if w.speaker != nil {
				w.speaker.revive(ctx)
			}
		case <-came:
			w.speaker.repeat(ctx)
		case <-w.wake:
			if err := w.tell(); err != nil {
				return err
			}
		}
	}
}

// tell takes all that has changed by now to the neighbors in one go. What
// changes meanwhile waits for the next one, so that a flood of changes becomes
// a few large batches by itself, and a single change leaves at once.
func (w *Witness) tell() error {
	pl, version := w.plan()
	if w.speaker != nil {
		if err := w.speaker.tell(pl); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range pl.announce {
		if w.known[r.prefix] == withdrawn {
			w.routes.count(r.prefix, 1)
		}
		w.known[r.prefix] = r.preference
	}
	for _, r := range pl.withdraw {
		w.routes.count(r.prefix, -1)
		delete(w.known, r.prefix)
	}
	w.counts.announced += uint64(len(pl.announce))
	w.counts.withdrawn += uint64(len(pl.withdraw))
	w.told = version
	w.announceSettled()
	return nil
}

// plan returns what is left to tell, and the version that this makes.
func (w *Witness) plan() (plan, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var pl plan
	if w.speaker == nil {
		return pl, w.wanted
	}
	changed := w.table.take()
	if w.everything {
		w.everything = false
		changed = w.table.all()
		for p := range w.known {
			if w.table.role(p) == none {
				changed = append(changed, p)
			}
		}
	}
	ph := w.phase()
	for _, p := range changed {
		pl.add(p, w.prefer(p, ph), w.known[p])
	}
	pl.order()
	return pl, w.wanted
}

// prefer returns what to announce p with in this phase. The caller holds mu.
func (w *Witness) prefer(p netip.Prefix, ph phase) preference {
	r := w.table.role(p)
	if r == gateway && w.cfg.HideGateways {
		return withdrawn
	}
	return prefer(r, ph, w.cfg.BGP.AnnounceStandby)
}

func (w *Witness) phase() phase {
	switch {
	case !w.fit, w.drain == left:
		return silent
	case w.drain == leaving:
		return departing
	}
	return fit
}

// Fit says whether this member can take over any tunnel's traffic, and why (not):
// a short phrase that operators and probes get to see. A member is not fit
// before the first call.
func (w *Witness) Fit(fit bool, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	turned := w.fit != fit
	w.fit, w.reason = fit, reason
	if turned {
		w.cfg.Log.Info("fitness changed", "fit", fit, "reason", reason)
		w.changed(true)
	}
}

// Own says that this member owns the tunnel, and which networks are behind it,
// instead of what was said of that tunnel before. It returns which of the
// prefixes it refuses to announce, and why, the first time that it does so for
// this tunnel; the others are announced.
func (w *Witness) Own(tunnel string, prefixes []netip.Prefix) error {
	return w.hold(tunnel, owner, prefixes)
}

// StandBy says that this member is a standby of the tunnel, as Own does of an
// owner. Without BGP.AnnounceStandby that is as good as Disown.
func (w *Witness) StandBy(tunnel string, prefixes []netip.Prefix) error {
	return w.hold(tunnel, standby, prefixes)
}

// Disown says that this member has nothing to do with the tunnel any more. The
// one that moves to another owner is disowned here after it is owned there, so
// that routers always know a way.
func (w *Witness) Disown(tunnel string) {
	_ = w.hold(tunnel, none, nil) // there is nothing to refuse
}

func (w *Witness) hold(tunnel string, r role, prefixes []netip.Prefix) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	refused := w.table.hold(tunnel, r, prefixes)
	w.counts.refused += uint64(len(refused))
	if len(w.table.changed) > 0 {
		w.changed(false)
	}
	if err := errors.Join(refused...); err != nil {
		return fmt.Errorf("witness: announce the networks of %s: %w", tunnel, err)
	}
	return nil
}

// SetGateways replaces the addresses that all members share, or none of them
// when one is no unicast address.
func (w *Witness) SetGateways(gateways ...netip.Addr) error {
	if err := errors.Join(validateGateways(gateways)...); err != nil {
		return fmt.Errorf("witness: replace the gateways: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.table.setGateways(gateways)
	w.changed(true)
	return nil
}

// Drain moves the traffic elsewhere before a planned stop: it announces
// everything as the last resort, withdraws it after Config.DrainDelay, and
// returns then. The health endpoint says 503 from the beginning. Where nobody
// listens it does not wait. When ctx ends it withdraws at once and returns the
// cause. The member stays withdrawn, fit or not, until Resume.
func (w *Witness) Drain(ctx context.Context) error {
	w.mu.Lock()
	if w.drain == staying {
		w.drain = leaving
		w.changed(true)
	}
	heard := w.health.IsValid()
	speaker := w.speaker
	w.mu.Unlock()
	err := w.settle(ctx)
	if speaker != nil && err == nil {
		heard = speaker.established() || heard
	}
	if heard && err == nil {
		err = wait(ctx, w.cfg.DrainDelay)
	}
	w.mu.Lock()
	if w.drain == leaving { // not resumed meanwhile
		w.drain = left
		w.changed(true)
	}
	w.mu.Unlock()
	if err == nil {
		err = w.settle(ctx)
	}
	if err != nil {
		return fmt.Errorf("witness: drain: %w", err)
	}
	return nil
}

// Resume ends what Drain began: a member that is fit is announced again.
func (w *Witness) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain = staying
	w.changed(true)
}

// wait returns when d has passed, or with the cause of ctx.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// settle returns when all that has changed by now is told, or nobody is there
// to tell it, or with the cause of ctx.
func (w *Witness) settle(ctx context.Context) error {
	w.mu.Lock()
	version := w.wanted
	w.mu.Unlock()
	for {
		w.mu.Lock()
		done, settled := w.told >= version || !w.running, w.settled
		w.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// changed notes a change, of everything or of what the table noted. The caller
// holds mu.
func (w *Witness) changed(everything bool) {
	w.everything = w.everything || everything
	w.wanted++
	select {
	case w.wake <- struct{}{}:
	default: // awake already
	}
}

// announceSettled wakes those in settle. The caller holds mu.
func (w *Witness) announceSettled() {
	close(w.settled)
	w.settled = make(chan struct{})
}

// begin tells whether the caller may run, and makes everything news again.
func (w *Witness) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running {
		return false
	}
	w.running = true
	w.known, w.routes = make(map[netip.Prefix]preference), routeCount{}
	w.changed(true)
	return true
}

func (w *Witness) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = false
	w.announceSettled()
}

// setSpeaker is called by Run alone, which may therefore read the field without
// the lock.
func (w *Witness) setSpeaker(s *speaker) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.speaker = s
}

// addresses returns the gateways, sorted.
func (w *Witness) addresses() []netip.Addr {
	var out []netip.Addr
	for p := range maps.Keys(w.table.gateways) {
		out = append(out, p.Addr())
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}
