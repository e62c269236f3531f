package ike

import (
	"context"
	"log/slog"
	"time"
)

// complaints limit what the log says of messages that are refused: strangers send
// them. Of each reason complaintBurst are told at once, and then one every
// complaintEvery, with how many were passed over in silence; Stats counts all.
type complaints [dropReasons]struct {
	bucket bucket
	untold uint64
}

const (
	complaintBurst = 10
	complaintEvery = 10 * time.Second
)

// due tells whether the log is to hear of another message that was refused for
// the reason r, and how many it has not heard of.
func (c *complaints) due(now time.Time, r Drop) (untold uint64, ok bool) {
	e := &c[r]
	if e.bucket.at.IsZero() {
		e.bucket.tokens = complaintBurst
	}
	if !e.bucket.take(now, 1/complaintEvery.Seconds(), complaintBurst) {
		e.untold++
		return 0, false
	}
	untold, e.untold = e.untold, 0
	return untold, true
}

// complain tells the operator why dg was refused, and what to look at. more are
// further attributes.
func (c *complaints) complain(now time.Time, log *slog.Logger, r Drop, dg Datagram, more ...any) {
	text, check := r.complaint()
	if text == "" {
		return
	}
	untold, ok := c.due(now, r)
	if !ok {
		return
	}
	level := slog.LevelWarn
	if r == DropInvalidKE {
		level = slog.LevelDebug // the peer asks again, and gets what it wants
	}
	attrs := append([]any{"local", dg.Local, "remote", dg.Remote}, more...)
	if untold > 0 {
		attrs = append(attrs, "not_logged", untold)
	}
	log.Log(context.Background(), level, text, append(attrs, "check", check)...) //nolint:sloglint // one of complaint's
}

// complaint is what the log says of a reason, empty for one that is part of every
// day: a repeated message, one for a tunnel that stands by, or a synchronization of
// before.
func (d Drop) complaint() (text, check string) {
	switch d {
	case DropMalformed:
		return "message was not understood", "what sends it: it is not IKE, or damaged on its way"
	case DropVersion:
		return "peer speaks another version of ike", "ike-version here and at the peer"
	case DropUnknownSPI:
		return "message for an ike sa that is not here", "nothing after a restart: the peer will dial again"
	case DropForeignSPI:
		return "message for an ike sa of another member", "whether this gateway should be a member of a group"
	case DropReflected:
		return "our own message came back", "the network between us and the peer"
	case DropUnprotected:
		return "message of a negotiation was not encrypted", "the peer's log: it may have refused"
	case DropIntegrity:
		return "message of a negotiation was not authentic", "the peer's implementation, and who else can send in its name"
	case DropFragment:
		return "fragments of a message do not fit together", "the peer's implementation"
	case DropUnexpected:
		return "message made no sense in the negotiation", "the peer's log"
	case DropHalfOpenLimit:
		return "too many negotiations at a time", "whether somebody floods this gateway"
	case DropSourceLimit:
		return "too many negotiations with one address", "whether somebody floods this gateway, or many clients share the address"
	case DropSourceRate:
		return "address begins negotiations too often", "whether somebody floods this gateway, or many clients share the address"
	case DropCookie:
		return "many negotiations at a time: peers are asked for cookies", "whether somebody floods this gateway"
	case DropNoConnection:
		return "no connection for these addresses", "local-gw and remote-gw"
	case DropNoProposal:
		return "no proposal chosen", "proposal and dhgrp"
	case DropInvalidKE:
		return "peer was asked for another key exchange method", "the order of dhgrp at the peer, to save a round trip"
	default:
		return "", ""
	}
}
