package hatest

import (
	"fmt"
	"strings"

	"github.com/evergate/evergate/ha"
)

// traceReady writes what a step was about, unless it was about nothing.
func (m *member) traceReady(in ha.Input, rd ha.Ready) {
	var what []string
	say := func(format string, args ...any) { what = append(what, fmt.Sprintf(format, args...)) }
	switch in := in.(type) {
	case ha.Received:
		for _, r := range in.Frame.Records {
			say("%d: %s", in.Frame.From, describe(r))
		}
	case ha.Timeout, ha.Carried, ha.Count:
	default:
		say("%s", describe(in))
	}
	if rd.Hard != nil {
		say("disk %+v", *rd.Hard)
	}
	for _, o := range rd.Orders {
		switch o.Kind {
		case ha.Arm, ha.Disarm:
			say("order %d of group %d at %v", o.Kind, o.Group, o.Epoch)
		case ha.Update:
			for _, ch := range o.Changes {
				if ch.Sequence != nil && ch.Sequence.Ceiling != 0 {
					say("%v: next %d, ceiling %d", ch.ID, ch.Sequence.Next, ch.Sequence.Ceiling)
				}
			}
		default:
		}
	}
	for _, r := range rd.Restore {
		say("restores %v at %v", r.Tunnel, r.Epoch)
	}
	for _, id := range rd.Lost {
		say("lost %v", id)
	}
	for _, id := range rd.Gone {
		say("gone %v", id)
	}
	for _, r := range rd.Rekey {
		say("wants new keys for %v: %v", r.Child, r.Why)
	}
	if rd.Health != nil {
		say("health %+v", *rd.Health)
	}
	if len(what) > 0 {
		m.c.tracef("member %d: %s", m.id, strings.Join(what, "; "))
	}
}

// describe names a record or an input in a few words.
func describe(v any) string {
	switch v := v.(type) {
	case ha.PutIKE:
		return fmt.Sprintf("PutIKE %v %v with %d children", v.Tunnel, v.Version, len(v.Children))
	case ha.PutChild:
		return fmt.Sprintf("PutChild %v %v %v bound %d", v.Tunnel, v.Version, v.Child.Out.ID, v.Child.Bound)
	case ha.StoreIKE:
		return fmt.Sprintf("StoreIKE %v", v.Tunnel)
	case ha.StoreChild:
		return fmt.Sprintf("StoreChild %v %v", v.Tunnel, v.Out.ID)
	case ha.Supply:
		return fmt.Sprintf("Supply %v %v", v.Tunnel, v.Version)
	case ha.Hello:
		return fmt.Sprintf("Hello armed %v", v.Armed)
	case ha.Digest:
		return fmt.Sprintf("Digest %d", v.Round)
	case ha.Counters:
		return fmt.Sprintf("Counters of %d", len(v.SAs))
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T%+v", v, v), "ha.")
	}
}
