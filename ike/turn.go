package ike

import (
	"context"
	"log/slog"
	"time"
)

// turn is what a tunnel needs while it takes a step, and until it is known that
// nothing of the step is Refused. In between, which is nearly always, it has none:
// a gateway has many tunnels, and few of them do anything at a time.
type turn struct {
	now     time.Time
	from    Datagram // the message that is being handled
	out     Ready
	last    Ready // of the step before, for Refused
	refusal *refusal
	logger  *slog.Logger // nil until it is needed
}

// begin starts a step. The one that follows a refusal knows what the last one was
// about.
func (t *Tunnel) begin(now time.Time, refused bool) {
	switch {
	case t.turn == nil && t.env.spare != nil:
		t.turn, t.env.spare = t.env.spare, nil
	case t.turn == nil:
		t.turn = &turn{}
	case refused:
		t.last = t.out
	default:
		*t.turn = turn{}
	}
	t.now, t.out = now, Ready{}
}

// Installed answers Ready.Install: the dataplane has taken all of it, so that
// Refused does not follow. Without it the tunnel finds out with its next step,
// and keeps what it would need until then.
func (t *Tunnel) Installed() {
	if t.turn == nil {
		return
	}
	*t.turn = turn{}
	t.env.spare, t.turn = t.turn, nil
}

// log tells which tunnel something is about.
func (t *Tunnel) log() *slog.Logger {
	if t.turn != nil && t.logger != nil {
		return t.logger
	}
	l := t.env.Log.With("tunnel", t.id.String(), "connection", t.conn.Name)
	if t.turn != nil {
		t.logger = l
	}
	return l
}

// info says what happens in the life of every tunnel, if anybody listens: to find
// the words for it is a noticeable part of a handshake.
func (t *Tunnel) info(what string, attrs ...any) {
	if t.env.Log.Enabled(context.Background(), slog.LevelInfo) {
		t.log().Info(what, attrs...) //nolint:sloglint // the callers' are constant
	}
}

// text is made when it is written.
type text func() string

// LogValue implements slog.LogValuer.
func (f text) LogValue() slog.Value { return slog.StringValue(f()) }
