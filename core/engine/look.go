package engine

import "sync"

// look lets goroutines of the engine write to what belongs to a caller, for as
// long as the caller waits for it.
type look struct {
	mu   sync.Mutex
	gone bool
}

// do calls f, unless the caller has left; no two calls at once.
func (l *look) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.gone {
		f()
	}
}

// leave returns when no call is under way, and none comes any more.
func (l *look) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
}
