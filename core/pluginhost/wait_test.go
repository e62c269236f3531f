package pluginhost

import (
	"testing"
	"testing/synctest"
	"time"
)

// A call that comes before Run has begun waits for the very first start as long
// as that takes.
func TestCallBeforeTheFirstStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Host{config: Config{WaitTimeout: 5 * time.Second}, changed: make(chan struct{}), status: Status{State: Stopped}}
		started := new(process)
		got := make(chan error, 1)
		go func() {
			p, err := h.plane(t.Context(), "info")
			if err == nil && p != started {
				t.Error("The call got another process than the one that was started.")
			}
			got <- err
		}()
		synctest.Wait()
		h.report(func(s *Status) { s.State = Starting })
		<-time.After(12 * time.Second)
		h.setCurrent(started)
		if err := <-got; err != nil {
			t.Errorf("The call gave up during a start of 12 s: %v.", err)
		}
	})
}
