package ike_test

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ike"
	"github.com/evergate/evergate/ike/iketest"
)

// standby makes what another member would make of B's newest snapshot.
func standby(p *iketest.Pair, member *iketest.End) *ike.Tunnel {
	p.TB.Helper()
	t, err := ike.Restore(member.Env, p.B.Policy, p.B.Snapshot, p.Now)
	if err != nil {
		p.TB.Fatalf("%s's tunnel does not come back: %v", p.B.Name, err)
	}
	return t
}

func TestStandbyIsSilent(t *testing.T) {
	p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
		c.DPD = ike.DPD{Interval: time.Second, Retries: 1}
		c.Lifetime.Hard.Time = time.Minute
		c.Children[0].Lifetime.Hard.Time = time.Minute
	}))
	s := standby(p, p.B)
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
	} {
		if r := s.Step(p.Now.Add(time.Hour), in); len(r.Send)+len(r.Install)+len(r.Remove) > 0 || r.Done {
			t.Errorf("a standby answers %T with %+v, want silence", in, r)
		}
	}
}

// TestTakeover: the standby knows all that the owner published, before the peer
// knew it. It answers a repeated request as the owner did, octet by octet.
func TestTakeover(t *testing.T) { // B2, F5
	for _, suite := range []string{"aes128-sha256", "aes128gcm-prfsha256"} {
		t.Run(suite, func(t *testing.T) {
			p := iketest.Establish(t, iketest.Suite(suite, "aes128gcm", 31))
			rekeyChild(p.A)
			request := p.InFlight()[0].Datagram
			request.Payload = bytes.Clone(request.Payload)
			p.Next()
			answer := p.Hold()[0] // B dies with the answer on its way
			installed, pub := len(p.B.Installed), p.B.Snapshot

			s, err := ike.Restore(p.B.Env, p.B.Policy, pub, p.Now)
			if err != nil {
				t.Fatal(err)
			}
			p.B.Demux.Forget(p.B.Tunnel)
			p.B.Tunnel = s
			p.B.Demux.Adopt(s)
			p.B.Do(ike.Takeover{})
			p.Release([]iketest.Flight{{To: p.B, Datagram: request}})
			p.Next()
			again := p.InFlight()
			if len(again) != 1 || !bytes.Equal(again[0].Datagram.Payload, answer.Datagram.Payload) {
				t.Fatal("the new owner does not repeat the answer of the old one, octet by octet")
			}
			if len(p.B.Installed) != installed {
				t.Errorf("the takeover changed the SAs from %d to %d", installed, len(p.B.Installed))
			}
			p.Deliver()
			p.WantPairs(1)
			rekeyChild(p.B)
			p.Pass(time.Minute)
			p.WantPairs(1)
			p.A.Do(ike.RekeyIKE{})
			p.Pass(time.Minute)
			p.WantSameIKE()
		})
	}
}

// TestNoIVTwice: owners that know nothing of each other's last messages never
// use an IV twice with the same keys.
func TestNoIVTwice(t *testing.T) { // B1
	p := iketest.Establish(t, iketest.Suite("aes256gcm-prfsha384", "aes128gcm", 31))
	published := p.B.Snapshot
	seen := make(map[string]bool)
	say := func(owner *ike.Tunnel) {
		t.Helper()
		for _, d := range owner.Step(p.Now, ike.RekeyIKE{}).Send {
			iv := hex.EncodeToString(d.Payload[32:40])
			if seen[iv] {
				t.Errorf("the IV %s was used twice", iv)
			}
			seen[iv] = true
		}
	}
	say(p.B.Tunnel) // nobody hears of it
	for member := range 3 {
		env := p.B.Env
		env.Member = 4
		if member == 2 {
			env.Member = 5
		}
		env.Boot = uint32(member)
		s, err := ike.Restore(env, p.B.Policy, published, p.Now)
		if err != nil {
			t.Fatal(err)
		}
		s.Step(p.Now, ike.Takeover{})
		say(s)
	}
	if len(seen) != 4 {
		t.Errorf("%d messages were sealed, want 4", len(seen))
	}
}

func TestRestoreRefuses(t *testing.T) {
	p := iketest.Establish(t)
	good := p.B.Snapshot
	for _, tt := range []struct {
		name     string
		snapshot []byte
		policy   *iketest.Policy
		says     string
	}{
		{"nothing", nil, p.B.Policy, "version 0"},
		{"noise", []byte("\xff\xff\xff"), p.B.Policy, "restore a tunnel"},
		{"a newer format", protowire.AppendVarint(protowire.AppendTag(bytes.Clone(good), 2, protowire.VarintType), 99), p.B.Policy, "needs 99"},
		{"another configuration", good, &iketest.Policy{}, `no connection "b"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ike.Restore(p.B.Env, tt.policy, tt.snapshot, p.Now)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", err, tt.says)
			}
		})
	}
	for n := range good {
		if _, err := ike.Restore(p.B.Env, p.B.Policy, good[:n], p.Now); err == nil && n < 20 {
			t.Errorf("the first %d octets of a snapshot make a tunnel", n)
		}
	}
}

// TestNewerFieldsSurvive: a member of an older version hands on what it does not
// know.
func TestNewerFieldsSurvive(t *testing.T) {
	p := iketest.Establish(t)
	newer := protowire.AppendString(protowire.AppendTag(bytes.Clone(p.B.Snapshot), 999, protowire.BytesType), "of tomorrow")
	s, err := ike.Restore(p.B.Env, p.B.Policy, newer, p.Now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(s.Snapshot(p.Now), []byte("of tomorrow")) {
		t.Error("a field of a newer version got lost on the way through this one")
	}
}

// TestAgesTravel: clocks differ, so a snapshot has ages.
func TestAgesTravel(t *testing.T) { // B3
	p := iketest.Establish(t, iketest.Both(func(c *ike.Connection) {
		c.Lifetime.Hard.Time = time.Hour
		c.Children[0].Lifetime.Hard.Time = 30 * time.Minute
	}))
	p.Pass(10 * time.Minute)
	elsewhere := p.Now.Add(-77 * time.Hour)
	s, err := ike.Restore(p.B.Env, p.B.Policy, p.B.Tunnel.Snapshot(p.Now), elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	here, there := p.B.Tunnel.Status(p.Now), s.Status(elsewhere)
	if there.Age != here.Age || there.Hard != here.Hard || there.Children[0].Age != here.Children[0].Age || there.Children[0].Soft != here.Children[0].Soft {
		t.Errorf("restored elsewhere the tunnel has ages %v, %v and limits %v, %v; it had %v, %v, %v, %v",
			there.Age, there.Children[0].Age, there.Hard, there.Children[0].Soft, here.Age, here.Children[0].Age, here.Hard, here.Children[0].Soft)
	}
	if sa := s.SAs(elsewhere)[0]; sa.Lifetime.Age != 10*time.Minute {
		t.Errorf("the SA is %v old, want 10 minutes", sa.Lifetime.Age)
	}
}

func TestTakeoverFromAnOldSnapshotUsesNoIVAgain(t *testing.T) { // B1
	p := iketest.Establish(t, iketest.Suite("aes128gcm-prfsha256", "aes128gcm", 31))
	old := p.B.Snapshot
	env := p.B.Env
	counts := make(map[ipsec.TunnelID]uint32)
	env.Takeovers = func(id ipsec.TunnelID, seen uint32) uint32 {
		counts[id] = max(counts[id], seen) + 1
		return counts[id]
	}
	const afterSK = 28 + 4 // header and the SK payload's own
	ivs := make(map[string]int)
	for i := range 3 {
		s, err := ike.Restore(env, p.B.Policy, old, p.Now)
		if err != nil {
			t.Fatal(err)
		}
		s.Step(p.Now, ike.Takeover{})
		for _, d := range s.Step(p.Now, ike.RekeyIKE{}).Send {
			iv := string(d.Payload[afterSK : afterSK+8])
			if before, twice := ivs[iv]; twice {
				t.Errorf("takeovers %d and %d from one snapshot seal with the IV %x", before, i, iv)
			}
			ivs[iv] = i
		}
	}
	if len(ivs) < 3 {
		t.Errorf("three takeovers sealed %d messages", len(ivs))
	}
}
