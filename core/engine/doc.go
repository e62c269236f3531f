// Package engine is where ike and offload meet: it owns the tunnels, programs
// the dataplane with their SAs, keeps the routes to their networks, and lets no
// message out that promises what is not yet there.
//
// A Shard is a pure machine, as ike.Tunnel is: Step takes an input and the
// time and returns a Ready, the work in the order in which it must be done. All
// decisions are there, in shard.go, apply.go, lease.go and reconcile.go; run.go
// holds the goroutines, timers and calls.
//
// Tunnels of both versions of IKE are the same here (machine.go); what is peculiar
// to IKEv1 is in version1.go.
//
// Tunnels are spread over shards by their local SPI. A tunnel whose SAs are on
// their way into the dataplane takes no other input until the answer is there;
// the other tunnels of its shard go on, so a slow dataplane delays the tunnels
// that need it and no others.
package engine
