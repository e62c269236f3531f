package pluginrpc_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/offloadtest"
	"github.com/evergate/evergate/offload/pluginrpc"
)

// older is an end of a connection that was built against an earlier minor
// version: it knows the calls and fields of the contract as it was then, and
// passes over all others.
type older struct {
	service protoreflect.ServiceDescriptor
	backend grpc.ClientConnInterface
}

// frozen reads a version of the contract as it was published.
func frozen(t *testing.T, minor int) protoreflect.ServiceDescriptor {
	t.Helper()
	image, err := os.ReadFile(filepath.Join("testdata", "contract", fmt.Sprintf("1.%d.binpb", minor)))
	if err != nil {
		t.Fatalf("The contract 1.%d is not on record: %v.", minor, err)
	}
	// buf's image is a FileDescriptorSet with more in it.
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(image, &set); err != nil {
		t.Fatalf("The record of the contract 1.%d cannot be read: %v.", minor, err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatalf("The contract 1.%d makes no sense: %v.", minor, err)
	}
	d, err := files.FindDescriptorByName("offload.v1.OffloadService")
	if err != nil {
		t.Fatalf("The contract 1.%d has no service: %v.", minor, err)
	}
	service, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		t.Fatalf("The contract 1.%d has a %T as service.", minor, d)
	}
	return service
}

// handle passes one call on, through the eyes of the older version.
func (o older) handle(_ any, stream grpc.ServerStream) error {
	full, _ := grpc.MethodFromServerStream(stream)
	name := full[strings.LastIndex(full, "/")+1:]
	method := o.service.Methods().ByName(protoreflect.Name(name))
	if method == nil {
		return status.Errorf(codes.Unimplemented, "unknown method %s", name) // as gRPC says it
	}
	request, err := received(stream, method.Input())
	if err != nil {
		return err
	}
	onward, err := o.backend.NewStream(stream.Context(), &grpc.StreamDesc{ServerStreams: true}, full)
	if err != nil {
		return err
	}
	if err := errors.Join(onward.SendMsg(request), onward.CloseSend()); err != nil {
		return err
	}
	for {
		answer, err := received(onward, method.Output())
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := stream.SendMsg(answer); err != nil {
			return err
		}
	}
}

// received reads a message and forgets the fields that d does not have.
func received(from interface{ RecvMsg(any) error }, d protoreflect.MessageDescriptor) (proto.Message, error) {
	var all emptypb.Empty // knows no field, and so keeps each as it came
	if err := from.RecvMsg(&all); err != nil {
		return nil, err
	}
	known := dynamicpb.NewMessage(d)
	return known, proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(all.ProtoReflect().GetUnknown(), known)
}

// listen serves what register adds, and connects to it.
func listen(t *testing.T, register func(*grpc.Server), opts ...grpc.ServerOption) (*grpc.ClientConn, func()) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(opts...)
	register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := grpc.NewClient("passthrough:///older", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	if err != nil {
		t.Fatalf("The server cannot be reached: %v.", err)
	}
	return conn, func() {
		_ = conn.Close()
		server.Stop()
		<-served
	}
}

// played is the traffic of a dataplane in memory.
type played struct{ *mem.Engine }

func (p played) Send(_ context.Context, sa ipsec.SA, n int) ([]offloadtest.Sent, error) {
	var sent []offloadtest.Sent
	for range n {
		if packet, err := p.Outbound(sa.ID); err == nil {
			sent = append(sent, offloadtest.Sent{Seq: packet.Seq, IV: binary.BigEndian.AppendUint64(nil, packet.IV)})
		}
	}
	return sent, nil
}

func (p played) Deliver(_ context.Context, sa ipsec.SA, seqs ...uint64) (int, error) {
	n := 0
	for _, seq := range seqs {
		if p.Inbound(sa.ID, seq) == nil {
			n++
		}
	}
	return n, nil
}

// TestAnOlderMinorVersionStillWorks puts each earlier version of the contract
// between a daemon and a dataplane of today. What it forgets on the way is what a
// plugin built then does not know, and as well what a daemon built then does not
// know of a plugin of today. Every clause must hold but those for what was added
// later.
func TestAnOlderMinorVersionStillWorks(t *testing.T) { // B8
	added := map[int][]string{ // the clauses that a dataplane cannot keep without
		1: {"configure.first", "stats.names", "stats.counts"},
		2: {"install.port"},
		3: nil,
		4: nil,
	}
	if _, ok := added[pluginrpc.ContractMinor]; !ok {
		t.Errorf("The test does not know what 1.%d brought.", pluginrpc.ContractMinor)
	}
	for minor := range pluginrpc.ContractMinor {
		t.Run(fmt.Sprintf("1.%d", minor), func(t *testing.T) {
			service := frozen(t, minor)
			var later []string
			for m := minor + 1; m <= pluginrpc.ContractMinor; m++ {
				later = append(later, added[m]...)
			}
			boots, capacity := 0, 500
			if minor == 0 {
				capacity = pluginrpc.MaxBatch + 1 // so that one of them has batches of two messages
			}
			report, err := offloadtest.Check(t.Context(), func(context.Context) (*offloadtest.Harness, error) {
				boots++
				plane := mem.New(mem.Options{Name: fmt.Sprintf("plane-%d", boots), Capacity: capacity})
				today, endToday := listen(t, func(s *grpc.Server) { pluginrpc.Register(s, plane) })
				conn, end := listen(t, func(*grpc.Server) {}, grpc.UnknownServiceHandler(older{service, today}.handle))
				return &offloadtest.Harness{
					Engine: pluginrpc.NewClient(conn), Traffic: played{plane},
					Close: func() error { end(); endToday(); return plane.Close() },
				}, nil
			}, offloadtest.Clauses(), nil)
			if err != nil {
				t.Fatalf("The dataplane cannot be checked: %v.", err)
			}
			told := uint32(pluginrpc.ContractMinor)
			if minor < 3 {
				told = 0 // minors are told since then
			}
			if report.Info.ContractMinor != told {
				t.Errorf("The minor version should read as %d, got %d.", told, report.Info.ContractMinor)
			}
			for _, r := range report.Results {
				switch failed := r.Outcome == offloadtest.Failed; {
				case failed && !slices.Contains(later, r.ID):
					t.Errorf("%s is not about what 1.%d lacks, and fails: %s", r.ID, minor, strings.Join(r.Notes, "; "))
				case !failed && slices.Contains(later, r.ID):
					t.Errorf("%s is about what 1.%d lacks, and holds: the version in between forgot nothing.", r.ID, minor)
				}
			}
		})
	}
}
