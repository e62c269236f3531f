package engine

import (
	"context"
	"errors"
	"testing"
)

// TestWhoDoesNotWaitIsNotWrittenTo has callers leave before the engine has come
// to their questions: what it would write is theirs again.
func TestWhoDoesNotWaitIsNotWrittenTo(t *testing.T) {
	e := New(Options{Shards: 2, Policy: NewPolicy()})
	e.replica = &replicaRunner{in: newQueue[replicaMessage]()}
	gone, leave := context.WithCancel(t.Context())
	leave()
	written := 0
	if err := e.all(gone, nil, func(*Shard, Ready) { written++ }); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who left got %v", err)
	}
	if err := e.lookReplica(gone, func(*Replica) { written++ }); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller who left got %v", err)
	}
	for _, r := range e.shards {
		for _, m := range r.in.take() {
			e.handle(r, m)
		}
	}
	for _, m := range e.replica.in.take() {
		m.look(nil)
	}
	if written > 0 {
		t.Errorf("the engine wrote %d times to who had left", written)
	}
}
