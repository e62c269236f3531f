package main

import (
	"sync"
	"time"

	"github.com/evergate/evergate/core/engine"
)

// withheld are the routes of subordinates that route-wait leaves out for a while.
// It is safe for concurrent use.
type withheld struct {
	wait time.Duration
	add  func(...engine.Route)

	mu     sync.Mutex
	routes map[string]waitingRoute
}

type waitingRoute struct {
	route engine.Route
	timer *time.Timer
}

func newWithheld(wait time.Duration, add func(...engine.Route)) *withheld {
	return &withheld{wait: wait, add: add, routes: make(map[string]waitingRoute)}
}

func keyOf(r engine.Route) string { return owner(r) + " " + r.Prefix.String() }

// keep tells whether a route is left out for now; it is added in its time.
func (w *withheld) keep(r engine.Route) bool {
	if w.wait == 0 {
		return false // it never is
	}
	key := keyOf(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !r.Standby {
		w.forget(key)
		return false
	}
	if _, waits := w.routes[key]; !waits {
		w.routes[key] = waitingRoute{r, time.AfterFunc(w.wait, func() { w.due(key) })}
	}
	return true
}

// drop forgets a route that is not wanted any more.
func (w *withheld) drop(r engine.Route) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(keyOf(r))
}

// forget is drop. The caller holds mu.
func (w *withheld) forget(key string) {
	if waiting, ok := w.routes[key]; ok {
		waiting.timer.Stop()
		delete(w.routes, key)
	}
}

// due adds a route whose time has come.
func (w *withheld) due(key string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting, ok := w.routes[key]; ok {
		delete(w.routes, key)
		w.add(waiting.route)
	}
}

// flush adds all of them, before the packets come.
func (w *withheld) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	var routes []engine.Route
	for key, waiting := range w.routes {
		w.forget(key)
		routes = append(routes, waiting.route)
	}
	w.add(routes...)
}

// close forgets all of them.
func (w *withheld) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for key := range w.routes {
		w.forget(key)
	}
}
