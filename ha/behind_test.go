package ha_test

import (
	"testing"
	"time"

	"github.com/evergate/evergate/ha"
)

// TestWhoTakesOverKnowsThatItMayBeBehind: the last owner has told something that
// did not arrive, and did not wait for it for long.
func TestWhoTakesOverKnowsThatItMayBeBehind(t *testing.T) { // C17, B2
	for _, tt := range []struct {
		name   string
		before func(*group)
		want   bool
	}{
		{"all had arrived", func(*group) {}, false},
		{"a record was lost", func(g *group) {
			g.lose = func(f ha.Frame) bool { return f.From == 0 && len(f.Records) > 0 }
			g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup"}})
			g.pass(60 * time.Millisecond) // a heartbeat tells of it
		}, true},
		{"we had been away", func(g *group) {
			g.now = g.now.Add(time.Second)
			g.deaf = ha.MembersOf(0)
			g.step(1, ha.Timeout{})
		}, true},
		{"it was telling everything anew", func(g *group) {
			g.deaf = ha.MembersOf(1)
			g.pass(300 * time.Millisecond)
			g.deaf = 0
			g.lose = func(f ha.Frame) bool { return f.From == 0 && len(f.Records) > 0 && !hello(f) }
			g.pass(60 * time.Millisecond)
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := gather(t, 2)
			g.establish()
			g.pass(100 * time.Millisecond)
			tt.before(g)
			g.deaf = ha.MembersOf(0)
			g.pass(500 * time.Millisecond)
			g.take(1)
			g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
			g.pass(200 * time.Millisecond)
			var restored []ha.Restored
			for _, rd := range g.take(1) {
				restored = append(restored, rd.Restore...)
			}
			if len(restored) != 1 || restored[0].Behind != tt.want {
				t.Errorf("Brought to life are %+v, want the tunnel with Behind %t.", restored, tt.want)
			}
		})
	}
}

// hello tells whether f begins a stream.
func hello(f ha.Frame) bool {
	_, begins := f.Records[0].(ha.Hello)
	return begins
}
