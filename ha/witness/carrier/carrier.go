// Package carrier watches whether network interfaces can carry packets: they are
// there, up, and have a carrier.
package carrier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lookEvery is how often the interfaces are looked at beside what netlink tells:
// it may have lost something.
const lookEvery = time.Second

// Watcher watches interfaces of the network namespace in which it was made.
type Watcher struct {
	names   []string
	nl      *netlink.Handle
	updates chan netlink.LinkUpdate
	done    chan struct{} // ends the subscription
	tell    func(failed []string)
	log     *slog.Logger
}

// New subscribes to the kernel's news. tell hears, from Run's goroutine, which of
// the interfaces cannot carry packets, in the order of names: once at first, and
// then when that changes. A nil log discards.
func New(names []string, tell func(failed []string), log *slog.Logger) (*Watcher, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("carrier: open netlink: %w", err)
	}
	w := &Watcher{names: names, nl: nl, tell: tell, log: log, updates: make(chan netlink.LinkUpdate, 64), done: make(chan struct{})}
	if err := netlink.LinkSubscribe(w.updates, w.done); err != nil {
		nl.Close()
		return nil, fmt.Errorf("carrier: subscribe to changes of interfaces: %w", err)
	}
	return w, nil
}

// Run watches until ctx ends. Run once. Where the kernel does not answer, what was
// told last holds.
func (w *Watcher) Run(ctx context.Context) {
	defer w.close()
	var failed []string
	for told := false; ; {
		now, err := w.failed()
		switch {
		case err != nil:
			w.log.Error("monitored interfaces were not looked at", "error", err)
		case !told || !slices.Equal(now, failed):
			failed, told = now, true
			w.tell(slices.Clone(failed))
		}
		timer := time.NewTimer(lookEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case _, ok := <-w.updates:
			if !ok {
				w.updates = nil // the subscription broke; the timer goes on
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// close ends the subscription, whose goroutine may have something to tell still.
func (w *Watcher) close() {
	close(w.done)
	if w.updates != nil {
		for range w.updates {
		}
	}
	w.nl.Close()
}

// failed lists the interfaces that cannot carry packets.
func (w *Watcher) failed() ([]string, error) {
	var failed []string
	for _, name := range w.names {
		link, err := w.nl.LinkByName(name)
		_, none := errors.AsType[netlink.LinkNotFoundError](err)
		switch {
		case none || err == nil && !carries(link):
			failed = append(failed, name)
		case err != nil:
			return nil, fmt.Errorf("look at interface %s: %w", name, err)
		}
	}
	return failed, nil
}

// carries tells whether an interface is up, and its other end there.
func carries(l netlink.Link) bool {
	const works = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	return l.Attrs().RawFlags&works == works
}
