package v1

import (
	"encoding/binary"
	"slices"
	"time"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/v1/wire"
)

// Dead peer detection, RFC 3706.

// probe is an R-U-THERE without an answer.
type probe struct {
	sequence uint32
	tries    int // beyond the first
	nextAt   time.Time
}

// probeDue is when a silent peer is asked, zero for never. What the last owner heard
// counts for nothing after a takeover: the peer may have died with it, and then it is
// to be flushed.
func (t *Tunnel) probeDue() time.Time {
	if t.state != ike.StateUp || !t.peer.dpd || t.conn.DPD.Mode == ike.DPDOff || !t.sa.alive() {
		return time.Time{}
	}
	if t.probe != nil {
		return t.probe.nextAt
	}
	if !t.probeAt.IsZero() {
		return t.probeAt
	}
	heard := later(t.lastIn, t.espIn)
	if t.conn.DPD.Mode == ike.DPDOnDemand && !t.espOut.After(heard) {
		return time.Time{}
	}
	return heard.Add(t.probeInterval())
}

// onActivity notes when ESP passed. What came since a takeover answers its probe.
func (t *Tunnel) onActivity(in ike.Activity) {
	t.espIn, t.espOut = later(t.espIn, in.In), later(t.espOut, in.Out)
	if in.In.After(t.takenAt) {
		t.probeAt = time.Time{}
	}
}

func (t *Tunnel) probeInterval() time.Duration {
	return orDefault(t.conn.DPD.Interval, 20*time.Second)
}

// suspect asks at once, because an exchange had no answer.
func (t *Tunnel) suspect() {
	if t.probe == nil && !t.probeDue().IsZero() {
		t.ask()
	}
}

// ask sends an R-U-THERE, or finds the peer dead. A repeated one has the same
// sequence number (RFC 3706 section 6.2).
func (t *Tunnel) ask() {
	switch p := t.probe; {
	case p == nil:
		if t.probes == 0 {
			t.probes = uint32(random64(t.env)) & (1<<31 - 1)
		}
		t.probes++
		t.probe = &probe{sequence: t.probes}
	case p.tries >= orDefault(t.conn.DPD.Retries, 3):
		if old := t.elsewhere(); old != nil {
			t.goBack(old)
			return
		}
		t.env.Stats.DeadPeers++
		t.log.Warn("peer is dead", "unanswered", p.tries+1, "remote", t.remote)
		t.finish(ike.ErrDeadPeer)
		return
	default:
		p.tries++
	}
	t.env.Stats.Probes++
	t.probeAt = time.Time{}
	t.probe.nextAt = t.now.Add(t.probeInterval())
	t.inform(t.sa, t.there(wire.RUThere, t.sa, t.probe.sequence))
	t.publish()
}

func (t *Tunnel) there(kind wire.NotifyType, sa *isakmpSA, sequence uint32) *wire.Notify {
	return &wire.Notify{
		Protocol: wire.ProtocolISAKMP, SPI: wire.Cookies(sa.cookieI, sa.cookieR), Kind: kind,
		Data: binary.BigEndian.AppendUint32(nil, sequence),
	}
}

// onProbe answers the peer's R-U-THERE, which came in the message id.
func (t *Tunnel) onProbe(sa *isakmpSA, id uint32, n *wire.Notify) {
	if len(n.Data) != 4 {
		t.drop(ike.DropMalformed)
		return
	}
	sequence := binary.BigEndian.Uint32(n.Data)
	if sa.askedAnew(sequence, id) {
		t.heard(sa)
		t.publish()
	}
	t.inform(sa, t.there(wire.RUThereAck, sa, sequence))
}

// askedAnew tells whether an R-U-THERE is news, and no copy of one before: a number that
// is higher than all before is, and so is the last one in another message. Then the
// peer has had no answer, perhaps because it has moved since.
func (sa *isakmpSA) askedAnew(sequence, id uint32) bool {
	switch {
	case sa.asked == nil || sequence > *sa.asked:
		sa.asked, sa.askedIn = &sequence, nil
	case sequence < *sa.asked || len(sa.askedIn) == 0 || len(sa.askedIn) >= maxAsked || slices.Contains(sa.askedIn, id):
		return false
	}
	sa.askedIn = append(sa.askedIn, id)
	return true
}

// onProbeAnswer ends a probe.
func (t *Tunnel) onProbeAnswer(sa *isakmpSA, n *wire.Notify) {
	if t.probe == nil || len(n.Data) != 4 || binary.BigEndian.Uint32(n.Data) != t.probe.sequence {
		t.drop(ike.DropUnexpected)
		return
	}
	t.probe = nil
	t.heard(sa)
	t.publish()
}
