package failover

import (
	"encoding/binary"
	"time"

	"github.com/evergate/evergate/bench/rig"
	"github.com/evergate/evergate/core/netlab"
)

// setting is how sure a member must be before it lets a client in.
type setting struct {
	name string
	rig  rig.Settings
}

func settings(o Options) []setting {
	return []setting{
		{"fgsp-sync disabled", rig.Settings{Daemon: o.Daemon, Plugin: o.Plugin}},
		{"one standby has the SAs", rig.Settings{Daemon: o.Daemon, Plugin: o.Plugin, Sync: true, AckTimeout: ackTimeout, Lost: missed}},
		{"all members have the SAs", rig.Settings{Daemon: o.Daemon, Plugin: o.Plugin, Sync: true, MinAcks: members - 1, AckTimeout: ackTimeout, Lost: missed}},
	}
}

// ackTimeout is longer than any acknowledgement takes: what is measured is never
// the wait for one that does not come.
const ackTimeout = 2 * time.Second

// missed is how many heartbeats in a row may be lost: nobody dies here, and one that a
// busy machine held up would be one acknowledgement less to wait for.
const missed = 60

// warmUp are handshakes that are not counted.
const warmUp = 20

// handshakes lets clients in one by one.
func (r *Result) handshakes(tb netlab.TB, o Options, s setting) error {
	ctx := tb.Context()
	site := rig.NewSite(netlab.New(tb), members)
	group, err := startGroup(ctx, site, s.rig)
	if err != nil {
		return err
	}
	site.Lead(0)
	clients := site.Clients()
	if _, err := clients.Dial(ctx, warmUp, 1, 1); err != nil {
		return err
	}
	tap, err := rig.NewTap(site.Members[0].Port2)
	if err != nil {
		return err
	}
	before := group[0].Stat("ha.unprotected")
	tunnels, err := clients.Dial(ctx, o.Handshakes, 1, 1)
	if err != nil {
		tap.Close()
		return err
	}
	h := Handshake{Setting: s.name, Unprotected: group[0].Stat("ha.unprotected") - before}
	if err := tap.Close(); err != nil {
		return err
	}
	var whole []time.Duration
	for _, t := range tunnels {
		whole = append(whole, t.Took)
	}
	h.Auth, h.Whole = rig.SpreadOf(auths(tap.Seen())), rig.SpreadOf(whole)
	r.Handshakes = append(r.Handshakes, h)
	return nil
}

// auths measures the IKE_AUTH exchanges that passed a gateway's interface.
func auths(seen []rig.Seen) (took []time.Duration) {
	// RFC 7296 section 3.1: SPIs, next payload, version, exchange type, flags.
	const udp, headerLen, ikeAuth, responseFlag = 17, 28, 35, 0x20
	type spis [2]uint64
	began := make(map[spis]time.Time)
	for _, s := range seen {
		b := s.Payload()
		if s.Proto() != udp || len(b) < 8+headerLen {
			continue
		}
		b = b[8:]
		id := spis{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
		if b[18] != ikeAuth {
			continue
		}
		if b[19]&responseFlag == 0 {
			note(began, id, s.At)
		} else if at, ok := began[id]; ok {
			took = append(took, s.At.Sub(at))
			delete(began, id)
		}
	}
	return took
}
