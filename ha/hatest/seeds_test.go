package hatest_test

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergate/evergate/ha/hatest"
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
	if *seed != 0 {
		cfg := config(*seed)
		cfg.Trace = func(line string) { t.Log(line) }
		if err := hatest.New(cfg).Run(); err != nil {
			t.Errorf("Seed %d: %v.", *seed, err)
		}
		return
	}
	failed, sum := play(*seeds, config)
	t.Logf("%d runs: %+v", *seeds, sum)
	for _, f := range failed {
		t.Errorf("%s\n\tgo test ./ha/hatest -run TestSeeds -seed %d -v", f.what, f.seed)
	}
	for what, n := range map[string]uint64{"claim": sum.Claims, "contested claim": sum.Contested, "raised lease": sum.Raised, "removal": sum.Removed} {
		if n == 0 {
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
	if *seed != 0 {
		cfg := unitConfig(*seed)
		cfg.Trace = func(line string) { t.Log(line) }
		if err := hatest.New(cfg).Run(); err != nil {
			t.Errorf("Seed %d: %v.", *seed, err)
		}
		return
	}
	failed, sum := play(*seeds/2, unitConfig)
	t.Logf("%d runs: %+v", *seeds/2, sum)
	for _, f := range failed {
		t.Errorf("%s\n\tgo test ./ha/hatest -run TestUnitSeeds -seed %d -v", f.what, f.seed)
	}
}

// TestFoundSeeds repeats runs that once broke an invariant.
func TestFoundSeeds(t *testing.T) {
	// Acknowledged as taken, although the note that it was refused went down with
	// the stream that it travelled on.
	for _, seed := range []uint64{3218, 3388, 3960} {
		if err := hatest.New(unitConfig(seed)).Run(); err != nil {
			t.Errorf("Seed %d: %v.", seed, err)
		}
	}
}

type failure struct {
	seed uint64
	what string
}

// play runs seeds 1 to n and returns the first failures.
func play(n uint64, config func(uint64) hatest.Config) ([]failure, hatest.Sum) {
	var (
		next   atomic.Uint64
		mu     sync.Mutex
		failed []failure
		sum    hatest.Sum
		wg     sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for s := next.Add(1); s <= n; s = next.Add(1) {
				c := hatest.New(config(s))
				err := c.Run()
				mu.Lock()
				sum.Add(c.Sum())
				if err != nil && len(failed) < 20 {
					failed = append(failed, failure{s, fmt.Sprintf("Seed %d: %v.", s, err)})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return failed, sum
}
