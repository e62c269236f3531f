package pluginrpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// codec is gRPC's for protobuf, but that it does not go by reflection where code
// was generated, and by no message at all where there is code of our own. What it
// writes is the same.
type codec struct{}

// message has such code.
type message interface {
	SizeVT() int
	MarshalToSizedBufferVT(b []byte) (int, error)
	UnmarshalVT(b []byte) error
}

// encoded is a message that is made already.
type encoded []byte

// decodes reads itself from a message, of which it keeps nothing.
type decodes interface{ decode(b []byte) error }

// Name implements encoding.CodecV2: both ends are free to choose.
func (codec) Name() string { return proto.Name }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	if b, ok := v.(encoded); ok {
		return mem.BufferSlice{mem.SliceBuffer(b)}, nil
	}
	m, ok := v.(message)
	if !ok {
		return encoding.GetCodecV2(proto.Name).Marshal(v) // go-plugin's own
	}
	size := m.SizeVT()
	pool := mem.DefaultBufferPool()
	if mem.IsBelowBufferPoolingThreshold(size) {
		pool = mem.NopBufferPool{}
	}
	b := pool.Get(size)
	if _, err := m.MarshalToSizedBufferVT(*b); err != nil {
		pool.Put(b)
		return nil, fmt.Errorf("pluginrpc: encode a %T: %w", v, err)
	}
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

// Unmarshal implements encoding.CodecV2. The message keeps nothing of data.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	var decode func([]byte) error
	switch m := v.(type) {
	case decodes:
		decode = m.decode
	case message:
		decode = m.UnmarshalVT
	default:
		return encoding.GetCodecV2(proto.Name).Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	if err := decode(b.ReadOnlyData()); err != nil {
		return fmt.Errorf("pluginrpc: decode a %T: %w", v, err)
	}
	return nil
}

// coded makes its calls with codec.
type coded struct{ grpc.ClientConnInterface }

// Invoke implements grpc.ClientConnInterface.
func (c coded) Invoke(ctx context.Context, method string, args, reply any, o ...grpc.CallOption) error {
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, append(o, grpc.ForceCodecV2(codec{}))...)
}

// NewStream implements grpc.ClientConnInterface.
func (c coded) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, o ...grpc.CallOption) (grpc.ClientStream, error) {
	return c.ClientConnInterface.NewStream(ctx, d, method, append(o, grpc.ForceCodecV2(codec{}))...)
}
