package vici_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab/vici"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample has every kind of field, nested.
func sample() vici.Message {
	var child, m vici.Message
	child.Set("mode", "TUNNEL")
	child.SetList("local-ts", "10.0.0.0/24", "fd00::/64")
	m.Set("version", "2")
	m.SetSection("net", child)
	m.SetSection("empty", vici.Message{})
	return m
}

func encode(t *testing.T, m vici.Message) []byte {
	t.Helper()
	b, err := m.AppendTo(nil)
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return b
}

func TestMessageRoundTrip(t *testing.T) {
	got, err := vici.Parse(encode(t, sample()))
	if err != nil {
		t.Fatalf("parse what was encoded: %v", err)
	}
	if !reflect.DeepEqual(got, sample()) {
		t.Fatalf("the message came back as\n%v\nwant\n%v", got, sample())
	}
	if ts := got.Section("net").List("local-ts"); len(ts) != 2 || ts[1] != "fd00::/64" {
		t.Fatalf("local-ts of net is %q, want both selectors", ts)
	}
	if v := got.Get("version"); v != "2" {
		t.Fatalf("version is %q, want 2", v)
	}
}

func TestMessageLeavesUnsetOptionsOut(t *testing.T) {
	var m vici.Message
	m.Set("rekey_time", "")
	m.SetList("vips")
	if b := encode(t, m); len(b) != 0 {
		t.Fatalf("a message of unset options encodes as % x, want nothing", b)
	}
}

// A prefix that ends between two fields of the root section is a message of
// its own; every other one is refused.
func TestMessageStrictPrefixesAreRefused(t *testing.T) {
	b := encode(t, sample())
	whole := map[int]bool{0: true}
	var growing vici.Message
	growing.Set("version", "2")
	whole[len(encode(t, growing))] = true
	growing.SetSection("net", sample().Section("net"))
	whole[len(encode(t, growing))] = true
	for n := range b {
		_, err := vici.Parse(b[:n])
		if whole[n] != (err == nil) {
			t.Errorf("prefix of %d octets: error %v, but a message ends there: %v", n, err, whole[n])
		}
		if err != nil && !errors.Is(err, vici.ErrMalformed) {
			t.Errorf("prefix of %d octets: error %v does not say malformed", n, err)
		}
	}
}

func TestMessageRefusesWhatCharonNeverSends(t *testing.T) {
	for name, b := range map[string][]byte{
		"section end at the root": {2},
		"list item outside list":  {5, 0, 1, 'x'},
		"value inside list":       {4, 1, 'l', 3, 1, 'k', 0, 0, 6},
		"unknown element":         {9, 0},
		"one name twice":          {3, 1, 'k', 0, 0, 3, 1, 'k', 0, 0},
		"nested without end":      []byte(strings.Repeat("\x01\x01s", 40) + strings.Repeat("\x02", 40)),
	} {
		if _, err := vici.Parse(b); !errors.Is(err, vici.ErrMalformed) {
			t.Errorf("%s: error is %v, want malformed", name, err)
		}
	}
}

func TestMessageRefusesNamesAndValuesThatDoNotFit(t *testing.T) {
	var m vici.Message
	m.Set(strings.Repeat("n", 256), "v")
	if _, err := m.AppendTo(nil); !errors.Is(err, vici.ErrMalformed) {
		t.Errorf("a name of 256 octets: error is %v, want malformed", err)
	}
	m = vici.Message{}
	m.Set("k", strings.Repeat("v", 1<<16))
	if _, err := m.AppendTo(nil); !errors.Is(err, vici.ErrMalformed) {
		t.Errorf("a value of 65536 octets: error is %v, want malformed", err)
	}
}

func FuzzParse(f *testing.F) {
	b, err := sample().AppendTo(nil)
	if err != nil {
		f.Fatalf("encode the seed: %v", err)
	}
	f.Add(b)
	f.Add([]byte{1, 1, 's', 4, 1, 'l', 5, 0, 1, 'x', 6, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := vici.Parse(b)
		if err != nil {
			return
		}
		again, err := m.AppendTo(nil)
		if err != nil {
			t.Fatalf("a parsed message does not encode: %v", err)
		}
		if string(again) != string(b) {
			t.Fatalf("% x parses, but encodes as % x", b, again)
		}
	})
}

// answer plays the daemon for one connection: it reads a packet and writes the
// given ones, for each round.
func answer(t *testing.T, rounds ...[][]byte) *vici.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for _, packets := range rounds {
			var head [4]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				return
			}
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[:]))); err != nil {
				return
			}
			for _, p := range packets {
				if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(p))), p...)); err != nil {
					return
				}
			}
		}
		_, _ = io.Copy(io.Discard, conn)
	}()
	c, err := vici.Dial(t.Context(), path)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { c.Close(); ln.Close(); <-done })
	return c
}

func packet(kind byte, name string, m []byte) []byte {
	b := []byte{kind}
	if name != "" {
		b = append(append(b, byte(len(name))), name...)
	}
	return append(b, m...)
}

func TestStreamDeliversEventsThenTheResponse(t *testing.T) {
	c := answer(t,
		[][]byte{{5}},
		[][]byte{
			packet(7, "list-sa", encode(t, sample())),
			packet(7, "log", nil), // of a registration that is not ours
			packet(1, "", nil),
		},
		[][]byte{{5}})
	var seen []vici.Message
	_, err := c.Stream(t.Context(), "list-sas", vici.Message{}, "list-sa", func(m vici.Message) { seen = append(seen, m) })
	if err != nil {
		t.Fatalf("list-sas: %v", err)
	}
	if len(seen) != 1 || !reflect.DeepEqual(seen[0], sample()) {
		t.Fatalf("the stream delivered %v, want the one list-sa event", seen)
	}
}

func TestCallTellsRefusalFromIgnorance(t *testing.T) {
	var no vici.Message
	no.Set("success", "no")
	no.Set("errmsg", "CHILD_SA config 'x' not found")
	c := answer(t, [][]byte{packet(1, "", encode(t, no))}, [][]byte{{2}})
	_, err := c.Call(t.Context(), "initiate", vici.Message{})
	var refused *vici.CommandError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "not found") {
		t.Fatalf("a refused command returned %v, want the daemon's reason", err)
	}
	if _, err = c.Call(t.Context(), "no-such", vici.Message{}); !errors.Is(err, vici.ErrUnknown) {
		t.Fatalf("an unknown command returned %v, want ErrUnknown", err)
	}
}

func TestCallEndsWithItsContext(t *testing.T) {
	c := answer(t, nil) // reads the request and never answers
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	done := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, "version", vici.Message{})
		done <- err
	}()
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Fatalf("the call ended with %v, want the cause of its context", err)
	}
}

func TestOversizedSegmentIsRefused(t *testing.T) {
	c := answer(t, [][]byte{make([]byte, vici.MaxMessage+1)})
	if _, err := c.Call(t.Context(), "version", vici.Message{}); !errors.Is(err, vici.ErrMalformed) {
		t.Fatalf("a segment above the limit returned %v, want malformed", err)
	}
}
