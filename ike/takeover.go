package ike

import (
	"errors"
	"time"
)

// maxTakeovers is what fits into the epoch of an IV beside the boot number.
const maxTakeovers = 1<<12 - 1

var errTakeovers = errors.New("ike: no IV epoch is left: the peer must begin anew")

// takeOver makes a restored tunnel ours.
//
// Requests in flight go on where the last owner left them: the same octets, at
// the times that were set. The sealers move to a new epoch, because the last
// owner may have sealed more than the snapshot knows of (invariant I1). For the
// same reason nothing is sent on a pair that comes of such a request: it gets a
// successor at once.
func (t *Tunnel) takeOver(in Takeover) {
	t.standby = false
	t.takenAt, t.probeAt = t.now, later(t.now, in.Probe)
	// What the last owner asked the peer for may have had its answer.
	behind := in.Behind || t.sa.resync != nil || !t.resyncAt.IsZero()
	t.sa.resync, t.resyncAt, t.resynced = nil, time.Time{}, time.Time{}
	if t.env.Takeovers != nil {
		t.takeovers = t.env.Takeovers(t.id, t.takeovers)
	} else {
		t.takeovers++
	}
	if t.takeovers > maxTakeovers {
		t.log().Error("tunnel was taken over too often for its keys", "takeovers", t.takeovers)
		t.finish(errTakeovers)
		return
	}
	t.env.Stats.Takeovers++
	if t.state == StateUp {
		t.env.Stats.Tunnels++
	}
	for _, sa := range append([]*ikeSA{t.sa}, t.others...) {
		if sa.pending != nil {
			sa.pending.inherited = true
		}
		if sa.sealer == nil {
			continue
		}
		if err := sa.protect(t.env, t.ivStart()); err != nil {
			t.log().Error("ike sa could not be taken over", "error", err)
			t.finish(err)
			return
		}
	}
	if behind {
		t.resyncLater(t.probeAt)
	}
	t.log().Info("tunnel taken over", "remote", t.remote, "behind", behind)
	t.publish()
}
