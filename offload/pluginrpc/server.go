package pluginrpc

import (
	"context"
	"math"
	"slices"

	"google.golang.org/grpc"

	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// NewServer makes a server for Register, as Serve has it.
func NewServer(o ...grpc.ServerOption) *grpc.Server {
	// The only client is the daemon, which splits its batches; a limit would
	// protect nobody.
	return grpc.NewServer(append(o, grpc.MaxRecvMsgSize(math.MaxInt32), grpc.ForceServerCodecV2(codec{}))...)
}

// Register serves e on s.
func Register(s grpc.ServiceRegistrar, e offload.Engine) {
	service := offloadv1.OffloadService_ServiceDesc
	service.Methods = slices.Clone(service.Methods)
	for i := range service.Methods {
		if m := &service.Methods[i]; m.MethodName == "Install" {
			m.Handler = handleInstall
		}
	}
	s.RegisterService(&service, &server{engine: e})
}

// server is the plugin's side: messages in, calls of the engine, messages out.
type server struct {
	offloadv1.UnimplementedOffloadServiceServer
	engine offload.Engine
}

func (s *server) Configure(ctx context.Context, m *offloadv1.ConfigureRequest) (*offloadv1.ConfigureResponse, error) {
	var d decoder
	c := d.config(m)
	if d.err != nil {
		return nil, encodeError(d.err)
	}
	info, err := s.engine.Configure(ctx, c)
	if err != nil {
		return nil, encodeError(err)
	}
	return &offloadv1.ConfigureResponse{Info: withVersion(info)}, nil
}

func (s *server) Info(ctx context.Context, _ *offloadv1.InfoRequest) (*offloadv1.InfoResponse, error) {
	info, err := s.engine.Info(ctx)
	if err != nil {
		return nil, encodeError(err)
	}
	return withVersion(info), nil
}

// withVersion adds what the engine need not know.
func withVersion(info offload.Info) *offloadv1.InfoResponse {
	info.ContractMinor = ContractMinor
	return encodeInfo(info)
}

func (s *server) Update(ctx context.Context, m *offloadv1.UpdateRequest) (*offloadv1.UpdateResponse, error) {
	var d decoder
	changes := decodeEach(m.GetChanges(), d.change)
	if d.err != nil {
		return nil, encodeError(d.err)
	}
	placed, err := s.engine.Update(ctx, offload.Epoch(m.GetEpoch()), changes...)
	if err != nil {
		return nil, encodeError(err)
	}
	return &offloadv1.UpdateResponse{Placements: encodeEach(placed, encodePlacement)}, nil
}

func (s *server) Delete(ctx context.Context, m *offloadv1.DeleteRequest) (*offloadv1.DeleteResponse, error) {
	var d decoder
	ids := decodeEach(m.GetIds(), d.said)
	if d.err != nil {
		return nil, encodeError(d.err)
	}
	counters, err := s.engine.Delete(ctx, offload.Epoch(m.GetEpoch()), ids...)
	if err != nil {
		return nil, encodeError(err)
	}
	return &offloadv1.DeleteResponse{Counters: encodeEach(counters, encodeCounters)}, nil
}

func (s *server) Arm(ctx context.Context, m *offloadv1.ArmRequest) (*offloadv1.ArmResponse, error) {
	err := s.engine.Arm(ctx, offload.Group(m.GetGroup()), offload.Epoch(m.GetEpoch()))
	return &offloadv1.ArmResponse{}, encodeError(err)
}

func (s *server) Promote(ctx context.Context, m *offloadv1.PromoteRequest) (*offloadv1.PromoteResponse, error) {
	err := s.engine.Promote(ctx, offload.Group(m.GetGroup()), offload.Epoch(m.GetEpoch()))
	return &offloadv1.PromoteResponse{}, encodeError(err)
}

func (s *server) Demote(ctx context.Context, m *offloadv1.DemoteRequest) (*offloadv1.DemoteResponse, error) {
	err := s.engine.Demote(ctx, offload.Group(m.GetGroup()), offload.Epoch(m.GetEpoch()))
	return &offloadv1.DemoteResponse{}, encodeError(err)
}

func (s *server) Stats(ctx context.Context, _ *offloadv1.StatsRequest) (*offloadv1.StatsResponse, error) {
	stats, err := s.engine.Stats(ctx)
	if err != nil {
		return nil, encodeError(err)
	}
	return &offloadv1.StatsResponse{Stats: encodeEach(stats, encodeStat)}, nil
}

func (s *server) Events(_ *offloadv1.EventsRequest, stream grpc.ServerStreamingServer[offloadv1.EventsResponse]) error {
	for ev, err := range s.engine.Events(stream.Context()) {
		if err != nil {
			return encodeError(err)
		}
		m := encodeEvent(ev)
		if m == nil {
			continue // package offload has no such event: it has a closed set
		}
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}
