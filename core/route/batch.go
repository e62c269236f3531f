package route

import (
	"errors"
	"fmt"
	"net/netip"

	netlinkconn "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Claim is a route that a tunnel wants.
type Claim struct {
	// Owner is the tunnel's name.
	Owner string
	Route Route
}

// batchRoutes is how many routes go to the kernel at once. Should it refuse all of
// them, its answers still fit into a socket's receive buffer of the usual size.
const batchRoutes = 128

// AddAll is Add for each claim, in their order, in a fraction of the time: new
// prefixes go to the kernel many at a time. The errors are those of Add by the
// index of the claim; nil when there are none.
func (t *Table) AddAll(claims []Claim) []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	errs := make([]error, len(claims))
	var first []int // claims that are the first of their prefix, not in the kernel yet
	flush := func() {
		t.addFirst(claims, first, errs)
		first = first[:0]
	}
	for i, c := range claims {
		if t.simple(c.Route) {
			r := c.Route
			r.Metric = metricOf(r)
			t.want(r.Prefix, newClaim(c.Owner, r, nil))
			if first = append(first, i); len(first) == batchRoutes {
				flush()
			}
			continue
		}
		flush() // of the same prefix maybe
		errs[i] = t.add(c.Owner, c.Route)
	}
	flush()
	for _, err := range errs {
		if err != nil {
			return errs
		}
	}
	return nil
}

// simple tells whether a route is all that its prefix takes: nobody has claimed
// that, nothing is to be replaced, no rule is needed, and the interface is known.
func (t *Table) simple(r Route) bool {
	_, had := t.prefixes[r.Prefix]
	_, known := t.indexes[r.Interface]
	return canonical(r.Prefix) && !had && known && !r.captures() && !t.stale[mainKey(r)]
}

// addFirst puts the routes of claims into the kernel that are the first of their
// prefixes. What the kernel refuses is tried again alone, to find out why.
func (t *Table) addFirst(claims []Claim, first []int, errs []error) {
	if len(first) == 0 {
		return
	}
	refused, err := t.request(claims, first)
	if err != nil {
		t.config.Log.Warn("routes were not added at once, but one by one", "error", err)
	}
	for n, i := range first {
		c := claims[i]
		key := mainKey(c.Route)
		if err != nil || refused[n] {
			t.want(c.Route.Prefix, nil)
			errs[i] = t.add(c.Owner, c.Route)
			continue
		}
		t.has(key)
		if err := t.preferred(key); err != nil {
			t.restore(c.Route.Prefix, nil)
			errs[i] = fmt.Errorf("route: add %v for %s: %w", c.Route.Prefix, c.Owner, err)
		}
	}
}

// request asks the kernel for routes, and returns which of them it refused. After
// an error nobody knows.
//
// Only refusals are answered, and the last message, which asks for nothing but an
// answer: all others have been dealt with then.
func (t *Table) request(claims []Claim, first []int) (refused []bool, err error) {
	messages := make([]netlinkconn.Message, 0, len(first)+1)
	for _, i := range first {
		r := claims[i].Route
		messages = append(messages, newRoute(mainKey(r), t.indexes[r.Interface]))
	}
	messages = append(messages, netlinkconn.Message{Header: netlinkconn.Header{
		Type: netlinkconn.Noop, Flags: netlinkconn.Request | netlinkconn.Acknowledge,
	}})
	sent, err := t.conn.SendMessages(messages)
	if err != nil {
		return nil, fmt.Errorf("send %d routes to the kernel: %w", len(first), err)
	}
	refused = make([]bool, len(first))
	last := sent[len(first)].Header.Sequence
	for {
		answers, err := t.conn.Receive()
		if refusal, ok := errors.AsType[*netlinkconn.OpError](err); ok && refusal.Sequence != 0 {
			if back := last - refusal.Sequence; 0 < back && int(back) <= len(first) {
				refused[len(first)-int(back)] = true
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("hear what the kernel makes of %d routes: %w", len(first), err)
		}
		for _, a := range answers {
			if a.Header.Sequence == last {
				return refused, nil
			}
		}
	}
}

// newRoute is the message that adds a route, if there is none like it.
func newRoute(key kernelKey, index int) netlinkconn.Message {
	family, scope := byte(unix.AF_INET), byte(unix.RT_SCOPE_LINK)
	if key.prefix.Addr().Is6() {
		family, scope = unix.AF_INET6, unix.RT_SCOPE_UNIVERSE
	}
	attributes := netlinkconn.NewAttributeEncoder()
	attributes.Bytes(unix.RTA_DST, key.prefix.Addr().AsSlice())
	attributes.Uint32(unix.RTA_OIF, uint32(index))
	if key.metric != 0 {
		attributes.Uint32(unix.RTA_PRIORITY, key.metric)
	}
	encoded, _ := attributes.Encode() // fails for callbacks only
	return netlinkconn.Message{
		Header: netlinkconn.Header{
			Type: unix.RTM_NEWROUTE, Flags: netlinkconn.Request | netlinkconn.Create | netlinkconn.Excl,
		},
		// struct rtmsg: family, lengths of destination and source, TOS, table,
		// protocol, scope, type, and flags.
		Data: append([]byte{
			family, byte(key.prefix.Bits()), 0, 0, unix.RT_TABLE_MAIN, Protocol, scope, unix.RTN_UNICAST, 0, 0, 0, 0,
		}, encoded...),
	}
}

// mainKey is what a route is in the main table.
func mainKey(r Route) kernelKey { return kernelKey{r.Prefix, unix.RT_TABLE_MAIN, metricOf(r)} }

// metricOf is the metric that the kernel gives a route.
func metricOf(r Route) uint32 {
	if r.Metric == 0 && r.Prefix.Addr().Is6() {
		return 1024 // IP6_RT_PRIO_USER
	}
	return r.Metric
}

func canonical(p netip.Prefix) bool { return p.IsValid() && p == p.Masked() && !p.Addr().Is4In6() }
