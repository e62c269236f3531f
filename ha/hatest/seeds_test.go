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
