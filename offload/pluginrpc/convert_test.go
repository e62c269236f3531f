package pluginrpc

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/offload"
	offloadv1 "github.com/evergate/evergate/offload/proto/offload/v1"
)

// filler sets every field of a value to something that is not zero and that no
// other field has, so that a conversion that forgets or swaps one is seen.
type filler struct{ n uint64 }

func (f *filler) fill(t *testing.T, v reflect.Value) {
	t.Helper()
	f.n++
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, byte(f.n >> 8), byte(f.n)})))
		return
	case ipsec.Key:
		v.Set(reflect.ValueOf(ipsec.CopyKey([]byte{byte(f.n), byte(f.n >> 8), 3})))
		return
	case netip.AddrPort:
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 2, byte(f.n)}), uint16(f.n))))
		return
	// Enumerations: the last value is the one that an off-by-one would lose.
	case ipsec.Mode:
		v.Set(reflect.ValueOf(ipsec.Transport))
		return
	case ipsec.DFPolicy:
		v.Set(reflect.ValueOf(ipsec.DFClear))
		return
	case ipsec.Direction:
		v.Set(reflect.ValueOf(ipsec.Outbound))
		return
	case offload.Role:
		v.Set(reflect.ValueOf(offload.Standby))
		return
	case offload.NoNPU:
		v.Set(reflect.ValueOf(offload.NoNPURole))
		return
	case offload.IVSource:
		v.Set(reflect.ValueOf(offload.IVSequence))
		return
	}
	f.fillKind(t, v)
}

func (f *filler) fillKind(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		f.fill(t, v.Index(0))
		f.fill(t, v.Index(1))
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(t, key)
		f.fill(t, value)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Interface:
		if v.Type() != reflect.TypeFor[error]() {
			t.Fatalf("The test cannot fill a %v: teach it.", v.Type())
		}
		v.Set(reflect.ValueOf(&RemoteError{Text: fmt.Sprint("text ", f.n), Sentinel: offload.ErrExhausted}))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(fmt.Sprint("text ", f.n))
	case reflect.Uint8:
		v.SetUint(f.n%255 + 1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(f.n)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(f.n))
	default:
		t.Fatalf("The test cannot fill a %v: teach it.", v.Type())
	}
}

// described writes a value out, with keys and errors as what they mean: for
// DeepEqual two keys are never the same, because funcs are not.
func described(v any) string {
	var b strings.Builder
	writeValue(&b, reflect.ValueOf(v))
	return b.String()
}

func writeValue(b *strings.Builder, v reflect.Value) {
	if err, ok := v.Interface().(error); ok && err != nil {
		fmt.Fprintf(b, "error %v, exhausted %v", err, errors.Is(err, offload.ErrExhausted))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		switch x := v.Interface().(type) {
		case ipsec.Key:
			fmt.Fprintf(b, "key %x", x.Reveal())
		case netip.Addr, netip.AddrPort:
			fmt.Fprint(b, x)
		default:
			b.WriteString(v.Type().Name() + "{")
			for i := range v.NumField() {
				b.WriteString(v.Type().Field(i).Name + ": ")
				writeValue(b, v.Field(i))
				b.WriteString("\n")
			}
			b.WriteString("}")
		}
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("nil")
			return
		}
		writeValue(b, v.Elem())
	case reflect.Slice:
		b.WriteString("[")
		for i := range v.Len() {
			writeValue(b, v.Index(i))
			b.WriteString("\n")
		}
		b.WriteString("]")
	default:
		fmt.Fprintf(b, "%v", v.Interface())
	}
}

// wire sends a message through its encoding, as gRPC does.
func wire[M proto.Message](t *testing.T, m M) M {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatalf("The message cannot be encoded: %v.", err)
	}
	out, ok := m.ProtoReflect().New().Interface().(M)
	if !ok {
		t.Fatalf("A new %T is something else.", m)
	}
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatalf("The message cannot be decoded: %v.", err)
	}
	return out
}

// crosses fills a value, sends it to the other side and compares.
func crosses[G any, M proto.Message](t *testing.T, encode func(G) M, decode func(*decoder, M) G) {
	t.Helper()
	var want G
	(&filler{}).fill(t, reflect.ValueOf(&want).Elem())
	m := encode(want)
	wantFieldsSet(t, m.ProtoReflect())
	var d decoder
	got := decode(&d, wire(t, m))
	if d.err != nil {
		t.Fatalf("A good %T cannot be decoded: %v.", want, d.err)
	}
	if described(got) != described(want) {
		t.Errorf("A %T should arrive as it was sent.\nsent:\n%s\narrived:\n%s", want, described(want), described(got))
	}
}

// wantFieldsSet fails for fields of a message that no field of the Go type set.
func wantFieldsSet(t *testing.T, m protoreflect.Message) {
	t.Helper()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			t.Errorf("The message's field %s is left out.", f.FullName())
			continue
		}
		if f.Kind() == protoreflect.MessageKind && !f.IsList() && !f.IsMap() {
			wantFieldsSet(t, m.Get(f).Message())
		}
	}
}

func TestEveryFieldCrosses(t *testing.T) {
	t.Run("SA", func(t *testing.T) { crosses(t, encodeSA, decodeSA) })
	t.Run("Change", func(t *testing.T) { crosses(t, encodeChange, (*decoder).change) })
	t.Run("Placement", func(t *testing.T) { crosses(t, encodePlacement, (*decoder).placement) })
	t.Run("answered Placement", func(t *testing.T) { crosses(t, answeredPlacement, decodeAnswered) })
	t.Run("Counters", func(t *testing.T) { crosses(t, encodeCounters, (*decoder).counters) })
	t.Run("exported Counters", func(t *testing.T) { crosses(t, encodeCounters, decodeExported) })
	t.Run("Config", func(t *testing.T) { crosses(t, encodeConfig, (*decoder).config) })
	t.Run("Info", func(t *testing.T) { crosses(t, encodeInfo, (*decoder).info) })
	t.Run("Stat", func(t *testing.T) {
		crosses(t, encodeStat, func(_ *decoder, m *offloadv1.Stat) offload.Stat { return decodeStat(m) })
	})
	event[offload.FirstPacket](t)
	event[offload.Activated](t)
	event[offload.Acquire](t)
	event[offload.Expired](t)
	event[offload.LeaseLow](t)
	event[offload.MTUChanged](t)
	event[offload.PeerMoved](t)
	event[offload.Placed](t)
	event[offload.Reset](t)
	event[offload.Overrun](t)
}

func event[E offload.Event](t *testing.T) {
	t.Helper()
	t.Run(reflect.TypeFor[E]().Name(), func(t *testing.T) {
		var want E
		(&filler{}).fill(t, reflect.ValueOf(&want).Elem())
		m := encodeEvent(want)
		if m == nil {
			t.Fatalf("A %T has no message.", want)
		}
		var d decoder
		got := d.event(wire(t, m))
		if d.err != nil || described(got) != described(want) {
			t.Errorf("A %T should arrive as it was sent, got (error %v)\n%s\nfor\n%s", want, d.err, described(got), described(want))
		}
	})
}

// TestEveryEventKindHasATest counts the events of the protocol, so that a new
// one is not forgotten above.
func TestEveryEventKindHasATest(t *testing.T) {
	kinds := (&offloadv1.EventsResponse{}).ProtoReflect().Descriptor().Oneofs().Get(0).Fields().Len()
	if kinds != 10 {
		t.Errorf("The protocol has %d kinds of events, TestEveryFieldCrosses sends 10.", kinds)
	}
}

func TestEveryValueOfAnEnumerationCrosses(t *testing.T) {
	for _, w := range []offload.NoNPU{
		offload.InNPU, offload.NoSuchNPU, offload.NotYet, offload.NoRoom, offload.NoAlgorithm,
		offload.NoMode, offload.NoNPURole, offload.DisabledBySetting, offload.DeviceRefused,
	} {
		if got := decodeNoNPU(encodeNoNPU(w)); got != w {
			t.Errorf("The reason %q arrives as %q.", w, got)
		}
	}
	if n := offloadv1.NoNPU(0).Descriptor().Values().Len(); n != 9 {
		t.Errorf("The protocol has %d reasons, the test knows 9.", n)
	}
	if got := decodeNoNPU(1000); got != offload.DeviceRefused {
		t.Errorf("A reason of a later version should be the device's, got %q.", got)
	}
	for source := offload.IVUnspecified; source <= offload.IVSequence; source++ {
		if got := decodeIVSource(offloadv1.IVSource(source)); got != source {
			t.Errorf("The IV source %d arrives as %d.", source, got)
		}
	}
	if got := decodeIVSource(1000); got != offload.IVUnspecified {
		t.Errorf("An IV source of a later version should be unspecified, got %d.", got)
	}
}

func TestOptionalFieldsStayAbsent(t *testing.T) {
	var d decoder
	c := d.change(wire(t, encodeChange(offload.Change{ID: ipsec.SAID{SPI: 300}})))
	if described(c) != described(offload.Change{ID: ipsec.SAID{SPI: 300}}) || d.err != nil {
		t.Errorf("A change of nothing should arrive as one, got %s (%v).", described(c), d.err)
	}
	mtu, group := uint16(0), offload.Group(0)
	c = d.change(wire(t, encodeChange(offload.Change{PathMTU: &mtu, Group: &group})))
	if c.PathMTU == nil || *c.PathMTU != 0 || c.Group == nil || *c.Group != 0 || d.err != nil {
		t.Errorf("A change to zero is a change, got %s (%v).", described(c), d.err)
	}
	if sa := decodeSA(&d, wire(t, encodeSA(ipsec.SA{}))); sa.Encap != nil || sa.Local.IsValid() || sa.Sequence.Bitmap != nil || d.err != nil {
		t.Errorf("An empty SA should arrive as one, got %s (%v).", described(sa), d.err)
	}
	v6 := netip.MustParseAddr("2001:db8::1")
	if sa := decodeSA(&d, wire(t, encodeSA(ipsec.SA{Local: v6}))); sa.Local != v6 {
		t.Errorf("The address %v arrives as %v.", v6, sa.Local)
	}
}

func TestWhatTheGoTypesCannotSayIsRefused(t *testing.T) {
	good := func() *offloadv1.SA { return encodeSA(ipsec.SA{}) }
	for _, c := range []struct {
		field string
		spoil func(*offloadv1.SA)
	}{
		{"encap.local_port", func(m *offloadv1.SA) { m.Encap = &offloadv1.Encap{LocalPort: 65536 + 80} }},
		{"link.member", func(m *offloadv1.SA) { m.Link = &offloadv1.Link{Member: 256} }},
		{"sa.path_mtu", func(m *offloadv1.SA) { m.PathMtu = 70000 }},
		{"sa.group", func(m *offloadv1.SA) { m.Group = 256 }},
		{"sa.local", func(m *offloadv1.SA) { m.Local = make([]byte, 5) }},
		{"sa.mode", func(m *offloadv1.SA) { m.Mode = offloadv1.Mode_MODE_UNSPECIFIED }},
		{"header_policy.df", func(m *offloadv1.SA) { m.Header.Df = 9 }},
		{"said.destination", func(m *offloadv1.SA) { m.Id.Destination = make([]byte, 17) }},
		{"algorithms.key_bits", func(m *offloadv1.SA) { m.Algorithms.KeyBits = 1 << 20 }},
	} {
		m := good()
		c.spoil(m)
		var d decoder
		decodeSA(&d, m)
		if !errors.Is(d.err, offload.ErrInvalid) || !strings.Contains(d.err.Error(), c.field) {
			t.Errorf("A bad %s should be refused by its name, got %v.", c.field, d.err)
		}
	}
}

func TestKeysAreMarkedForRedaction(t *testing.T) {
	keys := 0
	messages := offloadv1.File_offload_v1_offload_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			if f.Kind() != protoreflect.BytesKind || !strings.Contains(string(f.Name()), "key") {
				continue
			}
			keys++
			options, ok := f.Options().(*descriptorpb.FieldOptions)
			if !ok || !options.GetDebugRedact() {
				t.Errorf("The field %s holds a key and is not marked debug_redact.", f.FullName())
			}
		}
	}
	if keys != 2 {
		t.Errorf("The protocol should have two fields with keys, found %d.", keys)
	}
}
