package offloadtest

import (
	"context"
	"errors"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// OverGRPC makes open's dataplanes answer through gRPC, as they do in a process
// of their own. The server keeps gRPC's default limit of 4 MiB a message, as
// plugins in other languages do.
func OverGRPC(open Open) Open {
	return func(ctx context.Context) (*Harness, error) {
		h, err := open(ctx)
		if err != nil {
			return nil, err
		}
		client, stop, err := Serve(h.Engine)
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		served, inner := *h, h
		served.Engine = client
		served.Close = func() error { return errors.Join(stop(), inner.close()) }
		return &served, nil
	}
}

// Serve serves e through gRPC within this process and returns the other end, and
// a func that ends both and waits for them.
func Serve(e offload.Engine) (client *pluginrpc.Client, stop func() error, err error) {
	listener := bufconn.Listen(1 << 20)
	server := pluginrpc.NewServer()
	pluginrpc.Register(server, e)
	served := make(chan error, 1)
	go func() {
		err := server.Serve(listener)
		if errors.Is(err, grpc.ErrServerStopped) {
			err = nil // it was to end before this goroutine began
		}
		served <- err
	}()
	conn, err := grpc.NewClient("passthrough:///offload",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}))
	if err != nil {
		server.Stop()
		return nil, nil, errors.Join(fmt.Errorf("offloadtest: connect: %w", err), <-served)
	}
	return pluginrpc.NewClient(conn), func() error {
		err := conn.Close()
		server.Stop()
		return errors.Join(err, <-served)
	}, nil
}
