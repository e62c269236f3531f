package pluginrpc

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/stats"
)

// EnvOrphanTime in the environment of a plugin process is for how long, as
// time.ParseDuration reads it, the process goes on without a daemon: it forwards
// with what it has until the next daemon connects, and ends when none does.
// Without it the process ends with the daemon that started it.
const EnvOrphanTime = "EVERGATE_PLUGIN_ORPHAN_TIME"

// orphanTime reads EnvOrphanTime; 0 stands for none.
func orphanTime() (time.Duration, error) {
	text, set := os.LookupEnv(EnvOrphanTime)
	if !set {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("pluginrpc: %s: %w", EnvOrphanTime, err)
	}
	if d <= 0 {
		return 0, fmt.Errorf("pluginrpc: %s: %v is no time to go on", EnvOrphanTime, d)
	}
	return d, nil
}

// lease ends when no daemon has been connected for a time. Connections count once
// their TLS handshake is done, so a stranger does not prolong it; that of a daemon
// that died ends with it, whatever became of the process that started us.
type lease struct {
	time time.Duration
	over chan struct{} // closed at the end

	mu        sync.Mutex
	connected int
	ended     bool
	timer     *time.Timer
}

var _ stats.Handler = (*lease)(nil)

// firstDaemon is the least time that the daemon has which started us, to make its
// certificate and connect: a busy machine can take longer for that than the operator
// wants a dataplane to go on alone.
const firstDaemon = time.Minute

// newLease begins without a daemon.
func newLease(d time.Duration) *lease {
	l := &lease{time: d, over: make(chan struct{})}
	l.timer = time.AfterFunc(max(d, firstDaemon), l.expire)
	return l
}

// expire ends the lease, unless a daemon has come at the last moment.
func (l *lease) expire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.connected == 0 && !l.ended {
		l.ended = true
		close(l.over)
	}
}

// stop lets go of the timer.
func (l *lease) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer.Stop()
}

// HandleConn implements stats.Handler.
func (l *lease) HandleConn(_ context.Context, s stats.ConnStats) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch s.(type) {
	case *stats.ConnBegin:
		l.connected++
		l.timer.Stop()
	case *stats.ConnEnd:
		if l.connected--; l.connected == 0 {
			l.timer.Reset(l.time)
		}
	}
}

// TagConn implements stats.Handler.
func (*lease) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements stats.Handler.
func (*lease) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (*lease) HandleRPC(context.Context, stats.RPCStats) {}
