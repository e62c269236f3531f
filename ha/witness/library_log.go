package witness

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// libraryLog is where the speaker's library logs to. What it calls information
// is detail to an operator of a gateway, and goes on as that. Its log is also
// the only place where it says why a session does not come up, so that is kept.
type libraryLog struct {
	next     slog.Handler
	neighbor netip.Addr // whom the logger was bound to, if anyone
	note     func(neighbor netip.Addr, trouble string)
}

// Enabled implements slog.Handler: all levels may hold trouble.
func (h libraryLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (h libraryLog) Handle(ctx context.Context, r slog.Record) error {
	if h.neighbor.IsValid() {
		if t := trouble(r); t != "" {
			h.note(h.neighbor, t)
		}
	}
	if r.Level == slog.LevelInfo {
		r.Level = slog.LevelDebug
	}
	if !h.next.Enabled(ctx, r.Level) {
		return nil
	}
	return h.next.Handle(ctx, r)
}

// WithAttrs implements slog.Handler. The library binds a session's logger to
// its neighbor as Key.
func (h libraryLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		if a.Key != "Key" {
			continue
		}
		if addr, err := netip.ParseAddr(a.Value.String()); err == nil {
			h.neighbor = addr
		}
	}
	h.next = h.next.WithAttrs(attrs)
	return h
}

// WithGroup implements slog.Handler.
func (h libraryLog) WithGroup(name string) slog.Handler {
	h.next = h.next.WithGroup(name)
	return h
}

// trouble returns what a record says went wrong with a session, if it does.
func trouble(r slog.Record) string {
	attrs := make(map[string]slog.Value)
	r.Attrs(func(a slog.Attr) bool {
		attrs[a.Key] = a.Value.Resolve()
		return true
	})
	if r.Message == "state changed" {
		return refusal(attrs)
	}
	if code, ok := attrs["Code"]; ok {
		subcode := attrs["Subcode"]
		return fmt.Sprintf("%s: %v", r.Message, bgp.NewNotificationErrorCode(number(code), number(subcode)))
	}
	for _, key := range []string{"Error", "reason"} {
		if cause, ok := attrs[key]; ok {
			return fmt.Sprintf("%s: %v", r.Message, cause)
		}
	}
	return ""
}

// refusal returns why a session did not become established. A loss of an
// established one is told by the session's own event.
func refusal(attrs map[string]slog.Value) string {
	before, reason := attrs["old"].String(), attrs["reason"].String()
	if attrs["new"].String() != bgp.BGP_FSM_IDLE.String() || before == bgp.BGP_FSM_ESTABLISHED.String() {
		return ""
	}
	if reason == "invalid-msg" {
		// Most often a NOTIFICATION, whose code the library keeps to itself.
		return "the neighbor refused the session: its log says why"
	}
	return "session not established: " + reason
}

func number(v slog.Value) uint8 {
	if v.Kind() != slog.KindInt64 {
		return 0
	}
	return uint8(v.Int64())
}
