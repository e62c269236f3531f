package ike_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// TestRequestsInAnothersName: whoever sends with A's address uses up what that
// address may do without a cookie; A itself, which gets the cookie, comes in.
func TestRequestsInAnothersName(t *testing.T) {
	for name, limits := range map[string]ike.Limits{
		"half-open": {CookieAt: 10000, PerSource: 3, SourceRate: 1000, SourceBurst: 1000},
		"rate":      {CookieAt: 10000, PerSource: 1000, SourceRate: 1, SourceBurst: 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := iketest.New(t, func(c *iketest.Config) { c.Limits = limits })
			p.A.Initiate()
			own := p.Hold()
			for i := range 20 {
				forged := own[0]
				forged.Datagram.Payload = bytes.Clone(forged.Datagram.Payload)
				binary.BigEndian.PutUint64(forged.Datagram.Payload, uint64(i+1))
				p.Release([]iketest.Flight{forged})
				p.Next()
				p.DropAll()
			}
			if got := p.B.Stats.HalfOpen; got != 3 {
				t.Errorf("B has %d half-open IKE SAs, want the 3 that one address may have", got)
			}
			p.Release(own)
			p.Deliver()
			p.WantUp()
			if got := p.B.Stats.CookiesAccepted; got != 1 {
				t.Errorf("B accepted %d cookies, want the one of A", got)
			}
		})
	}
}
