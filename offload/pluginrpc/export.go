package pluginrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/ipsec/field"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// Export is the call that is made every second, for all SAs, however little happens:
// what it leaves behind for the garbage collector is most of what a gateway that rests
// has of it. So messages are made once for each call, and read without the generated
// ones between (package field).

// exportBatch is how many Counters go into one message: what both ends make for one is
// half a kilobyte for each of them, anew for each call. Even with the largest replay
// bitmap (512 octets) and some selector ids they stay far below gRPC's limit.
const exportBatch = 128

// flatCounters is to Counters what flatSA is to an SA.
type flatCounters struct {
	counters  offloadv1.Counters
	placement flatPlacement
	sequence  offloadv1.Sequence
}

// exportPart is an ExportResponse whose messages are used again.
type exportPart struct {
	response offloadv1.ExportResponse
	flat     []*flatCounters
}

// add writes c into the next message.
func (p *exportPart) add(c offload.Counters) {
	n := len(p.response.Counters)
	if n == len(p.flat) {
		p.flat = append(p.flat, new(flatCounters))
	}
	f := p.flat[n]
	fillCounters(f, c)
	p.response.Counters = append(p.response.Counters, &f.counters)
}

// send sends what was added. The message is encoded when it returns.
func (p *exportPart) send(stream grpc.ServerStreamingServer[offloadv1.ExportResponse]) error {
	err := stream.Send(&p.response)
	p.response.Counters = p.response.Counters[:0]
	return err
}

func (s *server) Export(m *offloadv1.ExportRequest, stream grpc.ServerStreamingServer[offloadv1.ExportResponse]) error {
	group := offload.AllGroups
	if m.Group != nil {
		group = offload.Group(m.GetGroup())
	}
	var part exportPart
	for c, err := range s.engine.Export(stream.Context(), group) {
		if err != nil {
			return encodeError(err)
		}
		if part.add(c); len(part.response.Counters) < exportBatch {
			continue
		}
		if err := part.send(stream); err != nil {
			return err
		}
	}
	if len(part.response.Counters) == 0 {
		return nil
	}
	return part.send(stream)
}

// exportResponse is an ExportResponse as it is read.
type exportResponse struct {
	// counters are overwritten by the next one that is read.
	counters []offload.Counters
	// invalid is what the Go types cannot say.
	invalid error
}

// decode implements decodes.
func (m *exportResponse) decode(b []byte) error {
	var err error
	n := field.Count(b, 1)
	m.counters = slices.Grow(m.counters[:0], n)
	ids := make([]offload.SelectorID, 0, n) // most have one
	for r := field.NewReader(b, &err); r.Next(); {
		if r.Field() == 1 {
			m.counters = append(m.counters, offload.Counters{})
			ids = readCounters(&r, &m.counters[len(m.counters)-1], ids)
		}
	}
	if errors.Is(err, field.ErrRange) {
		m.invalid = err
		return nil
	}
	return err
}

// readCounters reads the present field into empty Counters, with selector ids as
// readPlacement has them.
func readCounters(r *field.Reader, c *offload.Counters, ids []offload.SelectorID) []offload.SelectorID {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			ids = readPlacement(&m, &c.Placement, ids)
		case 2:
			c.Direction = ipsec.Direction(m.Uint())
		case 3:
			c.Tunnel = ipsec.TunnelID(m.Fixed64())
		case 4:
			c.Group = offload.Group(m.Uint())
		case 5:
			c.Generation = m.Uint()
		case 6:
			c.Packets = m.Uint()
		case 7:
			c.Bytes = m.Uint()
		case 8:
			c.Idle = time.Duration(m.Int())
		case 9:
			m.Sequence(&c.Sequence)
		case 10:
			c.PathMTU = field.Narrow[uint16](&m, "counters.path_mtu")
		case 11:
			readDrops(&m, &c.Drops)
		case 12:
			c.Link = new(ipsec.Link)
			readLink(&m, c.Link)
		case 13:
			c.Relayed = m.Uint()
		case 14:
			c.Held = m.Uint()
		}
	}
	return ids
}

func readDrops(r *field.Reader, d *offload.Drops) {
	for m := r.Message(); m.Next(); {
		switch m.Field() {
		case 1:
			d.Replayed = m.Uint()
		case 2:
			d.Authentication = m.Uint()
		case 3:
			d.Malformed = m.Uint()
		case 4:
			d.Selector = m.Uint()
		case 5:
			d.Lifetime = m.Uint()
		case 6:
			d.Ceiling = m.Uint()
		case 7:
			d.Standby = m.Uint()
		case 8:
			d.TooBig = m.Uint()
		case 9:
			d.Queue = m.Uint()
		}
	}
}

// Export implements offload.Engine.
func (c *Client) Export(ctx context.Context, g offload.Group) iter.Seq2[offload.Counters, error] {
	return func(yield func(offload.Counters, error) bool) {
		ctx, cancel := context.WithCancel(ctx) // a caller that breaks off ends the stream
		defer cancel()
		m := &offloadv1.ExportRequest{}
		if g != offload.AllGroups {
			m.Group = (*uint32)(&g)
		}
		stream, err := c.rpc.Export(ctx, m, large())
		if err != nil {
			yield(offload.Counters{}, decodeError("export", err))
			return
		}
		var part exportResponse
		for {
			if err := stream.RecvMsg(&part); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				yield(offload.Counters{}, decodeError("export", err))
				return
			}
			if part.invalid != nil {
				yield(offload.Counters{}, fmt.Errorf("pluginrpc: read the answer to export: %w", part.invalid))
				return
			}
			for _, one := range part.counters {
				if !yield(one, nil) {
					return
				}
			}
		}
	}
}
