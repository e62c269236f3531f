package wire_test

import (
	"bytes"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	hav1 "github.com/evergate/evergate/ha/proto/ha/v1"
	"github.com/evergate/evergate/ha/wire"
)

const secret = "0123456789abcdef0123"

func said(spi ipsec.SPI) ipsec.SAID {
	return ipsec.SAID{SPI: spi, Dst: netip.MustParseAddr("192.0.2.1"), Proto: ipsec.ESP, Port: 1024}
}

// child has every field set to something that is not its zero.
func child() ha.Child {
	sa := ipsec.SA{
		ID: said(0x10000100), Direction: ipsec.Inbound, Mode: ipsec.Transport, Tunnel: 7, Pair: 0x300, Group: 1, Sender: 2,
		Generation: 3, Algorithms: ipsec.Algorithms{Encryption: ipsec.EncrAESGCM16, KeyBits: 128, Integrity: ipsec.AuthHMACSHA1_96, ESN: true},
		Encryption: ipsec.NewKey([]byte(secret)), Integrity: ipsec.NewKey([]byte(secret)),
		Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("2001:db8::1"),
		Encap: &ipsec.Encap{LocalPort: 4500, RemotePort: 1024},
		Selectors: ipsec.Selectors{
			Local:  []ipsec.TrafficSelector{ipsec.AnySelector(false)},
			Remote: []ipsec.TrafficSelector{ipsec.AnySelector(true), ipsec.SelectorOf(netip.MustParsePrefix("10.0.0.0/8"))},
		},
		Lifetime: ipsec.Lifetime{
			Soft: ipsec.Limits{Time: time.Minute, Bytes: 1, Packets: 2}, Hard: ipsec.Limits{Time: time.Hour, Bytes: 3, Packets: 4}, Age: time.Second,
		},
		ReplayWindow: 128, Sequence: ipsec.Sequence{Next: 1, Ceiling: 2, Highest: 3, Bitmap: []byte{4}}, PathMTU: 1400,
		Header: ipsec.HeaderPolicy{DF: ipsec.DFClear, HideDSCP: true, DSCP: 46},
	}
	out := sa
	out.ID, out.Direction = said(0x300), ipsec.Outbound
	return ha.Child{
		In: sa, Out: out, Holders: 5, Barred: 8, Bound: 1 << 40,
		InUsed: ha.Usage{Packets: 1, Bytes: 2, Idle: -1}, OutUsed: ha.Usage{Packets: 3, Bytes: 4, Idle: time.Second},
	}
}

func frame() ha.Frame {
	v := ha.Version{Epoch: ha.NewEpoch(9, 3), Change: 4}
	title := ha.Title{Past: 9, Quiet: time.Minute, Reclaimed: true}
	ike := ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte(secret)), Facts: []byte("dialup_0")}
	bounds := []ha.Bound{{Child: said(0x10000100), Bound: 6}}
	hello := ha.Hello{Adopts: true, Armed: 6, Classes: map[string]uint64{"dialup": 12}}
	hello.Disks[3] = 33
	digest := ha.Digest{Round: 2}
	digest.Sums[63] = 1
	return ha.Frame{
		Protocol: 1, Highest: 2, Group: 255, From: 15, To: 3, Life: 4, ToLife: 5, Disk: 6, ToDisk: 10, Count: 7, Unfit: true, Leaving: true, Role: ha.Standby,
		Ack:      ha.Ack{Stream: 1, Seq: 2, Notes: 3, After: 4, Arrived: 44},
		Standing: &ha.Standing{Unit: 1, Primary: true, Term: 2, Failed: 3, Yielded: 4, Override: true, Priority: 5, Age: 6, Serial: "EG00"},
		Stream:   8, First: 9,
		Records: []ha.Record{
			hello,
			ha.PutIKE{Tunnel: 7, Version: v, Title: title, Children: bounds, IKE: ike},
			ha.PutChild{Tunnel: 7, Version: v, Child: child()},
			ha.DropChild{Tunnel: 7, Version: v, Child: said(1)},
			ha.Remove{Tunnel: 7, Epoch: v.Epoch, Final: true, Answer: []byte("yes")},
			ha.Claim{Tunnel: 7, From: ha.Version{Epoch: 1, Change: 2}, Version: v, Title: title, Children: bounds},
			ha.Supply{Tunnel: 7, Version: v, IKE: ike, Children: []ha.Child{child()}},
			ha.Return{Tunnel: 7, Version: v, Title: title, IKE: ike, Children: []ha.Child{child()}, Behind: true},
			ha.Need{Tunnel: 7},
			ha.Owned{Tunnel: 7, Epoch: v.Epoch, Title: title, Children: bounds},
			ha.Unheld{Tunnel: 7, Why: ha.OtherClass},
			ha.Propose{Tunnel: 7, Epoch: v.Epoch, Child: said(1), From: 1, To: 2},
			ha.Grant{Tunnel: 7, Epoch: v.Epoch, Child: said(1), To: 2},
			ha.Refuse{Tunnel: 7, Epoch: v.Epoch, Child: said(1), Bound: 2, Sent: true},
			ha.Address{Tunnel: 7, Version: v, Endpoint: ha.Endpoint{
				Local: netip.MustParseAddr("192.0.2.1"), Remote: netip.MustParseAddr("2001:db8::1"), Encap: &ipsec.Encap{LocalPort: 1, RemotePort: 2},
			}},
			ha.MTU{Tunnel: 7, Epoch: v.Epoch, SA: said(1), MTU: 1400},
			ha.Counters{SAs: []ha.Counted{{ID: said(1), Sequence: ipsec.Sequence{Highest: 2, Bitmap: []byte{3}}, Used: ha.Usage{Packets: 1, Idle: -1}}}},
			digest,
			ha.Want{Round: 2, Buckets: 1 << 63},
			ha.Listing{Bucket: 63, Tunnels: []ipsec.TunnelID{1, 2}},
			ha.Synced{Round: 2},
			ha.Handoff{Tunnel: 7, Epoch: v.Epoch},
			ha.Taken{Tunnel: 7, Epoch: v.Epoch},
		},
	}
}

// withoutKeys takes the keys, which compare by identity, out of a frame and
// returns them in the order of the records.
func withoutKeys(f *ha.Frame) (keys []string) {
	take := func(k *ipsec.Key) {
		keys = append(keys, string(k.Reveal()))
		*k = ipsec.Key{}
	}
	child := func(c *ha.Child) {
		for _, sa := range []*ipsec.SA{&c.In, &c.Out} {
			take(&sa.Encryption)
			take(&sa.Integrity)
		}
	}
	for i, r := range f.Records {
		switch r := r.(type) {
		case ha.PutIKE:
			take(&r.IKE.State)
			f.Records[i] = r
		case ha.PutChild:
			child(&r.Child)
			f.Records[i] = r
		case ha.Return:
			take(&r.IKE.State)
			for i := range r.Children {
				child(&r.Children[i])
			}
			f.Records[i] = r
		case ha.Supply:
			take(&r.IKE.State)
			for i := range r.Children {
				child(&r.Children[i])
			}
			f.Records[i] = r
		}
	}
	return keys
}

func TestFramesComeBackAsTheyWere(t *testing.T) { // F2, F19
	b, err := wire.Marshal(frame())
	if err != nil {
		t.Fatalf("The frame was not encoded: %v.", err)
	}
	got, err := wire.Unmarshal(b)
	if err != nil {
		t.Fatalf("The frame was not decoded: %v.", err)
	}
	want := frame()
	if g, w := withoutKeys(&got), withoutKeys(&want); !reflect.DeepEqual(g, w) {
		t.Errorf("The keys came back as other ones.")
	}
	for i := range want.Records {
		if !reflect.DeepEqual(got.Records[i], want.Records[i]) {
			t.Errorf("A record came back as %+v, want %+v.", got.Records[i], want.Records[i])
		}
	}
	got.Records, want.Records = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("The frame came back as %+v, want %+v.", got, want)
	}
}

// A group runs two releases during an upgrade: what the first one wrote is read for as
// long as its version is spoken. Version 1 did not say yet what else its sender reads.
func TestFramesOfEarlierVersionsAreRead(t *testing.T) {
	b, err := os.ReadFile("testdata/frame-1.binpb")
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.Unmarshal(b)
	if err != nil {
		t.Fatalf("A frame of version 1 was not decoded: %v.", err)
	}
	want := frame()
	want.Highest = 0
	want.Records = slices.DeleteFunc(want.Records, func(r ha.Record) bool { _, later := r.(ha.Return); return later })
	hello := want.Records[0].(ha.Hello)
	hello.Adopts = false
	want.Records[0] = hello
	if g, w := withoutKeys(&got), withoutKeys(&want); !reflect.DeepEqual(g, w) {
		t.Error("The keys of a frame of version 1 came as other ones.")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("The frame of version 1 came as %+v, want %+v.", got, want)
	}
}

// What compares frames means something only if every field was set.
func TestFixtureSetsEveryField(t *testing.T) {
	f := frame()
	withoutKeys(&f)
	var visit func(path string, v reflect.Value)
	visit = func(path string, v reflect.Value) {
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				field := v.Type().Field(i)
				// SAs of links are a member's own, and not replicated.
				if field.IsExported() && field.Name != "Unknown" && field.Name != "Link" {
					visit(path+"."+field.Name, v.Field(i))
				}
			}
		case reflect.Interface:
			visit(path+"."+v.Elem().Type().Name(), v.Elem())
		case reflect.Slice:
			if v.Len() == 0 {
				t.Errorf("%s is empty in the fixture.", path)
			} else if v.Index(0).Kind() == reflect.Interface {
				for i := range v.Len() {
					visit(path, v.Index(i))
				}
			}
		default:
			if v.IsZero() {
				t.Errorf("%s is zero in the fixture.", path)
			}
		}
	}
	visit("Frame", reflect.ValueOf(f))
}

func TestWhatATypeCannotSayIsRefused(t *testing.T) {
	for what, m := range map[string]*hav1.Frame{
		"member 16":           {From: 16},
		"group 256":           {Group: 256},
		"protocol 65536":      {Protocol: 65536},
		"five octets":         {Records: []*hav1.Record{{Kind: &hav1.Record_Address{Address: &hav1.Address{Local: make([]byte, 5)}}}}},
		"three sums":          {Records: []*hav1.Record{{Kind: &hav1.Record_Digest{Digest: &hav1.Digest{Sums: make([]uint64, 3)}}}}},
		"seventeen disks":     {Records: []*hav1.Record{{Kind: &hav1.Record_Hello{Hello: &hav1.Hello{Disks: make([]uint64, 17)}}}}},
		"an MTU of 70000":     {Records: []*hav1.Record{{Kind: &hav1.Record_Mtu{Mtu: &hav1.MTU{Mtu: 70000}}}}},
		"a set of 17 members": {Records: []*hav1.Record{{Kind: &hav1.Record_Hello{Hello: &hav1.Hello{Armed: 1 << 16}}}}},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := wire.Unmarshal(b); err == nil {
			t.Errorf("A frame with %s was taken.", what)
		}
	}
	if _, err := wire.Unmarshal(make([]byte, wire.MaxFrame+1)); err == nil {
		t.Error("A frame beyond the longest was taken.")
	}
}

// What a later version adds to an IKE SA or to a pair stays with it in every record
// that carries one, also through a member that does not know it.
func TestUnknownFieldsTravelOn(t *testing.T) {
	later := protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 42)
	ike, pair := ha.IKE{State: ipsec.NewKey([]byte(secret)), Unknown: later}, child()
	pair.Unknown = later
	f := ha.Frame{Records: []ha.Record{
		ha.PutIKE{Tunnel: 7, IKE: ike},
		ha.PutChild{Tunnel: 7, Child: pair},
		ha.Supply{Tunnel: 7, IKE: ike, Children: []ha.Child{pair}},
		ha.Return{Tunnel: 7, IKE: ike, Children: []ha.Child{pair}},
	}}
	for range 2 { // here, and at the next member
		b, err := wire.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		if f, err = wire.Unmarshal(b); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range f.Records {
		var ikes []ha.IKE
		var pairs []ha.Child
		switch r := r.(type) {
		case ha.PutIKE:
			ikes = []ha.IKE{r.IKE}
		case ha.PutChild:
			pairs = []ha.Child{r.Child}
		case ha.Supply:
			ikes, pairs = []ha.IKE{r.IKE}, r.Children
		case ha.Return:
			ikes, pairs = []ha.IKE{r.IKE}, r.Children
		}
		for _, i := range ikes {
			if !bytes.Equal(i.Unknown, later) {
				t.Errorf("The unknown field of an IKE SA in %T was lost.", r)
			}
		}
		for _, c := range pairs {
			if !bytes.Equal(c.Unknown, later) {
				t.Errorf("The unknown field of a pair in %T was lost.", r)
			}
		}
		if len(ikes)+len(pairs) == 0 {
			t.Errorf("A record came as %T.", r)
		}
	}
}

func TestUnknownRecordsAreNoError(t *testing.T) {
	record := protowire.AppendBytes(protowire.AppendTag(nil, 900, protowire.BytesType), nil)
	b := protowire.AppendBytes(protowire.AppendTag(nil, 15, protowire.BytesType), record)
	f, err := wire.Unmarshal(b)
	if err != nil || len(f.Records) != 1 {
		t.Fatalf("A record of a later version made %+v, %v.", f, err)
	}
	if _, ok := f.Records[0].(ha.Unknown); !ok {
		t.Errorf("A record of a later version became %+v.", f.Records[0])
	}
}

func TestErrorsTellNoKeys(t *testing.T) {
	b, err := wire.Marshal(frame())
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if _, err := wire.Unmarshal(append([]byte(nil), b[:n]...)); err != nil && strings.Contains(err.Error(), secret) {
			t.Fatalf("The error for %d octets holds a key.", n)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	b, err := wire.Marshal(frame())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := wire.Unmarshal(append([]byte(nil), b...))
		if err != nil {
			return
		}
		again, err := wire.Marshal(got)
		if err != nil {
			return // text that is not UTF-8
		}
		if _, err := wire.Unmarshal(again); err != nil {
			t.Fatalf("What was decoded once is refused the second time: %v.", err)
		}
	})
}

// TestTheGeneratedCodeAgrees sends what is written past the messages through them,
// and reads it again: every field has its number and its type of ha.proto.
func TestTheGeneratedCodeAgrees(t *testing.T) {
	// The frame that all tests share selects no ports.
	narrow := func() ha.Frame {
		f, put := frame(), ha.PutChild{Tunnel: 8, Child: child()}
		put.Child.In.Selectors.Remote = []ipsec.TrafficSelector{
			{Proto: 6, PortMin: 80, PortMax: 81, Min: netip.MustParseAddr("192.0.2.1"), Max: netip.MustParseAddr("192.0.2.9")},
		}
		f.Records = append(f.Records, put)
		return f
	}
	b, err := wire.Marshal(narrow())
	if err != nil {
		t.Fatal(err)
	}
	m := new(hav1.Frame)
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("The generated code does not understand a frame: %v.", err)
	}
	set := map[protoreflect.FullName]bool{}
	note(t, m.ProtoReflect(), set)
	messages := hav1.File_ha_v1_ha_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if name := fields.Get(j).FullName(); !set[name] && !fields.Get(j).ContainingMessage().IsMapEntry() {
				t.Errorf("The field %s is left out.", name)
			}
		}
	}
	if b, err = proto.Marshal(m); err != nil {
		t.Fatal(err)
	}
	got, err := wire.Unmarshal(b)
	if err != nil {
		t.Fatalf("A frame that the generated code has written was not decoded: %v.", err)
	}
	want := narrow()
	if g, w := withoutKeys(&got), withoutKeys(&want); !reflect.DeepEqual(g, w) {
		t.Error("The keys came back as other ones.")
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("The frame came back as %+v, want %+v.", got, want)
	}
}

// note counts the fields that are set in any part of m.
func note(t *testing.T, m protoreflect.Message, set map[protoreflect.FullName]bool) {
	t.Helper()
	if len(m.GetUnknown()) > 0 {
		t.Errorf("A %s has fields that it does not know.", m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		set[f.FullName()] = true
		switch {
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for n := range v.List().Len() {
				note(t, v.List().Get(n).Message(), set)
			}
		default:
			note(t, v.Message(), set)
		}
		return true
	})
}
