package transport

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/evergate/evergate/ha/transport/cert"
)

func TestFramesComeOutAsTheyWentIn(t *testing.T) {
	frames := []Frame{
		{Type: 1, Class: Record, Body: []byte("a record")},
		{Type: 0, Class: Control, Body: []byte{}},
		{Type: FirstReserved - 1, Class: 200, Body: bytes.Repeat([]byte{7}, 5000)},
	}
	var wire []byte
	for _, f := range frames {
		wire = appendFrame(wire, f)
	}
	r := bytes.NewReader(wire)
	for _, want := range frames {
		if got, err := readFrame(r, 5000); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Frame %+v came out as %+v, %v.", want, got, err)
		}
	}
	if _, err := readFrame(r, 5000); !errors.Is(err, io.EOF) {
		t.Errorf("After the last frame there is the end, got %v.", err)
	}
}

func TestEveryPrefixOfAFrameIsRejected(t *testing.T) {
	wire := appendFrame(nil, text(Record, "a record"))
	for n := range wire {
		_, err := readFrame(bytes.NewReader(wire[:n]), 100)
		if err == nil || n > 0 && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("The first %d octets of a frame are none, but: %v.", n, err)
		}
	}
	if _, err := readFrame(bytes.NewReader(wire), 7); err == nil || !strings.Contains(err.Error(), "8 octets, more than 7") {
		t.Errorf("A body of 8 octets is above a limit of 7, but: %v.", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, text(Bulk, "a record")))
	f.Add(appendFrame(nil, Frame{Type: typePing, Body: make([]byte, 8)}))
	f.Add(appendFrame(appendFrame(nil, text(Control, "")), text(9, "two")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 3, 0, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		var again []byte
		for {
			fr, err := readFrame(r, 1<<16)
			if err != nil {
				break
			}
			again = appendFrame(again, fr)
		}
		for i := 7; i < len(again); i += headerLen { // the octet that is ignored
			n := int(again[i-7])<<24 | int(again[i-6])<<16 | int(again[i-5])<<8 | int(again[i-4])
			again[i] = wire[i]
			i += n
		}
		if !bytes.HasPrefix(wire, again) {
			t.Error("What was read is not what was written.")
		}
	})
}

func TestHelloComesOutAsItWentIn(t *testing.T) {
	want := hello{Name: cert.Name{Group: 200, Member: 15}, Min: 3, Max: 4, Capabilities: 1 << 63, Start: 5, Lost: 6}
	f := want.frame()
	for n := range f.Body {
		if _, err := parseHello(Frame{Type: typeHello, Body: f.Body[:n]}); err == nil {
			t.Errorf("The first %d octets of a hello are none.", n)
		}
	}
	f.Body = append(f.Body, "what a later version adds"...)
	if got, err := parseHello(f); err != nil || got != want {
		t.Errorf("A hello of a later version should be %+v, got %+v, %v.", want, got, err)
	}
}

func TestTheHighestCommonVersionIsChosen(t *testing.T) {
	for _, c := range []struct{ min, max, theirMin, theirMax, want uint16 }{
		{1, 1, 1, 1, 1},
		{1, 2, 2, 3, 2},
		{2, 3, 1, 2, 2},
		{1, 9, 4, 5, 5},
		{1, 2, 3, 4, 0},
		{3, 4, 1, 2, 0},
	} {
		got, err := hello{Min: c.min, Max: c.max}.common(hello{Min: c.theirMin, Max: c.theirMax})
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("Of %d-%d and %d-%d we should speak %d, got %d, %v.", c.min, c.max, c.theirMin, c.theirMax, c.want, got, err)
		}
	}
}

func FuzzHello(f *testing.F) {
	f.Add(typeHello, hello{Min: 1, Max: 2}.frame().Body)
	f.Add(typeRefuse, ReasonGroup.frame("another group").Body)
	f.Add(typeAccept, []byte(nil))
	f.Fuzz(func(t *testing.T, typ uint16, body []byte) {
		fr := Frame{Type: typ, Body: body}
		if h, err := parseHello(fr); err == nil && !bytes.HasPrefix(body, h.frame().Body) {
			t.Errorf("Hello %+v is not what was written.", h)
		}
		if err := parseVerdict(fr); (err == nil) != (typ == typeAccept) {
			t.Errorf("Type %#x was taken for a verdict: %v.", typ, err)
		}
	})
}
