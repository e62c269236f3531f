package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
)

// LinkMesh is the way to the other ends of links. Neither call waits.
type LinkMesh interface {
	// Export derives key material that both ends of the present session with a
	// member share, and names that session.
	Export(with ipsec.MemberID, label string, context []byte, n int) (key ipsec.Key, session uint64, err error)
	// Tell sends news in the present session, in order. What cannot go is lost.
	Tell(to ipsec.MemberID, n LinkNews)
}

// LinkOptions join members by links.
type LinkOptions struct {
	// Local is our own address, one of the dataplane's.
	Local netip.Addr
	Mesh  LinkMesh
	// First is where the SPIs begin: another number in each life.
	First uint32
}

// linkRunner is Links with its queues.
type linkRunner struct {
	*Links
	mesh   LinkMesh
	in     *queue[linkMessage]
	orders *queue[LinkOrder]
}

type linkMessage struct {
	in   LinkInput
	look func(*Links)
}

func newLinkRunner(member ipsec.MemberID, o LinkOptions, log *slog.Logger) *linkRunner {
	return &linkRunner{
		Links: NewLinks(member, o.Local, o.First, log), mesh: o.Mesh,
		in: newQueue[linkMessage](), orders: newQueue[LinkOrder](),
	}
}

// link gives an input to the links, where there are any.
func (e *Engine) link(in LinkInput) {
	if e.links != nil {
		e.links.in.push(linkMessage{in: in})
	}
}

// PeerUp begins a session with a member, in which keys for links can be derived.
func (e *Engine) PeerUp(s LinkSession) { e.link(LinkPeerUp{Session: s}) }

// PeerDown ends the session with a member.
func (e *Engine) PeerDown(m ipsec.MemberID) { e.link(LinkPeerDown{Member: m}) }

// ReceiveLinkNews takes what the other end of a link told in the present session.
func (e *Engine) ReceiveLinkNews(from ipsec.MemberID, n LinkNews) {
	e.link(LinkHeard{Member: from, News: n})
}

// Links describes the links to other members, none where this gateway has no
// group.
func (e *Engine) Links(ctx context.Context) ([]LinkStatus, LinkStats, error) {
	if e.links == nil {
		return nil, LinkStats{}, nil
	}
	var (
		links  []LinkStatus
		stats  LinkStats
		done   = make(chan struct{})
		caller look
	)
	defer caller.leave()
	see := func(l *Links) {
		caller.do(func() { links, stats = l.Status(), l.Stats() })
		close(done)
	}
	if !e.links.in.push(linkMessage{look: see}) {
		return nil, LinkStats{}, ErrStopped
	}
	select {
	case <-done:
		return links, stats, nil
	case <-ctx.Done():
		return nil, LinkStats{}, fmt.Errorf("engine: wait for the links: %w", ctx.Err())
	}
}

// ordered tells the links, and the operator, what a call has done to a member's
// tunnels.
func (e *Engine) ordered(c PlaneCall) {
	switch {
	case c.Arm != nil:
		m := ipsec.MemberID(*c.Arm)
		e.o.Log.Warn("member is dead or cut off: its tunnels go on here with their next packets", "member", m)
		e.link(LinkArmed{Member: m})
	case c.Promote != nil:
		m := ipsec.MemberID(*c.Promote)
		e.o.Log.Info("all tunnels of a member go on here", "member", m)
		e.link(LinkArmed{Member: m})
	case c.Demote != nil:
		m := ipsec.MemberID(*c.Demote)
		e.o.Log.Info("tunnels of a member do not go on here by themselves", "member", m)
		e.link(LinkDisarmed{Member: m})
	}
}

// runLinks is the life of the links.
func (e *Engine) runLinks(ctx context.Context) {
	r := e.links
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	defer r.in.close()
	for {
		wait := time.Hour
		if at := r.NextTimeout(); !at.IsZero() {
			wait = max(0, time.Until(at))
		}
		timer.Reset(wait)
		var batch []linkMessage
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			batch = []linkMessage{{in: LinkTimeout{}}}
		case <-r.in.ready:
			batch = r.in.take()
		}
		for _, m := range batch {
			if m.in != nil {
				e.carryOutLinks(r.Step(time.Now(), m.in))
			}
			if m.look != nil {
				m.look(r.Links)
			}
		}
	}
}

func (e *Engine) carryOutLinks(rd LinkReady) {
	for _, o := range rd.Orders {
		e.links.orders.push(o)
	}
	for _, t := range rd.Tell {
		e.links.mesh.Tell(t.To, t.News)
	}
}

// runLinkOrders carries out what the links want of the dataplane, in order, and
// answers.
func (e *Engine) runLinkOrders(ctx context.Context) {
	r := e.links
	defer r.orders.close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.orders.ready:
		}
		for _, o := range r.orders.take() {
			e.link(linkAnswer(ctx, e.o.Plane, r.mesh, o))
		}
	}
}

// linkAnswer carries out one order. SAs of links are of no group, so their epoch
// is 0.
func linkAnswer(ctx context.Context, plane offload.Engine, mesh LinkMesh, o LinkOrder) LinkInput {
	ctx, cancel := context.WithTimeout(ctx, planeDeadline)
	defer cancel()
	if o.Install == nil {
		// What was not deleted shows in the next inventory.
		counters, _ := plane.Delete(ctx, 0, o.Delete...)
		return LinkDeleted{Member: o.Member, Counters: counters}
	}
	done := LinkDone{Member: o.Member, ID: o.Install.ID}
	done.Err = installLink(ctx, plane, mesh, o)
	return done
}

// errNoKey: the pair belongs to a session that is over; the next makes another.
var errNoKey = errors.New("engine: the session of the link is over")

func installLink(ctx context.Context, plane offload.Engine, mesh LinkMesh, o LinkOrder) error {
	key, session, err := mesh.Export(o.Member, linkLabel, o.Context, linkKeyLen)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoKey, err)
	}
	if session != o.Session {
		return errNoKey
	}
	sa := *o.Install
	sa.Encryption = key
	placements, err := plane.Install(ctx, 0, offload.Active, sa)
	if err != nil {
		return fmt.Errorf("engine: install a link: %w", err)
	}
	if len(placements) != 1 {
		return fmt.Errorf("engine: dataplane answered %d placements for one sa", len(placements))
	}
	return placements[0].Err
}

// meetPlane asks a dataplane that has just begun whether it can hold links.
func (e *Engine) meetPlane(ctx context.Context) {
	if e.links == nil {
		return
	}
	info, err := e.o.Plane.Info(ctx)
	if err != nil {
		e.o.Log.Debug("dataplane was not asked about links", "error", err) // its Reset follows
		return
	}
	e.link(LinkPlane{Unable: unableToLink(info)})
}

func unableToLink(i offload.Info) error {
	switch {
	case !i.Links:
		return fmt.Errorf("engine: dataplane %s has no links between members", i.Name)
	case !i.Supports(linkAlgorithms):
		return fmt.Errorf("engine: dataplane %s has no AES-GCM with 256 bits and ESN", i.Name)
	default:
		return nil
	}
}
