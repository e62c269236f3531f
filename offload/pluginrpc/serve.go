package pluginrpc

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/evergate/evergate/offload"
)

// Serve is the main of a plugin: it serves engine to the daemon that started
// this process, and returns the process's exit status when it is told to stop
// over gRPC, by SIGTERM, or because the daemon is gone, for longer than
// EnvOrphanTime if that is set. An engine that is an io.Closer is closed then. log gets what went wrong; NewLogger makes one that
// the daemon understands.
//
// SIGINT is ignored: a terminal sends it to the daemon's whole process group,
// and it is the daemon that stops its plugins. SIGPIPE is ignored too: a plugin
// that outlives the daemon has nobody who reads its log, and must not die of it.
func Serve(engine offload.Engine, log *slog.Logger) int {
	if os.Getenv(Handshake().MagicCookieKey) != Handshake().MagicCookieValue {
		fmt.Fprintln(os.Stderr, "This is a dataplane plugin of Evergate; evergated starts it. To check it: offload-probe run PATH")
		return 2
	}
	signal.Ignore(unix.SIGINT, unix.SIGPIPE)
	stop, unregister := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer unregister()
	options, orphaned, forget, err := watchDaemon()
	if err != nil {
		log.Error("daemon cannot be watched", "error", err)
		return 1
	}
	defer forget()

	servers := make(chan *grpc.Server, 1)
	served := make(chan struct{})
	go func() {
		defer close(served)
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig: Handshake(),
			Plugins:         Plugins(engine),
			GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
				s := NewServer(append(opts, options...)...)
				servers <- s
				return s
			},
			Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: os.Stderr, JSONFormat: true}),
		})
	}()
	select {
	case <-served:
	case <-stop.Done():
		endServing(servers, served)
	case <-orphaned:
		log.Warn("daemon is gone, stopping")
		endServing(servers, served)
	}
	return closeEngine(engine, log)
}

// watchDaemon returns a channel that is closed when there is no daemon any more, a
// func that ends the watch and waits for it, and what the server needs for it.
func watchDaemon() (options []grpc.ServerOption, gone <-chan struct{}, forget func(), err error) {
	alone, err := orphanTime()
	if err != nil {
		return nil, nil, nil, err
	}
	if alone > 0 {
		l := newLease(alone)
		return []grpc.ServerOption{grpc.StatsHandler(l)}, l.over, l.stop, nil
	}
	gone, forget, err = watchParent()
	return nil, gone, forget, err
}

// endServing makes plugin.Serve return, which removes its socket from the file
// system.
func endServing(servers <-chan *grpc.Server, served <-chan struct{}) {
	select {
	case s := <-servers:
		s.Stop()
		<-served
	case <-served:
	}
}

func closeEngine(engine offload.Engine, log *slog.Logger) int {
	c, ok := engine.(io.Closer)
	if !ok {
		return 0
	}
	if err := c.Close(); err != nil {
		log.Error("dataplane did not close cleanly", "error", err)
		return 1
	}
	return 0
}
