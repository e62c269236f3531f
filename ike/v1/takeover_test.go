package v1_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest/v1test"
	"github.com/evergate/evergate/ike/v1"
)

func TestStandbyIsSilent(t *testing.T) { // I7
	p := v1test.Establish(t, v1test.Both(func(c *ike.Connection) {
		c.DPD = ike.DPD{Interval: time.Second, Retries: 1}
		c.Lifetime.Hard.Time = time.Minute
		c.Children[0].Lifetime.Hard.Time = time.Minute
	}))
	s, err := v1.Restore(p.B.Env, p.B.Policy, p.B.Snapshot, p.Now)
	if err != nil {
		t.Fatal(err)
	}
	if at := s.NextTimeout(); !at.IsZero() {
		t.Errorf("a standby has a timer at %v, want none", at)
	}
	rekeyChild(p.A)
	request := p.Hold()[0].Datagram
	sas := s.SAs(p.Now)
	if len(sas) != 2 {
		t.Fatalf("a standby knows %d SAs, want 2", len(sas))
	}
	for _, in := range []ike.Input{
		ike.Received{Datagram: request},
		ike.Timeout{},
		ike.RekeyIKE{},
		ike.RekeyChild{ID: sas[0].ID},
		ike.CloseChild{ID: sas[0].ID},
		ike.Expired{ID: sas[0].ID, Hard: true},
		ike.Close{},
		ike.Initiate{},
		ike.PeerMoved{Remote: addrPort(v1test.NATIP, 9)},
	} {
		if r := s.Step(p.Now.Add(time.Hour), in); len(r.Send)+len(r.Install)+len(r.Remove) > 0 || r.Done || r.Publish {
			t.Errorf("a standby answers %T with %+v, want silence", in, r)
		}
	}
}

// TestTakeover: the standby knows all that the owner published, before the peer
// knew it. It repeats the owner's answer, octet by octet, and goes on in the middle
// of a quick mode.
func TestTakeover(t *testing.T) { // B2, F5, C7
	p := v1test.Establish(t, v1test.PFS(ipsec.GroupECP256))
	rekeyChild(p.A)
	request := p.InFlight()[0]
	request.Datagram.Payload = bytes.Clone(request.Datagram.Payload)
	p.Next()
	answer := p.Hold()[0] // B dies with the answer on its way
	installed := len(p.B.Installed)
	p.B.Crash()
	p.Release([]v1test.Flight{request})
	p.Next()
	again := p.InFlight()
	if len(again) != 1 || !bytes.Equal(again[0].Datagram.Payload, answer.Datagram.Payload) {
		t.Fatal("the new owner does not repeat the answer of the old one, octet by octet")
	}
	if len(p.B.Installed) != installed {
		t.Errorf("the takeover changed the SAs from %d to %d", installed, len(p.B.Installed))
	}
	p.Pass(confirmTime)
	p.WantPairs(1)
	rekeyChild(p.B)
	p.Pass(time.Minute)
	p.WantPairs(1)
	p.A.Do(ike.RekeyIKE{})
	p.Pass(time.Minute)
	p.WantSameIKE()
	if n := len(p.B.Established); n != 1 {
		t.Errorf("B announced %d peers, want one: phase 1 outlives its owner", n)
	}
}

// TestSuccessorThatDiedWithItsOwner: a member dies, and with it all that it had told of
// the phase 1 that it has just rekeyed. The next one has the old one, and is heard
// there; so the peer goes back to it.
func TestSuccessorThatDiedWithItsOwner(t *testing.T) { // B2
	for name, options := range modes() {
		for by := range 2 {
			t.Run(fmt.Sprintf("%s, rekeyed by %c", name, 'A'+by), func(t *testing.T) {
				p := v1test.Establish(t, append(options, v1test.Both(func(c *ike.Connection) {
					c.DPD = ike.DPD{Interval: 10 * time.Second, Retries: 2}
				}))...)
				older := p.B.Snapshot
				[]*v1test.End{p.A, p.B}[by].Do(ike.RekeyIKE{})
				p.Pass(time.Second)
				p.B.CrashBack(older)
				rekeyChild(p.A)
				p.Pass(5 * time.Minute)
				p.WantUp()
				p.WantSameIKE()
				p.WantPairs(1)
				rekeyChild(p.B)
				p.Pass(time.Minute)
				p.WantPairs(1)
			})
		}
	}
}

// TestTakeoverAnywhere: an end dies at any moment of a rekeying of both phases, and
// what it had published is enough.
func TestTakeoverAnywhere(t *testing.T) {
	for name, do := range map[string]func(*v1test.End){
		"a pair":  rekeyChild,
		"phase 1": func(e *v1test.End) { e.Do(ike.RekeyIKE{}) },
	} {
		for _, who := range []string{"A", "B"} {
			for after := range 8 {
				t.Run(name+" by "+who, func(t *testing.T) {
					p := v1test.Establish(t, func(c *v1test.Config) { c.B.Remote = v1test.AddrA })
					begins := map[string]*v1test.End{"A": p.A, "B": p.B}[who]
					do(begins)
					for range after {
						p.Next()
					}
					p.A.Crash()
					p.B.Crash()
					p.Pass(3 * time.Minute)
					p.WantUp()
					p.WantSameIKE()
					p.WantPairs(1)
					rekeyChild(p.B)
					p.Pass(3 * time.Minute)
					p.WantPairs(1)
				})
			}
		}
	}
}

// TestInheritedQuickModeMakesNoPairToSendOn: the last owner may have had the answer
// to its first message, made the same pair of it, and sent on it.
func TestInheritedQuickModeMakesNoPairToSendOn(t *testing.T) { // B1
	p := v1test.Establish(t)
	rekeyChild(p.B)
	s, err := v1.Restore(p.B.Env, p.B.Policy, p.B.Snapshot, p.Now)
	if err != nil {
		t.Fatal(err)
	}
	p.Next()
	answer := p.InFlight()[0].Datagram
	s.Step(p.Now, ike.Takeover{})
	r := s.Step(p.Now, ike.Received{Datagram: answer})
	if len(r.Install) != 1 || r.Install[0].Direction != ipsec.Inbound {
		t.Fatalf("the answer makes %v, want the inbound SA of a pair", r.Install)
	}
	_, out, _ := s.Pair(p.Now, r.Install[0].ID)
	if out.Sequence.Next <= out.Sequence.Ceiling {
		t.Errorf("the new owner may send the numbers %d to %d on it, want none", out.Sequence.Next, out.Sequence.Ceiling)
	}
	if st := s.Status(p.Now); st.Queued == 0 && st.Doing == "" {
		t.Error("the pair gets no successor")
	}
}

// TestUnknownFieldsSurvive the way through an older member.
func TestUnknownFieldsSurvive(t *testing.T) {
	p := v1test.Establish(t)
	newer := protowire.AppendBytes(protowire.AppendTag(bytes.Clone(p.B.Snapshot), 5000, protowire.BytesType), []byte("news"))
	s, err := v1.Restore(p.B.Env, p.B.Policy, newer, p.Now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(s.Snapshot(p.Now), []byte("news")) {
		t.Error("a field that is not known is lost")
	}
}

func TestRestoreRefuses(t *testing.T) {
	p := v1test.Establish(t)
	good := p.B.Snapshot
	v2 := *p.B.Policy.Connections[0]
	v2.V1 = nil
	childless := *p.B.Policy.Connections[0]
	childless.Children = nil
	for _, tt := range []struct {
		name     string
		snapshot []byte
		policy   *v1test.Policy
		says     string
	}{
		{"nothing", nil, p.B.Policy, "version 0"},
		{"noise", []byte("\xff\xff\xff"), p.B.Policy, "restore a tunnel"},
		{"a newer format", protowire.AppendVarint(protowire.AppendTag(bytes.Clone(good), 2, protowire.VarintType), 99), p.B.Policy, "needs 99"},
		{"a state that does not exist", protowire.AppendVarint(protowire.AppendTag(bytes.Clone(good), 6, protowire.VarintType), 200), p.B.Policy, "state"},
		{"no connection", good, &v1test.Policy{}, "no connection"},
		{"a connection of version 2", good, &v1test.Policy{Connections: []*ike.Connection{&v2}}, "of version 1"},
		{"no child", good, &v1test.Policy{Connections: []*ike.Connection{&childless}}, "child"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := v1.Restore(p.B.Env, tt.policy, tt.snapshot, p.Now); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the error is %v, want %q in it", err, tt.says)
			}
		})
	}
}

// TestRandomSchedules: losses, copies, other orders, deaths and rekeyings, in
// sequences that a seed tells; in the end the two ends agree. Twins check every
// step.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(24) {
		dice := rand.New(rand.NewPCG(seed, 1))
		options := []v1test.Option{
			v1test.Seed(seed), v1test.Twins(v1.Resume),
			v1test.Both(func(c *ike.Connection) {
				c.Lifetime.Hard.Time, c.Children[0].Lifetime.Hard.Time = time.Hour, 20*time.Minute
				c.DPD = ike.DPD{Interval: 20 * time.Second} // or the end of aggressive mode cannot be told
			}),
		}
		if seed%2 == 0 {
			options = append(options, v1test.Aggressive())
		}
		if seed%3 == 0 {
			options = append(options, v1test.BehindNAT())
		}
		p := v1test.Establish(t, options...)
		for range 60 {
			p.Now = p.Now.Add(time.Duration(dice.IntN(50)) * time.Millisecond)
			act(p, dice)
		}
		p.Pass(5 * time.Minute)
		if p.A.Done || p.B.Done {
			t.Fatalf("seed %d: a tunnel ended: A %v, B %v", seed, p.A.Why, p.B.Why)
		}
		// A Delete that was lost is not sent again, so what one end has the other may
		// lack until its lifetime ends; what is asked for comes up all the same.
		p.Pass(25 * time.Minute)
		p.A.Do(ike.Initiate{})
		p.Pass(time.Minute)
		p.WantUp()
		if in, out := p.A.Child(); in.ID == out.ID || t.Failed() {
			t.Fatalf("seed %d: A and B do not agree", seed)
		}
	}
}

// act does something that may happen.
func act(p *v1test.Pair, dice *rand.Rand) {
	end := p.A
	if dice.IntN(2) == 0 {
		end = p.B
	}
	n := len(p.InFlight())
	switch k := dice.IntN(20); {
	case n > 0 && k < 12:
		p.NextAt(dice.IntN(min(n, 3)))
	case n > 0 && k == 12:
		p.DropAt(dice.IntN(n))
	case n > 0 && k == 13:
		p.DuplicateAt(dice.IntN(n))
	case k == 14 && p.A.Tunnel.Status(p.Now).Encap == p.B.Tunnel.Status(p.Now).Encap:
		end.Crash()
	case k == 15:
		end.Do(ike.RekeyIKE{})
	case k >= 16:
		for _, c := range end.Tunnel.Status(p.Now).Children {
			if c.State == "up" {
				end.Do(ike.RekeyChild{ID: c.In})
				return
			}
		}
	}
}
