package ikesock

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func datagrams() map[string]Datagram {
	return map[string]Datagram{
		"an IKE message over IPv4": {
			Local:   netip.MustParseAddrPort("192.0.2.1:4500"),
			Remote:  netip.MustParseAddrPort("198.51.100.7:61000"),
			Payload: []byte("an IKE header would stand here"),
		},
		"an IKE message over IPv6": {
			Local:   netip.MustParseAddrPort("[2001:db8::1]:4500"),
			Remote:  netip.MustParseAddrPort("[2001:db8:ffff::7]:4500"),
			Payload: []byte{0x29, 0, 0xff},
		},
		"the longest message": {
			Local:   netip.MustParseAddrPort("192.0.2.1:4500"),
			Remote:  netip.MustParseAddrPort("198.51.100.7:61000"),
			Payload: bytes.Repeat([]byte{0xa5}, MaxPayload),
		},
		"a keepalive": {
			Local:     netip.MustParseAddrPort("192.0.2.1:4500"),
			Remote:    netip.MustParseAddrPort("198.51.100.7:1"),
			Keepalive: true,
		},
	}
}

func frame(t testing.TB, d Datagram) []byte {
	t.Helper()
	b, err := AppendFrame(nil, d)
	if err != nil {
		t.Fatalf("A good datagram makes no frame: %v.", err)
	}
	return b
}

func TestFrameRoundTrip(t *testing.T) {
	for name, d := range datagrams() {
		t.Run(name, func(t *testing.T) {
			got, err := ParseFrame(frame(t, d))
			if err != nil {
				t.Fatalf("Our own frame is not accepted: %v.", err)
			}
			if !reflect.DeepEqual(got, d) {
				t.Errorf("The frame came back as another datagram: %+v, want %+v.", got, d)
			}
		})
	}
}

func TestFrameStrictPrefixesAreRejected(t *testing.T) {
	for name, d := range datagrams() {
		whole := frame(t, d)
		for n := range whole[:min(len(whole), 2000)] {
			if _, err := ParseFrame(whole[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("Of %s, the first %d octets of %d: got error %v, want ErrMalformed.", name, n, len(whole), err)
			}
		}
		if _, err := ParseFrame(append(whole, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("Of %s, one octet too many: got error %v, want ErrMalformed.", name, err)
		}
	}
}

func TestFrameRejectsWhatMakesNoSense(t *testing.T) {
	good := frame(t, datagrams()["an IKE message over IPv6"])
	mapped := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	for name, change := range map[string]func(b []byte) []byte{
		"a version from the future":      func(b []byte) []byte { b[0] = 2; return b },
		"a kind from the future":         func(b []byte) []byte { b[1] = 3; return b },
		"a keepalive with a payload":     func(b []byte) []byte { b[1] = kindKeepalive; return b },
		"an address family of ours":      func(b []byte) []byte { b[2] = 10; return b },
		"a length without octets":        func(b []byte) []byte { b[4], b[5] = 0xff, 0xff; return b },
		"a message without a payload":    func(b []byte) []byte { b[5] = 0; return b[:headerLen+32] },
		"a mapped IPv4 address":          func(b []byte) []byte { copy(b[headerLen:], mapped[:]); return b },
		"nothing":                        func([]byte) []byte { return nil },
		"more than a UDP datagram holds": func([]byte) []byte { return oversized() },
	} {
		if _, err := ParseFrame(change(bytes.Clone(good))); !errors.Is(err, ErrMalformed) {
			t.Errorf("A frame with %s: got error %v, want ErrMalformed.", name, err)
		}
	}
	reserved := bytes.Clone(good)
	reserved[3] = 0x77
	if _, err := ParseFrame(reserved); err != nil {
		t.Errorf("The reserved octet is ignored on receipt, but: %v.", err)
	}
}

// oversized is consistent in itself, but above MaxPayload.
func oversized() []byte {
	b := []byte{version, kindMessage, 4, 0, 0xff, 0xff, 0, 1, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2}
	return append(b, make([]byte, 0xffff)...)
}

func TestFrameRefusesToCarry(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:4500"), netip.MustParseAddrPort("[2001:db8::1]:4500")
	zoned := netip.MustParseAddrPort("[fe80::1%eth0]:4500")
	payload := []byte{1}
	for _, c := range []struct {
		d    Datagram
		want string
	}{
		{Datagram{Local: v4, Remote: v6, Payload: payload}, "one family"},
		{Datagram{Local: v4, Payload: payload}, "one family"},
		{Datagram{Local: zoned, Remote: v6, Payload: payload}, "zone"},
		{Datagram{Local: v4, Remote: v4}, "no payload"},
		{Datagram{Local: v4, Remote: v4, Payload: make([]byte, MaxPayload+1)}, "at most"},
	} {
		if _, err := AppendFrame(nil, c.d); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("From %v to %v with %d octets: got error %v, want one that says %q.", c.d.Local, c.d.Remote, len(c.d.Payload), err, c.want)
		}
	}
}

func FuzzParseFrame(f *testing.F) {
	for name, d := range datagrams() {
		if name != "the longest message" {
			f.Add(frame(f, d))
		}
	}
	f.Add([]byte{})
	f.Add(oversized()[:64])
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseFrame(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatalf("The parser failed with %v, want ErrMalformed.", err)
			}
			return
		}
		again, err := AppendFrame(nil, d)
		if err != nil {
			t.Fatalf("An accepted frame cannot be sent on: %v.", err)
		}
		again[3] = b[3] // reserved, ignored
		if !bytes.Equal(again, b) {
			t.Fatalf("An accepted frame has another form:\n got %x\nwant %x.", again, b)
		}
	})
}
