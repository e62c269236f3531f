package xfrmnl

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/mdlayher/netlink"
)

func messageOf(typ uint16, b []byte) netlink.Message {
	return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(typ)}, Data: b}
}

func TestPoliciesComeBackAsTheyWere(t *testing.T) {
	for _, p := range []Policy{
		{
			Selector: Selector{Dst: netip.MustParsePrefix("198.51.100.0/24"), Src: netip.MustParsePrefix("10.0.0.0/8"), Proto: 6, SrcPort: Port{1024, 0xfc00}},
			Dir:      Forward, IfID: 9, Priority: 77, Index: 123,
			Templates: []Template{
				{Dst: netip.MustParseAddr("192.0.2.1"), Src: netip.MustParseAddr("192.0.2.2"), Mode: ModeTunnel, ReqID: 5, Optional: true},
				{Dst: netip.MustParseAddr("2001:db8::1"), Src: netip.MustParseAddr("2001:db8::2"), ReqID: 6},
			},
		},
		{
			Selector: Selector{Dst: netip.MustParsePrefix("::/0"), Src: netip.MustParsePrefix("2001:db8::/32")},
			Dir:      In, Mark: Mark{1, 2}, Block: true, Offload: &Offload{Device: 7, Inbound: true, Packet: true},
			Templates: []Template{{Mode: ModeTunnel, ReqID: 5}},
		},
	} {
		b, err := p.marshal()
		if err != nil {
			t.Fatalf("The policy cannot be encoded: %v.", err)
		}
		if got, err := UnmarshalPolicy(b); err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("The policy should come back as %+v, got %+v (%v).", p, got, err)
		}
		for n := range sizePolicy {
			if _, err := UnmarshalPolicy(b[:n]); err == nil {
				t.Errorf("%d octets of a policy were taken for one.", n)
			}
		}
	}
}

func TestTooManyTemplatesAreRefused(t *testing.T) {
	if _, err := (Policy{Templates: make([]Template, MaxTemplates+1)}).marshal(); err == nil {
		t.Errorf("A policy of %d templates should be refused.", MaxTemplates+1)
	}
}
