// Package route keeps the kernel's routes to the networks behind tunnels
// (add-route): they appear with an SA and go with it.
//
// # Claims
//
// A tunnel claims a prefix. Several may claim the same one, as when a client
// dials in again before its old tunnel is gone: the newest claim is the route,
// and when it is released the one before it takes its place. A route is replaced
// make-before-break; at no time does the prefix lead elsewhere.
//
// # Whose route it is
//
// Our routes carry the protocol number Protocol. What a crashed daemon left
// behind is found by it when a Table opens, serves on, and is either claimed
// again or removed by Sweep. Routes of others are never touched. Where one stands
// in the way (same prefix, same or better metric), Add says so with a
// ConflictError.
//
// # Prefixes that contain the peer
//
// Routes go into the main table, where the longest prefix wins among all routes
// and routing daemons see them. One kind must not: a prefix that contains the
// tunnel's own peer, such as a client's 0.0.0.0/0, would draw the tunnel's ESP
// and IKE packets into the tunnel. Such routes go into a table of their own,
// number TableID, with policy rules before it (ip rule; priorities from
// RulePriority):
//
//	iif lo ipproto udp sport|dport 500|4500 lookup main, else unreachable
//	iif lo ipproto esp                      lookup main, else unreachable
//	fwmark Config.Mark                      lookup main, else unreachable
//	lookup main suppress_prefixlength K     for each prefix length K in use,
//	lookup 50 suppress_prefixlength K-1     the longest first
//
// The first rules let the gateway's own outer packets go where they went before,
// by whatever next hop that is now: there is no exception route that could grow
// stale. A dataplane needs the mark only where it sends UDP by a raw socket, whose
// ports the kernel does not see. The rules hold for packets that this host makes
// ("iif lo") only, so IPsec of hosts behind us still goes through the tunnel. 'Unreachable' keeps a packet out of its own tunnel
// when its path is gone. The others make the two tables behave as one in which
// the longest prefix wins, and ours among equals; the host's routes to its own
// networks stay in force.
//
// One more rule matches nothing and exists for its side effect, see dissectRule.
// The rules exist only while such a route does.
package route
