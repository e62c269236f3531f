package suite_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike/suite"
)

func gcm() suite.Suite {
	return suite.Suite{Encryption: ipsec.EncrAESGCM16, KeyBits: 128, PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupX25519}
}

// Two members that both believe they own the SA, restarts and takeovers: no IV
// comes twice with one key (invariant I1).
func TestIVsNeverRepeat(t *testing.T) { // B1
	for _, s := range everySuite() {
		if !s.Encryption.CounterMode() {
			continue
		}
		k := keysOf(t, s, 1).From(true)
		seen := make(map[string]suite.IV)
		for member := range ipsec.MemberID(ipsec.MaxMembers) {
			for _, epoch := range []uint32{0, 1, 2, suite.MaxIVEpoch} {
				seal, _ := pair(t, s, k, suite.IV{Member: member, Epoch: epoch})
				for range 20 {
					before := seal.IV()
					iv := string(sealed(t, seal, nil, make([]byte, seal.BlockLen()))[:8])
					if first, again := seen[iv]; again {
						t.Fatalf("%v: %+v and %+v have the same IV %x.", s, first, before, iv)
					}
					seen[iv] = before
				}
			}
		}
	}
}

// The state is part of a snapshot: who is restored from it in the same epoch
// goes on where the last message left off.
func TestIVGoesOnFromItsState(t *testing.T) {
	s := gcm()
	k := keysOf(t, s, 1).From(true)
	a, _ := pair(t, s, k, suite.IV{Member: 2, Epoch: 5})
	sealed(t, a, nil, []byte{0})
	sealed(t, a, nil, []byte{0})
	if want := (suite.IV{Member: 2, Epoch: 5, Counter: 2}); a.IV() != want {
		t.Fatalf("After two messages the state is %+v, want %+v.", a.IV(), want)
	}
	b, _ := pair(t, s, k, a.IV())
	if string(sealed(t, a, nil, []byte{1})) != string(sealed(t, b, nil, []byte{1})) {
		t.Error("The restored sealer went on differently.")
	}
}

func TestIVRunsOut(t *testing.T) {
	seal, _ := pair(t, gcm(), keysOf(t, gcm(), 1).From(true), suite.IV{Counter: suite.MaxIVCounter - 1})
	msg := sealed(t, seal, nil, []byte{0})
	if got := msg[:8]; string(got) != "\x00\x00\x00\x00\xff\xff\xff\xff" {
		t.Errorf("The last IV is %x; the counter must not run into the epoch.", got)
	}
	for range 2 {
		if err := seal.Seal(layout(seal, nil, []byte{0}), 0); !errors.Is(err, suite.ErrIVExhausted) {
			t.Errorf("Behind the last IV came %v.", err)
		}
	}
}

func TestIVOutOfRangeIsRefused(t *testing.T) {
	k := keysOf(t, gcm(), 1).From(true)
	for _, iv := range []suite.IV{{Member: ipsec.MaxMembers}, {Epoch: suite.MaxIVEpoch + 1}, {Counter: suite.MaxIVCounter + 1}} {
		if _, err := suite.NewSealer(gcm(), k, iv, seeded(1)); err == nil {
			t.Errorf("%+v was accepted.", iv)
		}
	}
}

// "Senders MUST select a new unpredictable IV for every message": RFC 7296
// section 3.14.
func TestCBCDrawsItsIV(t *testing.T) {
	s := suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA2_256_128, PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupX25519}
	k := keysOf(t, s, 1).From(true)
	seal, _ := pair(t, s, k, suite.IV{})
	first := sealed(t, seal, nil, make([]byte, 16))
	if want := random(42, 16); string(first[:16]) != string(want) {
		t.Errorf("The IV is %x, want the next octets of rand, %x.", first[:16], want)
	}
	if second := sealed(t, seal, nil, make([]byte, 16)); string(second[:16]) == string(first[:16]) {
		t.Error("The IV came twice.")
	}
	dry, err := suite.NewSealer(s, k, suite.IV{}, strings.NewReader("dry"))
	if err != nil {
		t.Fatalf("No sealer: %v.", err)
	}
	if err := dry.Seal(layout(dry, nil, make([]byte, 16)), 0); err == nil {
		t.Error("A message was sealed without a random IV.")
	}
}

func TestProtectionRefusesWrongKeys(t *testing.T) {
	for _, s := range everySuite() {
		k := keysOf(t, s, 1).From(true)
		short := ipsec.NewKey(random(1, k.Encryption.Len()-1))
		for what, bad := range map[string]suite.DirectionKeys{
			"no keys":                     {},
			"a short encryption key":      {Encryption: short, Integrity: k.Integrity},
			"an integrity key of 1 octet": {Encryption: k.Encryption, Integrity: ipsec.NewKey([]byte{1})},
		} {
			if _, err := suite.NewSealer(s, bad, suite.IV{}, seeded(1)); err == nil {
				t.Errorf("%v: %s made a sealer.", s, what)
			}
			if _, err := suite.NewOpener(s, bad); err == nil {
				t.Errorf("%v: %s made an opener.", s, what)
			}
		}
	}
	if _, err := suite.NewOpener(suite.Suite{}, suite.DirectionKeys{}); err == nil {
		t.Error("The zero suite made an opener.")
	}
}

func TestSealRefusesAWrongLayout(t *testing.T) {
	s := suite.Suite{Encryption: ipsec.EncrAESCBC, KeyBits: 128, Integrity: ipsec.AuthHMACSHA2_256_128, PRF: ipsec.PRFHMACSHA2_256, Group: ipsec.GroupX25519}
	seal, _ := pair(t, s, keysOf(t, s, 1).From(true), suite.IV{})
	for _, n := range []int{0, 16, 47, 49, 63} {
		if err := seal.Seal(make([]byte, n), 0); err == nil {
			t.Errorf("%d octets were sealed, which are not IV, whole blocks and ICV.", n)
		}
	}
}
