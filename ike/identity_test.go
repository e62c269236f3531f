package ike_test

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"testing"

	"github.com/evergate/evergate/ike"
)

func TestIdentityReadsAsOperatorsWriteIt(t *testing.T) {
	der := func(n pkix.Name) string {
		b, err := asn1.Marshal(n.ToRDNSequence())
		if err != nil {
			t.Fatalf("encode %v: %v", n, err)
		}
		return string(b)
	}
	branch := pkix.Name{Country: []string{"CH"}, Organization: []string{"Example, Inc."}, CommonName: "branch"}
	for _, row := range []struct {
		id   ike.Identity
		want string
	}{
		{ike.Identity{}, "any"},
		{ike.Identity{Type: ike.IDFQDN, Data: "gw.example"}, "gw.example"},
		{ike.Identity{Type: ike.IDIPv4, Data: "\xc0\x00\x02\x01"}, "192.0.2.1"},
		{ike.Identity{Type: ike.IDKeyID, Data: "\x00\x01"}, "id-type-11:0001"},
		{ike.Identity{Type: ike.IDDERDN, Data: der(branch)}, `C=CH,O=Example\, Inc.,CN=branch`},
		// What is no name, or would break a line of the log, is shown as it is.
		{ike.Identity{Type: ike.IDDERDN, Data: "\x30\x00x"}, "id-type-9:300078"},
		{ike.Identity{Type: ike.IDDERDN, Data: der(pkix.Name{CommonName: "a\nb"})}, "id-type-9:300e310c300a06035504030c03610a62"},
	} {
		if got := row.id.String(); got != row.want {
			t.Errorf("%#v reads %q, want %q", row.id, got, row.want)
		}
	}
}
