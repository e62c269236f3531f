package hatest_test

import (
	"flag"
	"testing"
	"time"

	"github.com/evergate/evergate/ha/hatest"
	"github.com/evergate/evergate/ha/hatest/play"
)

// The run that failed is repeated, with a trace, by
//
//	go test ./ha/hatest -run TestSeeds -seed n -v
func flags() (seeds, seed *uint64) {
	return flag.Uint64("seeds", defaultSeeds, "how many runs TestSeeds plays"),
		flag.Uint64("seed", 0, "the one run that TestSeeds plays, with a trace")
}

var seeds, seed = flags()

func config(seed uint64) hatest.Config {
	return hatest.Config{Seed: seed, Run: 6 * time.Second, Settle: 5 * time.Second}
}

// TestSeeds plays clusters in trouble and checks every invariant at every step:
// I1 to I9, and that all is well once nothing disturbs it.
func TestSeeds(t *testing.T) { // B1, B2, B5, F3, F5, F12, F23
	sum := playSeeds(t, *seeds, config)
	for what, n := range map[string]uint64{"claim": sum.Claims, "contested claim": sum.Contested, "raised lease": sum.Raised, "removal": sum.Removed} {
		if n == 0 && *seed == 0 {
			t.Errorf("The runs had not one %s, so they show little.", what)
		}
	}
}

// unitConfig makes one gateway of all members, or two.
func unitConfig(seed uint64) hatest.Config {
	cfg := config(seed)
	cfg.Units = 1 + int(seed%4/3) // two of one run in four
	cfg.Members = cfg.Units*2 + int(seed/4%2)
	cfg.Override = seed%8 > 4
	return cfg
}

// TestUnitSeeds does the same with members that are one gateway, or two (FGCP).
func TestUnitSeeds(t *testing.T) { // C1, C2, C7
	playSeeds(t, *seeds/2, unitConfig)
}

// TestFoundSeeds repeats runs that once broke an invariant.
func TestFoundSeeds(t *testing.T) {
	// Acknowledged as taken, although the note that it was refused went down with
	// the stream that it travelled on.
	for _, seed := range []uint64{
		3218, 3388, 3960,
		// Here the tunnel had gone meanwhile, with the peer's knowledge, which the check did
		// not see.
		20396,
	} {
		if err := hatest.New(unitConfig(seed)).Run(); err != nil {
			t.Errorf("Seed %d: %v.", seed, err)
		}
	}
	// A pair came to the new owner by way of a third member before its client used it,
	// and new keys for it could not be made yet. When it was used, its owner asked the
	// others for numbers, got them, and sent nothing: its dataplane was at the end.
	if err := hatest.New(config(4908)).Run(); err != nil {
		t.Errorf("Seed 4908: %v.", err)
	}
}

// playSeeds plays n seeds, or the one that the command line names.
func playSeeds(t *testing.T, n uint64, config func(uint64) hatest.Config) hatest.Sum {
	t.Helper()
	return play.Seeds(t, play.Command{Package: "./ha/hatest", Seed: *seed}, n, func(seed uint64, trace func(string)) (hatest.Sum, error) {
		cfg := config(seed)
		cfg.Trace = trace
		c := hatest.New(cfg)
		err := c.Run()
		return c.Sum(), err
	})
}
