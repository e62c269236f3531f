package softesp_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/evergate/evergate/offload"
	"github.com/evergate/evergate/plugins/softesp"
)

// eventLog collects the events of an engine until the test ends.
type eventLog struct {
	t    *testing.T
	next chan offload.Event
	// past are the events that were read and not what was looked for.
	past []offload.Event
}

// watch starts to collect.
func watch(t *testing.T, e *softesp.Engine) *eventLog {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &eventLog{t: t, next: make(chan offload.Event, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ev, err := range e.Events(ctx) {
			if err != nil {
				return
			}
			l.next <- ev
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return l
}

// want waits for the event of type E that the condition holds for.
func want[E offload.Event](l *eventLog, what string, is func(E) bool) E {
	l.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case ev := <-l.next:
			if e, ok := ev.(E); ok && is(e) {
				return e
			}
			l.past = append(l.past, ev)
		case <-deadline:
			l.t.Fatalf("This event should have come: %s. Others were: %s.", what, fmt.Sprint(l.past))
		}
	}
}

// none fails for an event of type E that is there already. Whoever calls it has
// waited for what would cause it.
func none[E offload.Event](l *eventLog, why string) {
	l.t.Helper()
	for {
		select {
		case ev := <-l.next:
			l.past = append(l.past, ev)
		default:
			for _, ev := range l.past {
				if e, ok := ev.(E); ok {
					l.t.Errorf("%s, but this event came: %+v.", why, e)
				}
			}
			return
		}
	}
}

func anyOf[E offload.Event](E) bool { return true }
