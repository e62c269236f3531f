package sim

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/offload"
)

// traceShard writes what a step of a shard was about, unless it was about
// nothing.
func (g *gateway) traceShard(in engine.Input, rd engine.Ready) {
	what := describeInput(in)
	for _, dg := range rd.Send {
		what = append(what, "sends "+describeIKE(dg.Payload))
	}
	for _, p := range rd.Publish {
		what = append(what, describePublication(p))
	}
	for _, op := range rd.Plane {
		what = append(what, describeOp(op))
	}
	if len(what) > 0 {
		g.c.tracef(g.name, "shard: %s", strings.Join(what, "; "))
	}
}

func describeInput(in engine.Input) []string {
	switch in := in.(type) {
	case engine.Packets:
		return []string{"gets " + describeIKE(in.Datagrams[0].Payload)}
	case engine.Restore:
		return []string{fmt.Sprintf("restores %v at %v with %d children", in.Tunnel.Tunnel, in.Tunnel.Epoch, len(in.Tunnel.Children))}
	case engine.Timeout, engine.Checkpoint, engine.Inventory, engine.Reload:
		return nil
	case engine.PlaneDone:
		for _, r := range in.Results {
			if r.Err != nil {
				return []string{fmt.Sprintf("hears %v", r.Err)}
			}
		}
		return nil
	default:
		return []string{strings.TrimPrefix(fmt.Sprintf("%T%+v", in, in), "engine.")}
	}
}

func describePublication(p engine.Publication) string {
	var what []string
	if p.IKE != nil {
		what = append(what, "IKE")
	}
	for _, pair := range p.Stored {
		what = append(what, fmt.Sprintf("pair %v %v", pair.In.ID.SPI, pair.Out.ID.SPI))
	}
	for _, id := range p.Dropped {
		what = append(what, fmt.Sprintf("without %v", id.SPI))
	}
	if p.Over {
		what = append(what, fmt.Sprintf("over, final %v", p.Final))
	}
	for _, dg := range p.Send {
		what = append(what, "to send "+describeIKE(dg.Payload))
	}
	return fmt.Sprintf("publishes %v: %s", p.Tunnel, strings.Join(what, ", "))
}

func describeOp(op engine.Op) string {
	var what []string
	for _, sa := range op.Install {
		what = append(what, fmt.Sprintf("install %v", sa.ID))
	}
	for _, ch := range op.Update {
		what = append(what, fmt.Sprintf("update %v", ch.ID))
	}
	for _, id := range op.Delete {
		what = append(what, fmt.Sprintf("delete %v", id))
	}
	return strings.Join(what, ", ")
}

// describeIKE names a message by its header (RFC 7296 section 3.1).
func describeIKE(b []byte) string {
	if len(b) < 28 {
		return "a short message"
	}
	names := map[byte]string{
		34: "IKE_SA_INIT", 35: "IKE_AUTH", 36: "CREATE_CHILD_SA", 37: "INFORMATIONAL",
		2: "main mode", 4: "aggressive mode", 5: "informational", 32: "quick mode", // RFC 2408 section 3.1, RFC 2409 appendix A
	}
	if b[17]>>4 == 1 {
		return fmt.Sprintf("%s %08x of %x/%x, %d octets, %x", names[b[18]], b[20:24], b[:8], b[8:16], len(b), b[len(b)-2:])
	}
	kind := "request"
	if b[19]&0x20 != 0 {
		kind = "response"
	}
	return fmt.Sprintf("%s %s %d of %x/%x", names[b[18]], kind, binary.BigEndian.Uint32(b[20:]), b[:8], b[8:16])
}

// traceReplica writes what a step of a replica was about, unless it was about
// nothing.
func (m *member) traceReplica(in engine.ReplicaInput, rd engine.ReplicaReady) {
	what := describeReplicaInput(in)
	if rd.Hard != nil {
		what = append(what, fmt.Sprintf("disk %+v", *rd.Hard))
	}
	for _, o := range rd.Orders {
		what = append(what, describeOrder(o)...)
	}
	for _, dg := range rd.Send {
		what = append(what, "sends "+describeIKE(dg.Payload))
	}
	for _, r := range rd.Relay {
		what = append(what, fmt.Sprintf("relays to member %d %s", r.To, describeIKE(r.Datagram.Payload)))
	}
	for _, s := range rd.Shards {
		what = append(what, strings.TrimPrefix(fmt.Sprintf("%T of %v", s.Input, s.Tunnel), "engine."))
	}
	if rd.Health != nil {
		what = append(what, fmt.Sprintf("health %+v", *rd.Health))
	}
	if len(what) > 0 {
		m.c.tracef(m.name, "%s", strings.Join(what, "; "))
	}
}

func describeReplicaInput(in engine.ReplicaInput) []string {
	switch in := in.(type) {
	case engine.Node:
		r, ok := in.Input.(ha.Received)
		if !ok {
			return describeNodeInput(in.Input)
		}
		var what []string
		for _, rec := range r.Frame.Records {
			what = append(what, fmt.Sprintf("%d: %s", r.Frame.From, describeRecord(rec)))
		}
		return what
	case engine.Noticed:
		return []string{fmt.Sprintf("notices %T of %v", in.Event, eventOf(in.Event))}
	case engine.Inventoried:
		return []string{fmt.Sprintf("takes stock of %d SAs", len(in.Counters))}
	case engine.Strange:
		return []string{"strange " + describeIKE(in.Datagram.Payload)}
	case engine.Published:
		return []string{"published " + in.Publication.Tunnel.String()}
	default:
		return nil
	}
}

func describeNodeInput(in ha.Input) []string {
	switch in := in.(type) {
	case ha.Timeout, ha.Carried, ha.Count:
		return nil
	case ha.Remembered:
		r := in.Return
		return []string{fmt.Sprintf("remembers %v of %+v with %d pairs, from %v ago", r.Tunnel, r.Version, len(r.Children), in.Age)}
	default:
		return []string{strings.TrimPrefix(fmt.Sprintf("%T%+v", in, in), "ha.")}
	}
}

func eventOf(ev offload.Event) any {
	switch ev := ev.(type) {
	case offload.Activated:
		return ev.Tunnel
	case offload.FirstPacket:
		return ev.Tunnel
	case offload.LeaseLow:
		return ev.ID
	case offload.PeerMoved:
		return ev.ID
	default:
		return "something"
	}
}

func describeOrder(o ha.Order) []string {
	switch o.Kind {
	case ha.Arm:
		return []string{fmt.Sprintf("arm %d at %v", o.Group, o.Epoch)}
	case ha.Disarm:
		return []string{fmt.Sprintf("disarm %d at %v", o.Group, o.Epoch)}
	case ha.Discard:
		return []string{fmt.Sprintf("discard %v", o.IDs)}
	case ha.Install:
		ids := make([]ipsec.SAID, len(o.SAs))
		for i := range o.SAs {
			ids[i] = o.SAs[i].ID
		}
		return []string{fmt.Sprintf("install %v", ids)}
	default:
		var what []string
		for _, ch := range o.Changes {
			if ch.Sequence != nil && ch.Sequence.Ceiling != 0 {
				what = append(what, fmt.Sprintf("%v: next %d, ceiling %d", ch.ID, ch.Sequence.Next, ch.Sequence.Ceiling))
			}
			if ch.Active != nil {
				what = append(what, fmt.Sprintf("%v: active %v", ch.ID, *ch.Active))
			}
		}
		return what
	}
}

// describeRecord names a record in a few words.
func describeRecord(r ha.Record) string {
	switch r := r.(type) {
	case ha.PutIKE:
		return fmt.Sprintf("PutIKE %v %v with %d children", r.Tunnel, r.Version, len(r.Children))
	case ha.PutChild:
		return fmt.Sprintf("PutChild %v %v %v bound %d", r.Tunnel, r.Version, r.Child.Out.ID, r.Child.Bound)
	case ha.Return:
		return fmt.Sprintf("Return %v %v with %d children", r.Tunnel, r.Version, len(r.Children))
	case ha.Supply:
		return fmt.Sprintf("Supply %v %v", r.Tunnel, r.Version)
	case ha.Hello:
		return fmt.Sprintf("Hello armed %v", r.Armed)
	case ha.Digest:
		return fmt.Sprintf("Digest %d", r.Round)
	case ha.Address:
		return fmt.Sprintf("Address %v %v %v", r.Tunnel, r.Version, r.Endpoint.Remote)
	case ha.Remove:
		return fmt.Sprintf("Remove %v at %v, final %v", r.Tunnel, r.Epoch, r.Final)
	case ha.Counters:
		return fmt.Sprintf("Counters of %d", len(r.SAs))
	default:
		return strings.TrimPrefix(fmt.Sprintf("%T%+v", r, r), "ha.")
	}
}
