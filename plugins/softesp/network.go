package softesp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/evergate/evergate/plugins/softesp/device"
)

// network is what one configuration opened: the TUN device, the sockets and the
// goroutines that use them. Addresses change in place; for anything else it is
// closed and made again.
type network struct {
	e   *Engine
	tun *device.TUN
	// tx and rx are the first goroutines of each queue, txMore and rxMore the second
	// ones: none where there is no processor for them.
	tx, txMore []*transmitter
	rx, rxMore []*receiver
	ike        atomic.Pointer[ikeBridge]
	stop       chan struct{}
	tasks      sync.WaitGroup
	// reports goes from the receivers to Engine.learn.
	reports chan pathReport
	// routes tells Engine.survey about first hops.
	routes *device.Routes
	// broken: the TUN device is gone.
	broken atomic.Bool
	// addresses are the local addresses with sockets.
	addresses []netip.Addr
}

// worker is the part of a goroutine that others need. batch is held from where
// the goroutine looks at SAs until the packets are sent, so who takes it once
// has waited for the batch under way.
type worker struct {
	batch   sync.Mutex
	stop    atomic.Bool
	wake    *device.Wake
	sockets atomic.Pointer[socketSet]
}

// socketSet are the sockets of one queue. It is replaced, not changed.
type socketSet struct {
	// bySlot has the sockets of each local address at its path.slot.
	bySlot []localSockets
	// all are those to read from.
	all []*device.Socket
}

// localSockets are those of one local address: by kind, and by whether packets
// leave whole or may be fragmented.
type localSockets struct {
	addr netip.Addr
	by   [2][2]*device.Socket
}

// find returns the socket for a path, nil when its local address has none.
func (s *socketSet) find(p *path, whole bool) *device.Socket {
	if p.slot >= len(s.bySlot) {
		return nil
	}
	return s.bySlot[p.slot].by[p.kind][asIndex(whole)]
}

func asIndex(whole bool) int {
	if whole {
		return 1
	}
	return 0
}

// openNetwork makes TUN device and goroutines; setAddresses gives them sockets.
func openNetwork(e *Engine, s settings) (*network, error) {
	tun, err := device.OpenTUN(s.tunName, s.queues)
	if err != nil {
		return nil, err
	}
	routes, err := device.OpenRoutes(s.mark)
	if err != nil {
		return nil, errors.Join(err, tun.Close())
	}
	n := &network{e: e, tun: tun, routes: routes, stop: make(chan struct{}), reports: make(chan pathReport, mtuReports)}
	for i := range s.queues {
		if err := n.addQueue(i, s.queues < runtime.GOMAXPROCS(0)); err != nil {
			return nil, errors.Join(err, n.close())
		}
	}
	if err := tun.Up(s.mtu); err != nil {
		return nil, errors.Join(err, n.close())
	}
	for i := range n.tx {
		n.tasks.Go(n.tx[i].work)
		n.tasks.Go(n.rx[i].work)
	}
	for i := range n.txMore {
		n.tasks.Go(n.txMore[i].assist)
		n.tasks.Go(n.rxMore[i].assist)
	}
	n.tasks.Go(func() { e.learn(n.reports, n.stop) })
	n.tasks.Go(func() { e.survey(n.routes, n.stop) })
	n.tasks.Go(func() { e.logStats(n.stop) })
	return n, nil
}

// addQueue makes the goroutines of queue i, with second ones if asked for.
func (n *network) addQueue(i int, more bool) error {
	wakes := make([]*device.Wake, 0, 4)
	for len(wakes) < 2 || more && len(wakes) < 4 {
		w, err := device.NewWake()
		if err != nil {
			for _, w := range wakes {
				err = errors.Join(err, w.Close())
			}
			return err
		}
		wakes = append(wakes, w)
	}
	out, in := newOutQueue(n, i), newInQueue(n, i)
	n.tx = append(n.tx, newTransmitter(n, user{i, asFirst}, out, wakes[0]))
	n.rx = append(n.rx, newReceiver(n, user{i, asFirst}, in, wakes[1]))
	if more {
		n.txMore = append(n.txMore, newTransmitter(n, user{i, asSecond}, out, wakes[2]))
		n.rxMore = append(n.rxMore, newReceiver(n, user{i, asSecond}, in, wakes[3]))
		out.order.pair(wakes[2])
		in.order.pair(wakes[3])
	}
	return nil
}

func (n *network) workers() []*worker {
	var ws []*worker
	for _, t := range slices.Concat(n.tx, n.txMore) {
		ws = append(ws, &t.worker)
	}
	for _, r := range slices.Concat(n.rx, n.rxMore) {
		ws = append(ws, &r.worker)
	}
	return ws
}

// setAddresses opens the sockets of new local addresses and closes those of
// addresses that are gone. After an error nothing has changed.
func (n *network) setAddresses(addrs []netip.Addr, mark uint32) error {
	queues := len(n.tx)
	opened, err := n.openMissing(addrs, mark)
	if err != nil {
		return err
	}
	var gone []*device.Socket
	for q := range queues {
		old := n.rx[q].sockets.Load()
		next := &socketSet{bySlot: make([]localSockets, len(n.e.slots))}
		for _, a := range addrs {
			local, fresh := opened[q][a]
			if !fresh {
				local = old.bySlot[n.e.slot(a)]
			}
			next.bySlot[n.e.slot(a)] = local
			for _, byKind := range local.by {
				next.all = append(next.all, byKind[asIndex(true)])
			}
		}
		for _, local := range old.bySlot {
			if local.addr.IsValid() && !slices.Contains(addrs, local.addr) {
				gone = append(gone, local.list()...)
			}
		}
		n.rx[q].onward.sockets.Store(next)
		n.tx[q].sockets.Store(next)
		n.rx[q].sockets.Store(next)
		if q < len(n.txMore) {
			n.txMore[q].sockets.Store(next)
			n.rxMore[q].sockets.Store(next)
		}
		n.rx[q].wake.Signal()
	}
	n.addresses = slices.Clone(addrs)
	n.drain()
	return closeSockets(gone)
}

// openMissing opens, for each queue, the sockets of addresses that have none. The
// kernel numbers the sockets of an address in the order in which they are opened.
func (n *network) openMissing(addrs []netip.Addr, mark uint32) ([]map[netip.Addr]localSockets, error) {
	opened := make([]map[netip.Addr]localSockets, len(n.tx))
	for q := range opened {
		opened[q] = make(map[netip.Addr]localSockets)
	}
	var all []*device.Socket
	for _, a := range addrs {
		n.e.slot(a)
		if slices.Contains(n.addresses, a) {
			continue
		}
		for _, whole := range []bool{true, false} {
			for q := range opened {
				for _, kind := range []device.Kind{device.UDP, device.Raw} {
					s, err := device.OpenSocket(device.SocketConfig{
						Local: a, Kind: kind, Port: nattPort, Whole: whole, Queue: q, Queues: len(n.tx), Mark: mark,
					})
					if err != nil {
						return nil, errors.Join(err, closeSockets(all))
					}
					all = append(all, s)
					local := opened[q][a]
					local.addr = a
					local.by[kind][asIndex(whole)] = s
					opened[q][a] = local
				}
			}
		}
	}
	return opened, nil
}

func (l localSockets) list() []*device.Socket {
	var out []*device.Socket
	for _, byWhole := range l.by {
		for _, s := range byWhole {
			if s != nil {
				out = append(out, s)
			}
		}
	}
	return out
}

func closeSockets(ss []*device.Socket) error {
	var errs []error
	for _, s := range ss {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// drain waits until each goroutine has ended the batch that it is in.
func (n *network) drain() {
	for _, w := range n.workers() {
		w.batch.Lock()
		w.batch.Unlock() //nolint:staticcheck // Taking it is what waits.
	}
	if b := n.ike.Load(); b != nil {
		b.batch.Lock()
		b.batch.Unlock() //nolint:staticcheck // likewise
	}
}

// setIKE connects to the daemon's socket, and lets go of the one before. An
// empty path means that there is no daemon to talk to.
func (n *network) setIKE(ctx context.Context, path string) error {
	var next *ikeBridge
	if path != "" {
		var err error
		if next, err = dialIKE(ctx, n, path); err != nil {
			return err
		}
	}
	old := n.ike.Swap(next)
	if next != nil {
		n.tasks.Go(next.run)
	}
	if old != nil {
		return old.conn.Close()
	}
	return nil
}

// close ends the goroutines and frees everything.
func (n *network) close() error {
	close(n.stop)
	err := n.setIKE(context.Background(), "")
	for _, w := range n.workers() {
		w.stop.Store(true)
		w.wake.Signal()
	}
	n.tasks.Wait()
	n.routes.Close()
	errs := []error{err}
	for _, w := range n.workers() {
		errs = append(errs, w.wake.Close())
	}
	for _, r := range n.rx {
		for _, local := range r.sockets.Load().bySlot {
			errs = append(errs, closeSockets(local.list()))
		}
	}
	return errors.Join(append(errs, n.tun.Close())...)
}

// describe says for a log what is open.
func (n *network) describe() string {
	return fmt.Sprintf("%s, %d queues, %v", n.tun.Name(), len(n.tx), n.addresses)
}
