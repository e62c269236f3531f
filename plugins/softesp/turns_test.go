package softesp

import (
	"runtime"
	"sync"
	"testing"

	"github.com/evergate/evergate/plugins/softesp/device"
)

// TestBatchesAreGivenAwayAsTheyWereTaken by two goroutines, of which now the one is
// quicker and now the other.
func TestBatchesAreGivenAwayAsTheyWereTaken(t *testing.T) {
	const batches = 20_000
	var order turns
	order.pair(nil)
	next := 0
	var given []int // nothing but its turn guards it
	carry := func(delay int) bool {
		b := turn{turns: &order}
		b.in.Lock()
		b.begin()
		mine := next
		if mine < batches {
			next++
			b.took(true)
		}
		b.in.Unlock()
		if mine == batches {
			return false
		}
		for range mine % delay {
			runtime.Gosched()
		}
		b.wait()
		given = append(given, mine)
		b.end()
		return true
	}
	var both sync.WaitGroup
	for _, delay := range []int{5, 7} {
		both.Go(func() {
			for carry(delay) {
			}
		})
	}
	both.Wait()
	if len(given) != batches {
		t.Fatalf("%d batches should be given away, got %d.", batches, len(given))
	}
	for i, n := range given {
		if n != i {
			t.Fatalf("Batch %d was given away as number %d.", n, i)
		}
	}
}

// TestTheSecondIsCalledForLastingLoad: one full batch is a burst.
func TestTheSecondIsCalledForLastingLoad(t *testing.T) {
	var order turns
	wake, err := device.NewWake()
	if err != nil {
		t.Fatalf("There is no wake: %v.", err)
	}
	defer wake.Close()
	order.pair(wake)
	order.resting.Store(true)
	b := turn{turns: &order}
	take := func(full bool) bool {
		b.begin()
		defer b.end()
		return b.took(full)
	}
	for i, full := range []bool{true, false, true} {
		if take(full) {
			t.Errorf("Batch %d is no reason to call the second goroutine.", i)
		}
	}
	if !take(true) {
		t.Error("Two full batches in a row are more than one goroutine can do.")
	}
	if !order.alone() {
		t.Error("The second goroutine should rest until it is called.")
	}
	order.call()
	if order.alone() || take(true) {
		t.Error("The second goroutine should be at work, and not be called again.")
	}
}
