package offloadtest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/offload/mem"
	"github.com/evergate/evergate/offload/offloadtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// played moves packets through a plane in memory.
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

func (p played) SendOver(_ context.Context, sa ipsec.SA, n int, _ ...ipsec.SA) ([]offloadtest.Sent, error) {
	var sent []offloadtest.Sent
	for range n {
		if packet, err := p.Outbound(sa.ID); err == nil {
			sent = append(sent, offloadtest.Sent{SPI: packet.By.SPI, Seq: packet.Seq})
		}
	}
	return sent, nil
}

func (p played) DeliverOver(_ context.Context, link ipsec.SA, seqs []uint64, sa ipsec.SA, _ ...ipsec.SA) ([]offloadtest.Sent, error) {
	var sent []offloadtest.Sent
	for _, seq := range seqs {
		if packet, err := p.Arrived(link.ID, seq, sa.ID); err == nil {
			sent = append(sent, offloadtest.Sent{SPI: packet.By.SPI, Seq: packet.Seq})
		}
	}
	return sent, nil
}

func (p played) SendHeld(_ context.Context, sa ipsec.SA, n int, _ ipsec.SA, install func() error) ([]offloadtest.Sent, error) {
	p.Released()
	for range n {
		_, _ = p.Outbound(sa.ID) // it waits, or is lost
	}
	if err := install(); err != nil {
		return nil, err
	}
	var sent []offloadtest.Sent
	for _, packet := range p.Released() {
		sent = append(sent, offloadtest.Sent{SPI: packet.By.SPI, Seq: packet.Seq})
	}
	return sent, nil
}

func (p played) Reset(context.Context) error {
	p.Engine.Reset()
	return nil
}

func (p played) Flood(_ context.Context, n int) error {
	for range n {
		p.Event(offload.MTUChanged{MTU: 1280})
	}
	return nil
}

// memory opens planes in memory with options.
func memory(o mem.Options) offloadtest.Open {
	var opened atomic.Int64
	return func(context.Context) (*offloadtest.Harness, error) {
		o := o
		o.Name = fmt.Sprintf("plane-%d", opened.Add(1))
		e := mem.New(o)
		return &offloadtest.Harness{Engine: e, Traffic: played{e}, Links: played{e}, Holds: played{e}, Faults: played{e}, Close: e.Close}, nil
	}
}

// npu is a plane with all that an NPU can make different.
func npu() mem.Options {
	return mem.Options{
		Capacity: 300,
		NPUs: []mem.NPU{
			{ID: 1, Name: "small", Capacity: 2, Inbound: true, Outbound: true, ActiveOnly: true},
			{ID: 2, Name: "late", Outbound: true, Late: true},
		},
	}
}

func TestMemKeepsTheContract(t *testing.T) { // B8
	t.Run("over grpc", func(t *testing.T) { offloadtest.Run(t, memory(mem.Options{})) })
	t.Run("direct", func(t *testing.T) { offloadtest.RunDirect(t, memory(mem.Options{})) })
	t.Run("with npus", func(t *testing.T) { offloadtest.Run(t, memory(npu())) })
}
