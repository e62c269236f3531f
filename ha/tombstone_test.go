package ha_test

import (
	"slices"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

func answers(rds []ha.Ready) []string {
	var out []string
	for _, rd := range rds {
		for _, b := range rd.Answers {
			out = append(out, string(b))
		}
	}
	return out
}

// TestLastAnswerIsOnTheSurvivors: before the peer may get it, they have it, and
// each is told once.
func TestLastAnswerIsOnTheSurvivors(t *testing.T) { // B2
	g := gather(t, 3)
	g.establish()
	g.deaf = ha.MembersOf(1, 2)
	rd := g.step(0, ha.Delete{Tunnel: tunnel, Final: true, Answer: []byte("deleted")})
	if rd.Commit >= rd.Index {
		t.Error("The peer is answered before anybody else could repeat it.")
	}
	g.deaf = 0
	g.pass(time.Second)
	for m := range ipsec.MemberID(3) {
		want := []string{"deleted"}
		if m == 0 {
			want = nil // its engine has it
		}
		if got := answers(g.take(m)); !slices.Equal(got, want) {
			t.Errorf("Member %d was told the answers %q, want %q.", m, got, want)
		}
	}
}

// TestLateClaimIsToldTheLastAnswer: who did not hear of the end and takes over,
// loses the tunnel and gets the answer.
func TestLateClaimIsToldTheLastAnswer(t *testing.T) { // B2, I8
	g := gather(t, 3)
	g.establish()
	g.deaf = ha.MembersOf(2)
	g.step(0, ha.Delete{Tunnel: tunnel, Final: true, Answer: []byte("deleted")})
	g.deaf = ha.MembersOf(0) // dies, and member 2 has missed the end
	g.take(2)
	g.pass(time.Second)
	g.step(2, ha.Activated{Tunnel: tunnel, Group: 0})
	g.pass(time.Second)
	rds := g.take(2)
	if got := answers(rds); !slices.Equal(got, []string{"deleted"}) {
		t.Errorf("The claimer was told the answers %q, want the last one.", got)
	}
	gone, restored := 0, 0
	for _, rd := range rds {
		gone += len(rd.Gone)
		restored += len(rd.Restore)
	}
	if _, has := g.nodes[2].Tunnel(tunnel); has || gone != 1 || restored != 0 {
		t.Errorf("The tunnel is with the claimer: %t; gone %d times, brought to life %d times. Want it gone once.", has, gone, restored)
	}
}

// TestLastAnswersAreBounded: by number, length and time, and the tombstones
// outlive them.
func TestLastAnswersAreBounded(t *testing.T) {
	limits := func(cfg *ha.Config) { cfg.Limits.Answers, cfg.Limits.AnswerOctets = 2, 8 }
	end := func(g *group, id ipsec.TunnelID, answer string) {
		g.step(0, ha.StoreIKE{Tunnel: id, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike"))}})
		g.step(0, ha.Delete{Tunnel: id, Final: true, Answer: []byte(answer)})
	}
	// known are the tunnels of whose end member 1 tells one who comes with them,
	// with the answers.
	known := func(g *group) map[ipsec.TunnelID]string {
		out := make(map[ipsec.TunnelID]string)
		g.nodes[1].Graves(func(r ha.Remove) { out[r.Tunnel] = string(r.Answer) })
		return out
	}
	for _, tt := range []struct {
		name    string
		answers []string
		pass    time.Duration
		want    []string
	}{
		{"as many as there is room for", []string{"one", "two"}, 0, []string{"one", "two"}},
		{"one more", []string{"one", "two", "three"}, 0, []string{"", "two", "three"}},
		{"a long one", []string{"one", "too long by far"}, 0, []string{"one", ""}},
		{"time passes", []string{"one", "two"}, ha.DefaultAnswerLife + time.Second, []string{"", ""}},
	} {
		g := gather(t, 2, limits)
		for i, answer := range tt.answers {
			end(g, ipsec.TunnelID(i+1), answer)
		}
		g.pass(tt.pass + 100*time.Millisecond)
		got := known(g)
		for i, want := range tt.want {
			if answer, ok := got[ipsec.TunnelID(i+1)]; !ok || answer != want {
				t.Errorf("%s: tunnel %d is known to have ended: %t, with the answer %q, want %q.", tt.name, i+1, ok, answer, want)
			}
		}
	}
}

// TestRemovedTunnelGrantsNoNumbers: member 1 took the tunnel over while its owner
// stood still, sent, and ended it. The owner, which knows nothing of it, asks for
// numbers: those that member 1 may have used are not its any more.
func TestRemovedTunnelGrantsNoNumbers(t *testing.T) { // B1, I1, I2, I8
	g := gather(t, 2)
	g.establish()
	_, out := pair()
	g.deaf = ha.MembersOf(0)
	for range 50 {
		g.now = g.now.Add(10 * time.Millisecond)
		g.step(1, ha.Timeout{})
	}
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	g.step(1, ha.Delete{Tunnel: tunnel, Final: true})
	g.take(0)

	g.deaf = 0
	g.step(0, ha.LeaseLow{SA: out.ID})
	g.pass(time.Second)
	for _, rd := range g.take(0) {
		for _, o := range rd.Orders {
			for _, c := range o.Changes {
				if c.ID == out.ID && c.Sequence != nil && c.Sequence.Ceiling > ipsec.LeaseSize {
					t.Errorf("The owner was granted numbers up to %#x, of which member 1 may have used some.", c.Sequence.Ceiling)
				}
			}
		}
	}
	if _, there := g.nodes[0].Tunnel(tunnel); there {
		t.Error("The owner should hear that the tunnel has ended.")
	}
}
