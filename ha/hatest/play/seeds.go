package play

import (
	"cmp"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// Command is what the command line asks of a test that plays seeds.
type Command struct {
	// Package is the path of the test's package, for a line that repeats a run:
	//
	//	go test ./ha/hatest -run TestSeeds -seed n -v
	Package string
	// Seed is the one run that is played, with a trace; 0 plays seeds 1 and following.
	Seed uint64
}

// A Run plays the run of a seed, tells trace of whatever happens unless that is nil,
// and returns what it has played, a struct of uint64s, and the first breach of an
// invariant.
type Run[Sum any] func(seed uint64, trace func(line string)) (Sum, error)

// maxFailures is how many runs that failed a test tells of.
const maxFailures = 20

// Seeds plays n seeds, or the one that the command line names, and returns what all of
// them together have played. Each that fails fails the test.
func Seeds[Sum any](t *testing.T, cmd Command, n uint64, run Run[Sum]) Sum {
	t.Helper()
	if cmd.Seed != 0 {
		sum, err := run(cmd.Seed, func(line string) { t.Log(line) })
		if err != nil {
			t.Errorf("Seed %d: %v.", cmd.Seed, err)
		}
		return sum
	}
	failed, sum := all(n, run)
	t.Logf("%d runs: %+v", n, sum)
	for _, f := range failed {
		t.Errorf("Seed %d: %v.\n\tgo test %s -run %s -seed %d -v", f.seed, f.err, cmd.Package, t.Name(), f.seed)
	}
	return sum
}

type failure struct {
	seed uint64
	err  error
}

// all plays seeds 1 to n, as many at a time as there are processors, and returns some
// of those that failed.
func all[Sum any](n uint64, run Run[Sum]) ([]failure, Sum) {
	var (
		next   atomic.Uint64
		mu     sync.Mutex
		failed []failure
		sum    Sum
		wg     sync.WaitGroup
	)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= n; seed = next.Add(1) {
				played, err := run(seed, nil)
				mu.Lock()
				add(&sum, played)
				if err != nil && len(failed) < maxFailures {
					failed = append(failed, failure{seed, err})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(failed, func(a, b failure) int { return cmp.Compare(a.seed, b.seed) })
	return failed, sum
}

// add adds up two sums field by field.
func add[Sum any](to *Sum, from Sum) {
	dst, src := reflect.ValueOf(to).Elem(), reflect.ValueOf(from)
	for i := range dst.NumField() {
		dst.Field(i).SetUint(dst.Field(i).Uint() + src.Field(i).Uint())
	}
}
