// Package witness tells the network around a member whether, and for what, the
// member should get packets.
//
//	w, err := witness.New(witness.Config{Gateways: localGateways, BGP: bgp, Health: health, Log: log})
//	go func() { done <- w.Run(ctx) }()
//	w.Fit(true, "synced")                  // the shared addresses are announced
//	w.Own("vpn1_1", clientPrefixes)        // and so is the client's network, by its owner
//	w.Disown("vpn1_1")                     // another member owns it by now
//	w.Drain(ctx)                           // before a planned stop
//
// # Three ways to be heard
//
// A router with static ECMP routes to all members needs nothing: the zero
// Config announces nothing and listens nowhere. The router notices a dead
// member by itself, or not at all.
//
// The health endpoint is for its probe, or a load balancer's: GET /health
// answers 200 while the member is fit, and 503 with the reason while it is not.
//
// BGP is the proper way. The member announces the gateways' addresses (/32 and
// /128) while it is fit, and a client's prefixes while it owns that client's
// tunnel; with AnnounceStandby the other members announce them too, with a worse
// MED and local preference, so that a router has the next path at hand when the
// owner dies. A member that is not fit announces nothing.
//
// # How fast
//
// A member whose process dies is noticed at once: the kernel closes its
// sessions, and the router drops its routes. A host that dies or freezes says
// nothing, and the router waits for the hold time, 3 s unless configured, which
// is the least that RFC 4271 section 4.2 allows. Keepalives go out every
// second, so two of them may be lost. When a session ends the speaker waits 5 s,
// and then about 2 s more, before it connects again; a router that may connect
// to a Passive neighbor does not have to wait for that. The router has such a
// delay, too; BIRD's is a minute or more after an error unless "error wait
// time" says less.
//
// BFD (RFC 5880) would notice a frozen host in less than a second. It is not
// offered, because GoBGP 4.8 leaves the reset of a session that BFD gave up
// lying around, and ends the next one with it, again and again; GoBGP 4.9 is
// said to be free of that.
//
// Graceful restart (RFC 4724) is not offered: it makes a router keep sending
// to a member that has died, and its tunnels live on elsewhere.
//
// # A planned stop
//
// Drain announces everything once more with the GRACEFUL_SHUTDOWN community of
// RFC 8326, the local preference 0 and a bad MED, so that routers choose other
// paths while this one still works. After Config.DrainDelay it withdraws. A
// router has to be told to honor the community; most have a switch for it, and
// BIRD needs one line in the import filter:
//
//	if (65535, 0) ~ bgp_community then bgp_local_pref = 0;
//
// # What is not announced
//
// The prefixes come from what clients negotiate, so Own refuses what must never
// be routed to a member because a client asked for it: default routes,
// multicast, loopback and link-local addresses, and the addresses of the
// gateways, the neighbors and the sessions themselves. Routes that neighbors
// send are rejected and never passed on: a member is no transit. One that sends
// more than 10,000 of a family is cut off, and gets another try after 30 s.
//
// # The speaker
//
// BGP is GoBGP's. It is a library with package-level state of its own, so a
// process runs one Witness with BGP at a time. Everything that it starts
// has ended when Run returns, except the goroutine that watched its sessions:
// that one ends by itself a moment later.
package witness
