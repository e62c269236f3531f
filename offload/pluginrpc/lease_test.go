package pluginrpc

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/stats"
)

// isOver tells whether a lease has ended by now.
func (l *lease) isOver() bool {
	select {
	case <-l.over:
		return true
	default:
		return false
	}
}

func TestALeaseLastsWhileADaemonIsConnected(t *testing.T) { // B6
	synctest.Test(t, func(t *testing.T) {
		l, ctx := newLease(time.Minute), t.Context()
		defer l.stop()
		after := func(d time.Duration) { <-time.After(d); synctest.Wait() }

		after(59 * time.Second)
		l.HandleConn(ctx, &stats.ConnBegin{})
		after(time.Hour)
		l.HandleConn(ctx, &stats.ConnBegin{}) // the next daemon, before the first has let go
		l.HandleConn(ctx, &stats.ConnEnd{})
		after(time.Hour)
		l.HandleConn(ctx, &stats.ConnEnd{})
		after(59 * time.Second)
		if l.isOver() {
			t.Fatal("A lease of a minute is over, with a daemon until 59 seconds ago.")
		}
		after(time.Second)
		if !l.isOver() {
			t.Fatal("A lease of a minute should be over a minute after its last daemon.")
		}
		l.HandleConn(ctx, &stats.ConnBegin{})
		l.HandleConn(ctx, &stats.ConnEnd{})
		after(time.Hour) // who comes too late changes nothing
	})
}
