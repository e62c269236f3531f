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

// TestTheFirstDaemonMayTakeItsTime: what goes on alone for a second only must not end
// before a slow machine has connected to it.
func TestTheFirstDaemonMayTakeItsTime(t *testing.T) { // B6
	synctest.Test(t, func(t *testing.T) {
		l, ctx := newLease(time.Second), t.Context()
		defer l.stop()
		after := func(d time.Duration) { <-time.After(d); synctest.Wait() }

		after(firstDaemon - time.Second)
		if l.isOver() {
			t.Fatal("The lease is over before the first daemon could connect.")
		}
		l.HandleConn(ctx, &stats.ConnBegin{})
		l.HandleConn(ctx, &stats.ConnEnd{})
		after(time.Second)
		if !l.isOver() {
			t.Fatal("A lease of a second should be over a second after its first daemon.")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLease(time.Second)
		defer l.stop()
		<-time.After(firstDaemon)
		synctest.Wait()
		if !l.isOver() {
			t.Fatal("The first daemon has not come, and the lease should be over.")
		}
	})
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
