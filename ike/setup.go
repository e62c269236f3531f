package ike

import (
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

// setup is what a tunnel knows until its first IKE SA is up.
type setup struct {
	started  time.Time
	deadline time.Time

	// The IKE_SA_INIT messages as they were on the wire, in their last form:
	// AUTH covers them.
	request, response []byte
	ni, nr            []byte

	// Of an initiator.
	child          string // what Initiate asked for
	want           *ipsec.Selectors
	group          ipsec.GroupID
	tried          []ipsec.GroupID
	ke             *suite.KE
	cookie         []byte
	tries          int
	offer          offer // of the first child
	initialContact bool

	// Of a responder.
	first *initRequest // until it is answered
	// withCookie is request as it came again with a cookie in front, nil when it
	// did not.
	withCookie []byte
	offered    []ipsec.Proposal
	proven     bool // a cookie showed that the peer receives what we send it
	// refused is set when the peer was refused: the answer is repeated until the
	// deadline, then the tunnel ends with this error.
	refused error
}

func (s *setup) wipe() {
	if s == nil {
		return
	}
	if s.ke != nil {
		s.ke.Wipe()
	}
	s.offer.wipe()
}

// onSetupTimeout gives a half-open IKE SA up.
func (t *Tunnel) onSetupTimeout() {
	if t.setup.refused != nil {
		t.finish(t.setup.refused)
		return
	}
	t.log().Warn("peer did not complete the negotiation", "state", t.state.String(), "remote", t.remote)
	t.fail(FailTimeout)
	t.finish(ErrTimeout)
}

// up ends the set-up.
func (t *Tunnel) up() {
	t.env.Stats.Established[t.side()]++
	t.env.Stats.SetupTime += t.now.Sub(t.setup.started)
	t.env.Stats.Tunnels++
	t.setup.wipe()
	t.setup = nil
	t.state = StateUp
	t.sa.keys.Proven()
	t.sa.schedule(t.env, t.now, t.conn.Lifetime)
	t.publish()
}
