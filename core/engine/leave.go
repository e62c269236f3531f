package engine

import (
	"context"
	"slices"
	"time"

	"github.com/evergate/evergate/ha"
)

const (
	// handoverTime bounds the wait for successors. What is left when it is over goes
	// to whom its packets come to.
	handoverTime = 2 * time.Second
	// goodbyeTime bounds the wait for other members after our goodbye. One that holds
	// none of our tunnels never arms.
	goodbyeTime = 500 * time.Millisecond
	// leavePoll is how often they are looked at meanwhile.
	leavePoll = 2 * time.Millisecond
)

// leave gives up all tunnels to the other members, and tells whether one of them
// has them. We send what they give us until they do so themselves: first each
// tunnel goes to a successor, while all know its owner; then those that have
// found none are left, with our goodbye, to the members that their packets come
// to. Without links nothing is given to us, and there is nothing to wait for.
func (e *Engine) leave(ctx context.Context) (kept bool, err error) {
	kept, err = e.Accompanied(ctx)
	if err != nil || !kept {
		return false, err
	}
	if e.linked(ctx) {
		if err := e.say(ctx, ha.Leave{Step: ha.Handover}); err != nil {
			return false, err
		}
		e.await(ctx, handoverTime, "successors had taken all tunnels", e.handedOver)
		if err := e.say(ctx, ha.Leave{Step: ha.Goodbye}); err != nil {
			return false, err
		}
		e.await(ctx, goodbyeTime, "all members had taken over", e.followed)
	}
	e.reportLeft(ctx)
	return true, e.say(ctx, ha.Leave{})
}

// reportLeft says to whom operators should look for our tunnels.
func (e *Engine) reportLeft(ctx context.Context) {
	var handed uint64
	left := 0
	if err := e.lookReplica(ctx, func(r *Replica) { handed, left = r.Stats().HA.Handed, r.Owned() }); err != nil {
		return
	}
	e.o.Log.Info("tunnels were given to the group", "to_successors", handed, "to_whom_their_packets_come", left)
}

// Accompanied tells whether another member has our tunnels.
func (e *Engine) Accompanied(ctx context.Context) (kept bool, err error) {
	err = e.lookReplica(ctx, func(r *Replica) {
		kept = slices.ContainsFunc(r.Members(), func(p ha.PeerStatus) bool { return p.Alive && p.Synced })
	})
	return kept, err
}

// linked tells whether there is a link to any member.
func (e *Engine) linked(ctx context.Context) bool {
	links, _, err := e.Links(ctx)
	return err == nil && slices.ContainsFunc(links, func(l LinkStatus) bool { return l.State == linkStates[linkUp] })
}

// handedOver tells whether no successor is waited for.
func (e *Engine) handedOver(ctx context.Context) bool {
	handing := 0
	err := e.lookReplica(ctx, func(r *Replica) { handing = r.Handing() })
	return err != nil || handing == 0
}

// followed tells whether all members that we have a link to send what is for our
// tunnels themselves, or none is ours.
func (e *Engine) followed(ctx context.Context) bool {
	owned := 0
	if err := e.lookReplica(ctx, func(r *Replica) { owned = r.Owned() }); err != nil || owned == 0 {
		return true
	}
	links, _, err := e.Links(ctx)
	waits := func(l LinkStatus) bool { return l.State != linkStates[linkDown] && !l.Armed }
	return err != nil || !slices.ContainsFunc(links, waits)
}

// await waits for something, but not for longer than that.
func (e *Engine) await(ctx context.Context, limit time.Duration, what string, done func(context.Context) bool) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(leavePoll)
	defer tick.Stop()
	for !done(ctx) {
		select {
		case <-ctx.Done():
			e.o.Log.Info("left before others were ready", "until", what, "waited", limit)
			return
		case <-tick.C:
		}
	}
}
