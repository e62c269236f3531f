package sim_test

import (
	"flag"
	"testing"

	"github.com/evergate/evergate/core/sim"
	"github.com/evergate/evergate/ha/hatest/play"
)

// The run that failed is repeated, with a trace, by
//
//	go test ./core/sim -run TestSeeds -seed n -v
func flags() (seeds, seed *uint64) {
	return flag.Uint64("seeds", defaultSeeds, "how many runs TestSeeds plays"),
		flag.Uint64("seed", 0, "the one run that TestSeeds plays, with a trace")
}

var seeds, seed = flags()

// TestSeeds plays clusters in trouble and checks every invariant at every step:
// I1 to I9, and that all is well once nothing disturbs it.
func TestSeeds(t *testing.T) { // B1, B2, B5, B6, C17, F3, F5, F12, F23
	sum := playSeeds(t, *seeds, configOf)
	wantTold(t, map[string]uint64{
		"crash": sum.Crashes, "takeover": sum.Takeovers, "handover": sum.Handed, "tunnel that a new life went on with": sum.Resumed, "contested claim": sum.Contested, "raised lease": sum.Raised,
		"message that waited for others": sum.Promises, "synchronization of Message IDs": sum.Synced, "client that had to go on without dialing": sum.Kept,
		"packet beyond a ceiling": sum.Beyond,
	})
}

// TestIKEv1Seeds does the same with clients that speak IKEv1, with leases of
// sequence numbers and with standbys at the last one.
func TestIKEv1Seeds(t *testing.T) { // C3-C9, B1, B2, B5
	for name, dialect := range map[string]sim.Dialect{"Leases": sim.IKEv1, "MaxSeq": sim.MaxSeq} {
		t.Run(name, func(t *testing.T) {
			sum := playSeeds(t, *seeds/10, func(seed uint64) sim.Config { return ikev1Config(seed, dialect) })
			told := map[string]uint64{
				"crash": sum.Crashes, "takeover": sum.Takeovers, "handover": sum.Handed, "contested claim": sum.Contested,
				"message that waited for others": sum.Promises, "client that had to go on without dialing": sum.Kept,
			}
			if dialect == sim.IKEv1 {
				told["raised lease"] = sum.Raised
			}
			wantTold(t, told)
		})
	}
}

// configOf has every third cluster play with dataplanes of all sorts.
func configOf(seed uint64) sim.Config { return sim.Config{Seed: seed, Mixed: seed%3 == 0} }

// ikev1Config is configOf with clients that speak IKEv1.
func ikev1Config(seed uint64, dialect sim.Dialect) sim.Config {
	cfg := configOf(seed)
	cfg.Dialect = dialect
	return cfg
}

// TestFoundSeeds repeats runs that once broke an invariant.
func TestFoundSeeds(t *testing.T) { // I1, I2, I7
	for _, seed := range []uint64{
		// A member had ended a tunnel that another one had taken over, and told the
		// client so when it heard of the other already.
		2899,
		// A member went on with a tunnel that its journal knew and another one had sent
		// for and forgotten, and took the numbers that the other had used.
		2427,
		// A client forgot its rekey of the IKE SA when Message IDs were synchronized, and the
		// member waited for it on the successor.
		4599,
		// A member was barred from a pair, as its last life may have sent on that, and
		// restored an IKE SA that knows it. Before it was closed the client took it into
		// use, and the member sent from the first number.
		1195,
	} {
		if err := sim.New(configOf(seed)).Run(); err != nil {
			t.Errorf("Seed %d: %v.", seed, err)
		}
	}
	// A dataplane that was frozen did not answer for a tunnel that was handed to its
	// member, and ended. The member took the tunnel back from another one that claimed it
	// meanwhile; it never ran after that, and the next dataplane lacked its SAs.
	v1 := configOf(5295)
	v1.Dialect = sim.IKEv1
	if err := sim.New(v1).Run(); err != nil {
		t.Errorf("Seed %d with IKEv1: %v.", v1.Seed, err)
	}
}

// TestFoundIKEv1Seeds repeats runs of IKEv1 that once failed.
func TestFoundIKEv1Seeds(t *testing.T) { // B1, B2
	for _, found := range []struct {
		seed    uint64
		dialect sim.Dialect
	}{
		// The owner of a tunnel died, and with it all that it had told of its answer, so the
		// next owner gave another one: which was held against it.
		{982, sim.MaxSeq},
		// A client moved after its probe was heard and before it was answered, and asked
		// again from where it was, with the same number: the member answered all of that
		// to where it had been.
		{1390, sim.MaxSeq},
		// A member died after it had rekeyed phase 1, with all that knew of that. The next
		// one spoke on the old ISAKMP SA, which the client took for an answer to what it
		// asked on the new one.
		{33038, sim.MaxSeq},
		// Members that came back were told the last of two states that a client was waiting
		// for: which was held against it, as they lacked the first.
		{32866, sim.IKEv1},
		// A client hung up while an answer waited for others; and a member hung while one
		// waited that another member had, which died twice meanwhile.
		{37714, sim.IKEv1},
		{37454, sim.MaxSeq},
		// A client's tunnel was deleted, and a member that still had it called the client with
		// a new phase 1. The client's next try was planned before, and it dialed all the same.
		{21742, sim.IKEv1},
		// A client hung up, and a member called it. When the client was told to dial it did,
		// although it had that tunnel.
		{53004, sim.IKEv1},
		// A member took a tunnel over and ended it in its part of a divided network. In the
		// other part a new life of a member got the tunnel. It took the first one, which it
		// had never heard, for one that had begun anew, and did not ask it for numbers.
		{51390, sim.IKEv1},
	} {
		if err := sim.New(ikev1Config(found.seed, found.dialect)).Run(); err != nil {
			t.Errorf("Seed %d of dialect %d: %v.", found.seed, found.dialect, err)
		}
	}
}

// playSeeds plays n seeds, or the one that the command line names.
func playSeeds(t *testing.T, n uint64, config func(uint64) sim.Config) sim.Sum {
	t.Helper()
	return play.Seeds(t, play.Command{Package: "./core/sim", Seed: *seed}, n, func(seed uint64, trace func(string)) (sim.Sum, error) {
		cfg := config(seed)
		cfg.Trace = trace
		c := sim.New(cfg)
		err := c.Run()
		return c.Sum(), err
	})
}

// wantTold checks that many runs have shown something of everything.
func wantTold(t *testing.T, told map[string]uint64) {
	t.Helper()
	for what, n := range told {
		if n == 0 && telling && *seed == 0 {
			t.Errorf("The runs had not one %s, so they show little.", what)
		}
	}
}
