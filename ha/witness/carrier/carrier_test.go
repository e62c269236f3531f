package carrier_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/evergate/evergate/core/netlab"
	"github.com/evergate/evergate/ha/witness/carrier"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFailedInterfacesAreTold(t *testing.T) {
	lab := netlab.New(t)
	host, other := lab.Namespace("host"), lab.Namespace("other")
	two, far2 := lab.Link(host.Port("port2"), other.Port("port2"))
	lab.Link(host.Port("port3"), other.Port("port3"))

	told := make(chan []string, 16)
	var w *carrier.Watcher
	if err := host.Do(func() (err error) {
		w, err = carrier.New([]string{"port2", "port3", "port9"}, func(failed []string) { told <- failed }, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { w.Run(ctx) })
	defer run.Wait()
	defer cancel()
	want := func(when, names string) {
		t.Helper()
		select {
		case failed := <-told:
			if got := fmt.Sprint(failed); got != names {
				t.Errorf("%s %s have failed, want %s.", when, got, names)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s nothing is told.", when)
		}
	}
	want("At first", "[port9]")
	two.Down()
	want("When our end is down", "[port2 port9]")
	two.Up()
	want("When it is up again", "[port9]")
	far2.Down()
	want("When the other end is down", "[port2 port9]")
	far2.Up()
	want("When that is up again", "[port9]")
}
