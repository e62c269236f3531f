package pluginrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/grpc"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// Bounds of one message. A batch above them is split.
const (
	// MaxBatch is how many items go into one message.
	MaxBatch = 4096
	// batchOctets is how large a message of a batch becomes at most, unless a
	// single item is larger: half of gRPC's default limit of 4 MiB.
	batchOctets = 2 << 20
	// deleteBatch is below MaxBatch, because the answer is larger than the
	// question: Counters hold a replay bitmap of up to 512 octets.
	deleteBatch = 2048
	// maxAnswer is what we take: a vendor's Placements may name many selectors.
	maxAnswer = 64 << 20
)

// Client is the offload.Engine at the other end of a gRPC connection. It is safe
// for concurrent use, holds nothing that must be closed, and sets no deadlines:
// those come with the contexts.
type Client struct {
	conn coded
	rpc  offloadv1.OffloadServiceClient
}

var _ offload.Engine = (*Client)(nil)

// NewClient makes an Engine of a connection, which the caller keeps and closes.
func NewClient(conn grpc.ClientConnInterface) *Client {
	c := coded{conn}
	return &Client{c, offloadv1.NewOffloadServiceClient(c)}
}

// Configure implements offload.Engine.
func (c *Client) Configure(ctx context.Context, config offload.Config) (offload.Info, error) {
	m, err := c.rpc.Configure(ctx, encodeConfig(config))
	if err != nil {
		return offload.Info{}, decodeError("configure", err)
	}
	return decodeInfo("configure", m.GetInfo())
}

// Info implements offload.Engine.
func (c *Client) Info(ctx context.Context) (offload.Info, error) {
	m, err := c.rpc.Info(ctx, &offloadv1.InfoRequest{})
	if err != nil {
		return offload.Info{}, decodeError("info", err)
	}
	return decodeInfo("info", m)
}

func decodeInfo(doing string, m *offloadv1.InfoResponse) (offload.Info, error) {
	var d decoder
	info := d.info(m)
	if d.err != nil {
		return offload.Info{}, fmt.Errorf("pluginrpc: read the answer to %s: %w", doing, d.err)
	}
	return info, nil
}

// Update implements offload.Engine. On an error the placements are those of the
// parts that were carried out before.
func (c *Client) Update(ctx context.Context, e offload.Epoch, changes ...offload.Change) ([]offload.Placement, error) {
	return inParts(changes, encodeChange, MaxBatch, func(part []*offloadv1.Change) ([]offload.Placement, error) {
		m, err := c.rpc.Update(ctx, &offloadv1.UpdateRequest{Epoch: uint64(e), Changes: part}, large())
		if err != nil {
			return nil, decodeError("update", err)
		}
		return placementsOf("update", len(part), m.GetPlacements())
	})
}

// Delete implements offload.Engine. On an error the counters are those of the
// parts that were carried out before.
func (c *Client) Delete(ctx context.Context, e offload.Epoch, ids ...ipsec.SAID) ([]offload.Counters, error) {
	return inParts(ids, encodeSAID, deleteBatch, func(part []*offloadv1.SAID) ([]offload.Counters, error) {
		m, err := c.rpc.Delete(ctx, &offloadv1.DeleteRequest{Epoch: uint64(e), Ids: part}, large())
		if err != nil {
			return nil, decodeError("delete", err)
		}
		var d decoder
		counters := decodeEach(m.GetCounters(), d.counters)
		if d.err != nil {
			return nil, fmt.Errorf("pluginrpc: read the answer to delete: %w", d.err)
		}
		return counters, nil
	})
}

// Arm implements offload.Engine.
func (c *Client) Arm(ctx context.Context, g offload.Group, e offload.Epoch) error {
	_, err := c.rpc.Arm(ctx, &offloadv1.ArmRequest{Group: uint32(g), Epoch: uint64(e)})
	return decodeError("arm", err)
}

// Promote implements offload.Engine.
func (c *Client) Promote(ctx context.Context, g offload.Group, e offload.Epoch) error {
	_, err := c.rpc.Promote(ctx, &offloadv1.PromoteRequest{Group: uint32(g), Epoch: uint64(e)})
	return decodeError("promote", err)
}

// Demote implements offload.Engine.
func (c *Client) Demote(ctx context.Context, g offload.Group, e offload.Epoch) error {
	_, err := c.rpc.Demote(ctx, &offloadv1.DemoteRequest{Group: uint32(g), Epoch: uint64(e)})
	return decodeError("demote", err)
}

// Stats implements offload.Engine. Stats that no dataplane may have are an error.
func (c *Client) Stats(ctx context.Context) ([]offload.Stat, error) {
	m, err := c.rpc.Stats(ctx, &offloadv1.StatsRequest{})
	if err != nil {
		return nil, decodeError("stats", err)
	}
	stats := decodeEach(m.GetStats(), decodeStat)
	if err := offload.CheckStats(stats); err != nil {
		return nil, fmt.Errorf("pluginrpc: read the answer to stats: %w", err)
	}
	return stats, nil
}

// Events implements offload.Engine. Events of kinds that this version does not
// know are passed over.
func (c *Client) Events(ctx context.Context) iter.Seq2[offload.Event, error] {
	return func(yield func(offload.Event, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // a caller that breaks off ends the stream
		defer cancel()
		stream, err := c.rpc.Events(ctx, &offloadv1.EventsRequest{})
		if err != nil {
			yieldUnlessDone(ctx, yield, err)
			return
		}
		for m, err := range received(stream) {
			if err != nil {
				yieldUnlessDone(ctx, yield, err)
				return
			}
			var d decoder
			ev := d.event(m)
			switch {
			case d.err != nil:
				yield(nil, fmt.Errorf("pluginrpc: read an event: %w", d.err))
				return
			case ev != nil && !yield(ev, nil):
				return
			}
		}
	}
}

// yieldUnlessDone passes the error of a stream of events on, unless the stream
// ended because ctx did, which is no error.
func yieldUnlessDone(ctx context.Context, yield func(offload.Event, error) bool, err error) {
	if ctx.Err() == nil {
		yield(nil, decodeError("read events", err))
	}
}

// received yields the messages of a stream up to its end or first error.
func received[M any](stream grpc.ServerStreamingClient[M]) iter.Seq2[*M, error] {
	return func(yield func(*M, error) bool) {
		for {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) || !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// inParts encodes values, and calls with at most atMost of them, or batchOctets,
// at a time. It returns the answers together, up to the first error. An empty
// batch is one call: it too tells whether the dataplane is there.
func inParts[G any, M message, A any](values []G, encode func(G) M, atMost int, call func([]M) ([]A, error)) ([]A, error) {
	var answers []A
	for {
		part, octets := make([]M, 0, min(len(values), atMost)), 0
		for _, v := range values[:min(len(values), atMost)] {
			m := encode(v)
			octets += m.SizeVT()
			if octets > batchOctets && len(part) > 0 {
				break
			}
			part = append(part, m)
		}
		values = values[len(part):]
		a, err := call(part)
		answers = append(answers, a...)
		if err != nil || len(values) == 0 {
			return answers, err
		}
	}
}

// placementsOf decodes the answer to want items. A plugin that answers with
// another number of placements cannot be understood.
func placementsOf(doing string, want int, messages []*offloadv1.Placement) ([]offload.Placement, error) {
	if len(messages) != want {
		return nil, wrongNumber(doing, want, len(messages))
	}
	var d decoder
	out := decodeEach(messages, d.placement)
	if d.err != nil {
		return nil, fmt.Errorf("pluginrpc: read the answer to %s: %w", doing, d.err)
	}
	return out, nil
}

func wrongNumber(doing string, want, got int) error {
	return fmt.Errorf("pluginrpc: %s: the dataplane answered with %d placements for %d items", doing, got, want)
}

func large() grpc.CallOption { return grpc.MaxCallRecvMsgSize(maxAnswer) }
