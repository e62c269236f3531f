package main

import (
	"context"
	"reflect"
	"strconv"

	"github.com/evergate/evergate/core/diag"
	"github.com/evergate/evergate/core/engine"
	"github.com/evergate/evergate/core/ipsec"
	"github.com/evergate/evergate/core/telemetry"
	"github.com/evergate/evergate/ha"
	"github.com/evergate/evergate/ha/transport"
)

// The metrics of the group beside its counters.
var (
	classLabel  = telemetry.Label{Name: "class", Values: classNames()}
	memberLabel = telemetry.Label{Name: "member", Values: memberNames()}

	groupMembers = gauge("ha", "members", "Other members that are there, and those of them that have all of our tunnels.",
		telemetry.Label{Name: "state", Values: []string{"alive", "synced"}})
	groupQueued = gauge("ha", "queue_frames", "Frames that wait for other members.", classLabel)
	groupFull   = gauge("ha", "queue_full_total", "Frames that were dropped because the queue of their member was full.", classLabel)

	// Back-pressure: which member is slow, how much waits for it, and for how long.
	memberRecords = gauge("ha", "member_queue_records", "Records of the state of tunnels that a member has not carried out yet.", memberLabel)
	memberOctets  = gauge("ha", "member_queue_octets", "Their octets.", memberLabel)
	memberLag     = gauge("ha", "member_lag_seconds", "How long a record waits until a member has carried it out, as measured last or under way.", memberLabel)
	memberFellOut = gauge("ha", "member_fell_out_total", "How often a member was slower than its queue is long, and had to get everything anew.", memberLabel)

	groupRefused = gauge("ha", "refusals_total", "Connections between members that became no session.",
		telemetry.Label{Name: "reason", Values: refusalReasons()})
	groupLinks = gauge("ha", "links", "Links to other members, which carry packets for the clients that they own.",
		telemetry.Label{Name: "state", Values: engine.LinkStates()})
	linkPackets = gauge("ha", "link_packets_total", "Packets for clients that went to the owner of their tunnel over a link, and that came over one to us.", directionLabel)
	linkDrops   = gauge("ha", "link_drops_total", "Packets that came over a link and went no further, by reason.",
		telemetry.Label{Name: "reason", Values: dropReasons()})
	linksMade    = gauge("ha", "links_made_total", "Links that came up, with the keys of a new session or dataplane.")
	linksRefused = gauge("ha", "links_refused_total", "SAs of links that the dataplane did not take.")

	groupStrangers = gauge("ha", "strangers_total", "Connections and heartbeats from addresses that are no member's.")
	groupLost      = gauge("ha", "heartbeats_lost", "Heartbeats of other members that have not arrived; one that is only late counts until it does.")
)

func classNames() (names []string) {
	for c := range transport.Classes {
		names = append(names, transport.Class(c).String())
	}
	return names
}

func memberNames() (names []string) {
	for m := range ipsec.MaxMembers {
		names = append(names, strconv.Itoa(m))
	}
	return names
}

func refusalReasons() (names []string) {
	for r := transport.ReasonOther; r <= transport.ReasonRemote; r++ {
		names = append(names, r.String())
	}
	return names
}

// groupMetrics are the counters ha.* of `evergate diagnose vpn ike stats` under
// the same names, and the state of members and queues. A gateway that stands alone
// has none.
func (d *daemon) groupMetrics() telemetry.Collector {
	c := telemetry.Collector{
		Gauges:   []telemetry.Desc{groupMembers, groupQueued, groupLost, groupLinks, memberRecords, memberOctets, memberLag},
		Counters: []telemetry.Desc{memberFellOut, groupFull, groupRefused, groupStrangers, linkPackets, linkDrops, linksMade, linksRefused},
	}
	descs := make(map[string]telemetry.Desc)
	for _, s := range diag.FromGroup(engine.ReplicaStats{}) {
		descs[s.Name] = counterDesc(s.Name)
		c.Counters = append(c.Counters, descs[s.Name])
	}
	c.Read = func(emit telemetry.Emit) {
		if d.cluster == nil {
			return
		}
		d.cluster.measure(emit)
		ctx, cancel := context.WithTimeout(context.Background(), scrapeTime)
		defer cancel()
		d.measureLinks(ctx, emit)
		_, members, stats, err := d.engine.Group(ctx)
		if err != nil {
			return
		}
		alive, synced := 0.0, 0.0
		for _, m := range members {
			alive += number(m.Alive)
			synced += number(m.Alive && m.Synced)
			measureMember(emit, m)
		}
		emit(groupMembers, alive, "alive")
		emit(groupMembers, synced, "synced")
		for _, s := range diag.FromGroup(stats) {
			emit(descs[s.Name], float64(s.Value))
		}
	}
	return c
}

// measureMember says how far another member is behind us.
func measureMember(emit telemetry.Emit, m ha.PeerStatus) {
	name := strconv.Itoa(int(m.Member))
	emit(memberRecords, float64(m.Queued), name)
	emit(memberOctets, float64(m.QueuedOctets), name)
	emit(memberLag, m.Lag.Seconds(), name)
	emit(memberFellOut, float64(m.FellOut), name)
}

// measure adds up what the transport counts of all peers.
func (c *cluster) measure(emit telemetry.Emit) {
	var queued, full [transport.Classes]float64
	var refused [transport.ReasonRemote + 1]float64
	lost := 0.0
	for _, p := range c.mesh.Peers() {
		for class := range transport.Classes {
			queued[class] += float64(p.Queued[class].Frames)
			full[class] += float64(p.Full[class])
		}
		for reason, n := range p.Refused {
			if int(reason) < len(refused) {
				refused[reason] += float64(n)
			}
		}
		lost += float64(p.Heartbeats.Lost)
	}
	for class := range transport.Classes {
		name := transport.Class(class).String()
		emit(groupQueued, queued[class], name)
		emit(groupFull, full[class], name)
	}
	for reason, n := range refused {
		emit(groupRefused, n, transport.Reason(reason).String())
	}
	s := c.mesh.Stats()
	emit(groupStrangers, float64(s.Strangers+s.StrangeHeartbeats))
	emit(groupLost, lost)
}

// measureLinks adds up what the links have carried.
func (d *daemon) measureLinks(ctx context.Context, emit telemetry.Emit) {
	links, stats, err := d.engine.Links(ctx)
	if err != nil {
		return
	}
	states := make(map[string]float64)
	var sent, received float64
	dropped := make([]float64, len(dropReasons()))
	for _, l := range links {
		states[l.State]++
		sent += float64(l.Sent)
		received += float64(l.Received)
		for i := range dropped {
			dropped[i] += float64(reflect.ValueOf(l.Drops).Field(i).Uint())
		}
	}
	for _, state := range engine.LinkStates() {
		emit(groupLinks, states[state], state)
	}
	emit(linkPackets, received, "in")
	emit(linkPackets, sent, "out")
	for i, reason := range dropReasons() {
		emit(linkDrops, dropped[i], reason)
	}
	emit(linksMade, float64(stats.Made))
	emit(linksRefused, float64(stats.Refused))
}
