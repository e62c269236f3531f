package softesp

import (
	"sync"
	"time"

	"github.com/evergate/evergate/core/ipsec"
)

// KeepCalling has the second goroutine of each queue and direction look for packets all
// the time, as under a load that one cannot carry, until stop is called.
func (e *Engine) KeepCalling() (stop func()) {
	done := make(chan struct{})
	var calling sync.WaitGroup
	calling.Go(func() {
		often := time.NewTicker(50 * time.Microsecond)
		defer often.Stop()
		for {
			select {
			case <-done:
				return
			case <-often.C:
				e.callSeconds()
			}
		}
	})
	return func() {
		close(done)
		calling.Wait()
	}
}

// callSeconds leaves it when a control call runs, which may end the goroutines.
func (e *Engine) callSeconds() {
	if !e.mu.TryLock() {
		return
	}
	defer e.mu.Unlock()
	if e.network == nil {
		return
	}
	for i := range e.network.txMore {
		e.network.tx[i].call()
		e.network.rx[i].call()
	}
}

// CarriedByBoth tells whether both goroutines of a queue have carried packets of an SA.
func (e *Engine) CarriedByBoth(id ipsec.SAID) bool {
	e.names.RLock()
	defer e.names.RUnlock()
	var by [asRelay]bool
	for c := e.sas[id].ciphers.Load(); c != nil; c = c.next {
		by[c.user.role] = true
	}
	return by[asFirst] && by[asSecond]
}
