package xfrmnl

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

// states are some of every kind.
func states() map[string]State {
	replay := NewReplay(64)
	replay.Sent = 1<<32 + 5
	replay.Mark(1<<33 + 70)
	replay.Mark(1<<33 + 68)
	v4 := State{
		SPI: 0xc0a80001, Dst: netip.MustParseAddr("192.0.2.2"), Src: netip.MustParseAddr("192.0.2.1"),
		Proto: ipsec.ESP, Mode: ModeTunnel, ReqID: 0x45000001, IfID: 7, Flags: FlagESN | FlagAnyFamily,
		AEAD:     &Algorithm{Name: "rfc4106(gcm(aes))", Key: ipsec.NewKey(bytes.Repeat([]byte{1}, 20)), ICVBits: 128},
		Lifetime: Lifetime{SoftBytes: 1, HardBytes: 2, SoftPackets: 3, HardPackets: 4},
		Replay:   replay, OutputMark: Mark{0x45535000, 0xffffffff},
	}
	v6 := State{
		SPI: 0x10000100, Dst: netip.MustParseAddr("2001:db8::2"), Src: netip.MustParseAddr("2001:db8::1"),
		Proto: ipsec.ESP, Mode: ModeTransport, ReqID: 0x45000002, Flags: FlagNoPMTUDisc, Extra: ExtraNoDSCP,
		Mark:     Mark{1, 3},
		Selector: Selector{Dst: netip.MustParsePrefix("2001:db8::2/128"), Src: netip.MustParsePrefix("2001:db8::1/128"), Proto: 17, DstPort: Port{53, 0xffff}},
		Crypt:    &Algorithm{Name: "cbc(aes)", Key: ipsec.NewKey(bytes.Repeat([]byte{2}, 16))},
		Auth:     &Algorithm{Name: "hmac(sha1)", Key: ipsec.NewKey(bytes.Repeat([]byte{3}, 20)), ICVBits: 96},
		Encap:    &Encap{SrcPort: 4500, DstPort: 61000}, MappingAge: 1, Offload: &Offload{Device: 3, Inbound: true, Packet: true},
		Lifetime: NoLimits(), Replay: NewReplay(2048),
	}
	return map[string]State{"aead": v4, "transport": v6}
}

// same compares states; keys by their octets.
func same(a, b State) bool {
	keys := func(s State) string {
		var all strings.Builder
		for _, x := range []**Algorithm{&s.AEAD, &s.Crypt, &s.Auth} {
			if *x != nil {
				all.WriteString(hex.EncodeToString((*x).Key.Reveal()) + "/")
			}
		}
		return all.String()
	}
	bare := func(s State) State {
		for _, x := range []**Algorithm{&s.AEAD, &s.Crypt, &s.Auth} {
			if *x != nil {
				y := **x
				y.Key = ipsec.Key{}
				*x = &y
			}
		}
		return s
	}
	return keys(a) == keys(b) && reflect.DeepEqual(bare(a), bare(b))
}

func TestStatesComeBackAsTheyWere(t *testing.T) {
	for name, s := range states() {
		b, err := s.marshal()
		if err != nil {
			t.Fatalf("State %s cannot be encoded: %v.", name, err)
		}
		got, err := UnmarshalState(b)
		if err != nil || !same(got, s) {
			t.Errorf("State %s should come back as %+v, got %+v (%v).", name, s, got, err)
		}
	}
}

// TestStatesHaveTheKernelsLayout compares with messages whose every field was read
// back from a kernel.
func TestStatesHaveTheKernelsLayout(t *testing.T) {
	for name, s := range states() {
		b, err := s.marshal()
		if err != nil {
			t.Fatalf("State %s cannot be encoded: %v.", name, err)
		}
		path := filepath.Join("testdata", "state-"+name+".hex")
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("The golden message cannot be read: %v.", err)
		}
		if got := hex.EncodeToString(b); got != strings.Join(strings.Fields(string(want)), "") {
			t.Errorf("State %s should be encoded as in %s, got %s.", name, path, got)
		}
	}
}

func TestStatesAreNotReadFromLess(t *testing.T) {
	for name, s := range states() {
		b, err := s.marshal()
		if err != nil {
			t.Fatalf("State %s cannot be encoded: %v.", name, err)
		}
		for n := range sizeSA {
			if _, err := UnmarshalState(b[:n]); err == nil {
				t.Errorf("%d octets of state %s were taken for one.", n, name)
			}
		}
		for n := sizeSA; n < len(b); n++ {
			// Fewer attributes are another state, but none of them is cut short.
			if got, err := UnmarshalState(b[:n]); err == nil && same(got, s) {
				t.Errorf("State %s was read from %d of its %d octets.", name, n, len(b))
			}
		}
	}
}

func TestNoErrorHoldsAKey(t *testing.T) {
	s := states()["aead"]
	b, err := s.marshal()
	if err != nil {
		t.Fatalf("The state cannot be encoded: %v.", err)
	}
	for n := range b {
		_, err := UnmarshalState(b[:n])
		if err != nil && (strings.Contains(err.Error(), "0101") || strings.Contains(err.Error(), "\x01\x01")) {
			t.Errorf("The error about %d octets holds the key: %v.", n, err)
		}
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, s := range states() {
		b, err := s.marshal()
		if err != nil {
			f.Fatalf("A state cannot be encoded: %v.", err)
		}
		f.Add(uint16(msgExpire), append(b[:sizeSA:sizeSA], append(make([]byte, 8), b[sizeSA:]...)...))
		f.Add(uint16(msgNewSA), b)
	}
	p, err := Policy{Templates: []Template{{ReqID: 1}}}.marshal()
	if err != nil {
		f.Fatalf("A policy cannot be encoded: %v.", err)
	}
	f.Add(uint16(msgNewPolicy), p)
	f.Add(uint16(msgAcquire), make([]byte, sizeAcquire))
	f.Add(uint16(msgMapping), make([]byte, sizeMapping))
	f.Add(uint16(msgDelSA), make([]byte, sizeSAID))
	f.Fuzz(func(t *testing.T, typ uint16, b []byte) {
		if s, err := UnmarshalState(b); err == nil {
			s.Replay.Below()
			if _, err := s.marshal(); err != nil {
				t.Errorf("What was read as a state cannot be encoded: %v.", err)
			}
		}
		if p, err := UnmarshalPolicy(b); err == nil && len(p.Templates) <= MaxTemplates {
			if _, err := p.marshal(); err != nil {
				t.Errorf("What was read as a policy cannot be encoded: %v.", err)
			}
		}
		_, _ = UnmarshalEvent(messageOf(typ, b))
	})
}
