package engine

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/evergate/evergate/core/ipsec"
)

func TestFactsComeBackAsTheyWere(t *testing.T) {
	want := facts{
		Name: "dialup_7", Index: 7, Number: 113, SPIs: []ipsec.IKESPI{1 << 60, 2}, Version: 1,
		Address: netip.MustParseAddr("192.0.2.1"), Peer: netip.MustParseAddrPort("[2001:db8::1]:4500"), Called: netip.MustParseAddrPort("[2001:db8::1]:500"), Hash: "server",
	}
	for i, v := 0, reflect.ValueOf(want); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("The test leaves %s out.", v.Type().Field(i).Name)
		}
	}
	b := want.marshal()
	if got, err := readFacts(b); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("Facts came back as %+v (%v), want %+v.", got, err, want)
	}
	later := append(b, 15<<3, 1) // field 15, which this version does not know
	if got, err := readFacts(later); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("With a field of a later version facts came back as %+v (%v), want %+v.", got, err, want)
	}
	if _, err := readFacts(b[:len(b)-1]); err == nil {
		t.Error("Facts without their last octet were understood.")
	}
}
