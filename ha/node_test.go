package ha_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
)

// group is some members whose frames arrive at once, until they are told not to.
type group struct {
	t     *testing.T
	now   time.Time
	nodes map[ipsec.MemberID]*ha.Node
	rd    map[ipsec.MemberID][]ha.Ready // what was asked for since last taken
	deaf  ha.Members                    // frames to them are lost
	lose  func(ha.Frame) bool           // which others are lost, too
	busy  ha.Members                    // their dataplanes answer later
	refer func(ipsec.MemberID) []ipsec.SAID
	// bulk: an audit, which goes through everything, waits until very many steps are over.
	bulk bool
}

func gather(t *testing.T, members int, change ...func(*ha.Config)) *group {
	t.Helper()
	g := &group{
		t: t, now: time.Unix(1000, 0), nodes: make(map[ipsec.MemberID]*ha.Node), rd: make(map[ipsec.MemberID][]ha.Ready),
		refer: func(ipsec.MemberID) []ipsec.SAID { return nil },
	}
	for i := range members {
		cfg := ha.Config{Member: ipsec.MemberID(i), NewDisk: ha.DiskID(i + 1)}
		for j := range members {
			cfg.Members = cfg.Members.With(ipsec.MemberID(j))
		}
		for _, c := range change {
			c(&cfg)
		}
		n, err := ha.New(cfg, ha.HardState{})
		if err != nil {
			t.Fatalf("Member %d was not made: %v.", i, err)
		}
		g.nodes[cfg.Member] = n
	}
	for i := range members {
		g.step(ipsec.MemberID(i), ha.Configure{Classes: map[string]uint64{"dialup": 1}})
	}
	g.pass(time.Second)
	for i := range members {
		if g.nodes[ipsec.MemberID(i)].Role() != ha.Standby {
			t.Fatalf("Member %d did not become standby.", i)
		}
	}
	return g
}

// step steps a member and delivers what it sends, and carries out what it orders.
func (g *group) step(m ipsec.MemberID, in ha.Input) ha.Ready {
	rd := g.nodes[m].Step(g.now, in)
	g.rd[m] = append(g.rd[m], rd)
	if !g.bulk {
		g.audit(m)
	}
	if len(rd.Orders) > 0 && !g.busy.Has(m) {
		g.step(m, ha.Carried{Serial: rd.Serial, Refused: g.refer(m)})
	}
	for _, f := range rd.Send {
		if !g.deaf.Has(f.To) && !g.deaf.Has(f.From) && (g.lose == nil || !g.lose(f)) {
			g.step(f.To, ha.Received{Frame: f})
		}
	}
	return rd
}

func (g *group) audit(m ipsec.MemberID) {
	g.t.Helper()
	if err := g.nodes[m].Audit(); err != nil {
		g.t.Fatalf("Member %d: %v.", m, err)
	}
}

// pass lets time go by.
func (g *group) pass(d time.Duration) {
	for end := g.now.Add(d); g.now.Before(end); g.now = g.now.Add(10 * time.Millisecond) {
		for i := range len(g.nodes) {
			g.step(ipsec.MemberID(i), ha.Timeout{})
		}
	}
}

// take returns what a member was asked to do since the last time.
func (g *group) take(m ipsec.MemberID) []ha.Ready {
	rd := g.rd[m]
	g.rd[m] = nil
	return rd
}

const tunnel ipsec.TunnelID = 0x77

func pair() (in, out ipsec.SA) {
	in = ipsec.SA{
		ID:        ipsec.SAID{SPI: 0x1000, Dst: netip.MustParseAddr("192.0.2.1"), Proto: ipsec.ESP},
		Direction: ipsec.Inbound, Tunnel: tunnel, Generation: 1, Encryption: ipsec.NewKey([]byte("secret")),
	}
	out = in
	out.ID, out.Direction = ipsec.SAID{SPI: 0x2000, Dst: netip.MustParseAddr("198.51.100.1"), Proto: ipsec.ESP}, ipsec.Outbound
	in.Pair, out.Pair = out.ID.SPI, in.ID.SPI
	out.Sequence = ipsec.Sequence{Next: 1, Ceiling: ipsec.LeaseSize}
	return in, out
}

// establish makes member 0 own a tunnel with one pair.
func (g *group) establish() {
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 1"))}, Heard: true})
	in, out := pair()
	g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
	for i := range len(g.nodes) {
		g.take(ipsec.MemberID(i))
	}
}

func (g *group) state(m ipsec.MemberID) string {
	st, _ := g.nodes[m].Tunnel(tunnel)
	return string(st.IKE.State.Reveal())
}

func committed(rds []ha.Ready) (last ha.Index, unprotected int) {
	for _, rd := range rds {
		last = max(last, rd.Commit)
		unprotected += rd.Unprotected
	}
	return last, unprotected
}

func TestStandbyIsInstalledBeforeThePeerIsAnswered(t *testing.T) { // F2, B2, C8, C9
	g := gather(t, 3, func(cfg *ha.Config) { cfg.AckTimeout = time.Minute })
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 1"))}})
	in, out := pair()
	g.deaf = ha.MembersOf(1, 2)
	g.take(0)
	rd := g.step(0, ha.StoreChild{Tunnel: tunnel, In: in, Out: out})
	if last, _ := committed(g.take(0)); last >= rd.Index {
		t.Error("The peer may be answered before any standby has the SAs.")
	}
	g.deaf = 0
	g.pass(500 * time.Millisecond)
	if last, unprotected := committed(g.take(0)); last < rd.Index || unprotected != 0 {
		t.Errorf("Record %d was committed up to %d with %d unprotected.", rd.Index, last, unprotected)
	}
	var installed bool
	for _, rd := range g.take(1) {
		for _, o := range rd.Orders {
			for _, sa := range o.SAs {
				installed = true
				if sa.Sender != 1 || sa.Group != 0 {
					t.Errorf("Member 1 installs an SA of group %d that sends as %d.", sa.Group, sa.Sender)
				}
				if sa.Direction == ipsec.Outbound && sa.Sequence.Next != 0x10000001 {
					t.Errorf("The standby would start with %#x, not 0x10000001.", sa.Sequence.Next) // F21
				}
			}
		}
	}
	if !installed {
		t.Error("Member 1 was not asked to install anything.")
	}
}

func TestNobodyThereIsCountedAsUnprotected(t *testing.T) { // B7
	g := gather(t, 2)
	g.deaf = ha.MembersOf(1)
	g.pass(time.Second)
	g.take(0)
	rd := g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 1"))}})
	if last, unprotected := committed(g.take(0)); last < rd.Index || unprotected != 1 {
		t.Errorf("Alone, record %d was committed up to %d with %d unprotected.", rd.Index, last, unprotected)
	}
}

func TestAckTimeoutReleasesAndIsCounted(t *testing.T) {
	g := gather(t, 2)
	g.deaf = ha.MembersOf(1)
	g.take(0)
	rd := g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 1"))}})
	if last, _ := committed(g.take(0)); last >= rd.Index {
		t.Error("The record was committed at once.")
	}
	g.pass(70 * time.Millisecond)
	if last, unprotected := committed(g.take(0)); last < rd.Index || unprotected != 1 {
		t.Errorf("After the timeout record %d was committed up to %d with %d unprotected.", rd.Index, last, unprotected)
	}
}

func TestCeilingRisesWhenEveryHolderGrants(t *testing.T) { // B1
	g := gather(t, 3)
	g.establish()
	_, out := pair()
	raised := func() (ceiling uint64) {
		for _, rd := range g.take(0) {
			for _, o := range rd.Orders {
				for _, ch := range o.Changes {
					if ch.ID == out.ID && ch.Sequence != nil {
						ceiling = ch.Sequence.Ceiling
					}
				}
			}
		}
		return ceiling
	}
	g.deaf = ha.MembersOf(2)
	g.step(0, ha.LeaseLow{SA: out.ID})
	if c := raised(); c != 0 {
		t.Fatalf("The ceiling rose to %#x although member 2 has not granted.", c)
	}
	g.deaf = 0
	g.pass(time.Second)
	if c := raised(); c != 2*ipsec.LeaseSize {
		t.Errorf("The ceiling rose to %#x once all had granted, want %#x.", c, uint64(2*ipsec.LeaseSize))
	}
}

func TestHolderAwayMeansNewKeys(t *testing.T) { // B1
	g := gather(t, 3)
	g.establish()
	in, out := pair()
	g.deaf = ha.MembersOf(2)
	g.pass(time.Second)
	g.take(0)
	g.step(0, ha.LeaseLow{SA: out.ID})
	for _, rd := range g.take(0) {
		for _, r := range rd.Rekey {
			if r.Child == in.ID && r.Why == ha.HolderAway {
				return
			}
		}
	}
	t.Error("Member 2 is dead and holds the SA, but nobody asked for new keys.")
}

func TestOtherConfigurationIsNotInstalled(t *testing.T) { // F6, F10, F22, B7
	for what, classes := range map[string]map[string]uint64{"without the phase 1": {}, "with another one": {"dialup": 2}} {
		g := gather(t, 3)
		g.step(2, ha.Configure{Classes: classes})
		g.pass(time.Second)
		g.establish()
		g.pass(time.Second)
		if g.state(1) != "ike 1" {
			t.Errorf("Member 1 does not have the tunnel.")
		}
		if _, ok := g.nodes[2].Tunnel(tunnel); ok {
			t.Errorf("Member 2, %s, has the tunnel.", what)
		}
		if p := g.nodes[2].Peers()[0]; len(classes) > 0 && p.DriftedClass != 1 {
			t.Errorf("Member 2, %s, shows %d phase 1s that differ.", what, p.DriftedClass)
		}
	}
}

func TestRefusedByTheDataplaneIsSaid(t *testing.T) { // B7
	g := gather(t, 2)
	in, _ := pair()
	g.refer = func(m ipsec.MemberID) []ipsec.SAID {
		if m == 1 {
			return []ipsec.SAID{in.ID}
		}
		return nil
	}
	g.establish()
	g.pass(200 * time.Millisecond)
	if st, _ := g.nodes[0].Tunnel(tunnel); !st.Unheld.Has(1) {
		t.Error("Member 0 does not know that member 1 cannot hold its tunnel.")
	}
	if st, _ := g.nodes[1].Tunnel(tunnel); st.Unsynced != ha.PlaneRefused || st.Complete {
		t.Errorf("Member 1 shows %+v.", st.Unsynced)
	}
}

func TestClaimGetsTheNewerCopy(t *testing.T) { // B2
	g := gather(t, 3)
	g.establish()
	g.deaf = ha.MembersOf(1)
	g.step(0, ha.StoreIKE{Tunnel: tunnel, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte("ike 2"))}})
	g.deaf = ha.MembersOf(0) // it dies; only member 2 has what it last said
	g.pass(time.Second)
	if g.state(1) != "ike 1" || g.state(2) != "ike 2" {
		t.Fatalf("The survivors have %q and %q.", g.state(1), g.state(2))
	}
	g.take(1)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	g.pass(100 * time.Millisecond)
	var got []string
	for _, rd := range g.take(1) {
		for _, r := range rd.Restore {
			got = append(got, string(r.IKE.State.Reveal()))
		}
	}
	if len(got) != 1 || got[0] != "ike 2" {
		t.Errorf("Member 1 brings %q to life.", got)
	}
}

func TestCheckpointsReachTheStandby(t *testing.T) { // B3, I9
	g := gather(t, 2)
	g.establish()
	in, _ := pair()
	g.step(0, ha.Count{SAs: []ha.Counted{{ID: in.ID, Sequence: ipsec.Sequence{Highest: 99, Bitmap: []byte{0xff}}}}})
	g.pass(2 * time.Second)
	for _, rd := range g.take(1) {
		for _, o := range rd.Orders {
			for _, ch := range o.Changes {
				if ch.ID == in.ID && ch.Sequence != nil && ch.Sequence.Highest == 99 {
					return
				}
			}
		}
	}
	t.Error("The standby's dataplane never heard of the checkpoint.")
}

// TestCheckpointsThatSayNothingNewAreNotRepeated: with very many tunnels they
// would be most of what members tell each other.
func TestCheckpointsThatSayNothingNewAreNotRepeated(t *testing.T) { // B3, I9
	g := gather(t, 2)
	g.establish()
	in, _ := pair()
	checkpoints := func(highest uint64) (n int) {
		g.take(1)
		g.step(0, ha.Count{SAs: []ha.Counted{{ID: in.ID, Sequence: ipsec.Sequence{Highest: highest, Bitmap: []byte{0xff}}}}})
		g.pass(2 * time.Second)
		for _, rd := range g.take(1) {
			for _, o := range rd.Orders {
				for _, ch := range o.Changes {
					if ch.ID == in.ID && ch.Sequence != nil && ch.Sequence.Highest == highest {
						n++
					}
				}
			}
		}
		return n
	}
	if n := checkpoints(99); n == 0 {
		t.Error("The standby's dataplane never heard of the first checkpoint.")
	}
	if n := checkpoints(99); n != 0 {
		t.Errorf("The standby's dataplane heard %d times of a checkpoint that it has.", n)
	}
	if n := checkpoints(100); n == 0 {
		t.Error("The standby's dataplane never heard of the next checkpoint.")
	}
	g.deaf = ha.MembersOf(1)
	g.step(0, ha.Count{SAs: []ha.Counted{{ID: in.ID, Sequence: ipsec.Sequence{Highest: 101, Bitmap: []byte{0xff}}}}})
	g.pass(2 * time.Second)
	g.deaf = 0
	g.pass(2 * time.Second)
	if n := checkpoints(101); n == 0 {
		t.Error("The standby's dataplane never heard of the checkpoint that was made while it was away.")
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) { // F13
	for what, c := range map[string]struct {
		cfg  ha.Config
		hard ha.HardState
	}{
		"member 16":       {ha.Config{Member: 16, NewDisk: 1}, ha.HardState{}},
		"no disk":         {ha.Config{}, ha.HardState{}},
		"a lease of ten":  {ha.Config{NewDisk: 1, Lease: 10}, ha.HardState{}},
		"negative time":   {ha.Config{NewDisk: 1, Heartbeat: -1}, ha.HardState{}},
		"too many lives":  {ha.Config{}, ha.HardState{Disk: 1, Life: 1<<32 - 1}},
		"too many epochs": {ha.Config{}, ha.HardState{Disk: 1, Count: 1 << 60}},
	} {
		if _, err := ha.New(c.cfg, c.hard); err == nil {
			t.Errorf("A node with %s was made.", what)
		}
	}
}

// Whatever a member says, the machine stands.
func FuzzRecordsOfAnybody(f *testing.F) {
	f.Add(uint8(1), uint64(1), uint64(17), uint64(3), uint64(9))
	f.Fuzz(func(t *testing.T, kind uint8, id, epoch, a, b uint64) {
		g := gather(t, 2)
		g.establish()
		in, out := pair()
		v := ha.Version{Epoch: ha.Epoch(epoch), Change: a}
		tid := ipsec.TunnelID(id)
		records := []ha.Record{
			ha.PutIKE{Tunnel: tid, Version: v, Children: []ha.Bound{{Child: in.ID, Bound: b}}, IKE: ha.IKE{Class: "dialup", State: ipsec.NewKey([]byte{1})}},
			ha.PutChild{Tunnel: tid, Version: v, Child: ha.Child{In: in, Out: out, Bound: b}},
			ha.Claim{Tunnel: tid, From: ha.Version{Change: b}, Version: v, Children: []ha.Bound{{Child: in.ID, Bound: b}}},
			ha.Owned{Tunnel: tid, Epoch: ha.Epoch(epoch)},
			ha.Remove{Tunnel: tid, Epoch: ha.Epoch(epoch)},
			ha.Supply{Tunnel: tid, Version: v, Children: []ha.Child{{In: in, Out: out, Bound: b}}},
			ha.Propose{Tunnel: tid, Epoch: ha.Epoch(epoch), Child: in.ID, From: a, To: b},
			ha.Grant{Tunnel: tid, Epoch: ha.Epoch(epoch), Child: in.ID, To: b},
			ha.Refuse{Tunnel: tid, Child: in.ID, Bound: b},
			ha.DropChild{Tunnel: tid, Version: v, Child: in.ID},
			ha.Want{Round: a, Buckets: b},
			ha.Listing{Bucket: uint8(a)},
			ha.Need{Tunnel: tid},
			ha.Unheld{Tunnel: tid},
			ha.Handoff{Tunnel: tid, Epoch: ha.Epoch(epoch)},
			ha.Taken{Tunnel: tid, Epoch: ha.Epoch(epoch)},
			ha.Address{Tunnel: tid, Version: v},
			ha.Synced{Round: a},
			ha.Unknown{},
		}
		r := records[int(kind)%len(records)]
		for stream, first := range []uint64{1, 1, 2} {
			g.step(0, ha.Received{Frame: ha.Frame{
				Protocol: 1, From: 1, To: 0, Life: 1, ToLife: 1, Disk: 2, ToDisk: 1, Stream: uint64(5 + stream/2), First: first,
				Records: []ha.Record{ha.Hello{Classes: map[string]uint64{"dialup": 1}}, r, r}, Ack: ha.Ack{Stream: a, Seq: b},
			}})
		}
		g.pass(300 * time.Millisecond)
		_ = fmt.Sprint(g.nodes[0].Peers(), g.nodes[0].Tunnels())
	})
}

// TestOwnerGoesAboveWhatAnArmedStandbySent: member 1 has missed the owner's
// heartbeats, and its dataplane has started the tunnel in the moment before it
// heard it again. The peer's replay window is at member 1's numbers then.
func TestOwnerGoesAboveWhatAnArmedStandbySent(t *testing.T) { // B5, I2
	g := gather(t, 2)
	g.establish()
	_, out := pair()
	g.deaf = ha.MembersOf(1)
	g.pass(300 * time.Millisecond)
	g.deaf = 0
	g.pass(500 * time.Millisecond)
	g.take(0)
	g.step(1, ha.Activated{Tunnel: tunnel, Group: 0})
	g.pass(100 * time.Millisecond)
	var next uint64
	for _, rd := range g.take(0) {
		for _, o := range rd.Orders {
			for _, c := range o.Changes {
				if c.ID == out.ID && c.Sequence != nil {
					next = max(next, c.Sequence.Next)
				}
			}
		}
	}
	if next <= 2*ipsec.LeaseSize {
		t.Errorf("The owner should go on above %#x, which member 1 may have sent up to, got %#x.", 2*ipsec.LeaseSize, next)
	}
	if st, _ := g.nodes[0].Tunnel(tunnel); !st.Owned {
		t.Error("The owner lives, and should keep the tunnel.")
	}
}
