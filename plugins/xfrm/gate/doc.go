// Package gate holds back packets of SAs that must not carry them: outbound ones of
// standby SAs (invariant I7) and those of SAs that have come to an end. It counts
// what it holds back, notices first packets, and opens for a whole group at once.
//
// The gate is a table of nftables whose rules see the SA that the kernel has
// chosen for a packet before it is encrypted, or has used for one that arrived (the
// ipsec expression of nft), by the SA's reqid:
//
//	chain postrouting  ipsec out reqid vmap @out
//	chain prerouting   ipsec in reqid  vmap @in
//	map out, in        an SA that is held back, with a counter:
//	                     jump out-standby-G, in-standby-G   standby in group G
//	                     drop                               at its end
//	chain out-standby-G  tell, if not in @told; drop if the mark is in @late; drop.
//	                     With a link to member G: mark for it instead of the last.
//	                     While G is armed: tell
//	chain in-standby-G   tell, if not in @told. While G is armed: tell
//	                     link-in, link-out                  of a link between members
//	chain link-in        mark the packet with the reqid
//	chain link-out       drop what is in @stray by its mark
//	chain forward        the same, of what leaves by another interface
//	set told           SAs whose first packet was told, until their role changes
//	set notes          what the dataplane keeps of each SA, across its restarts
//
//	sets late, stray     inbound SAs of links, with counters of what they brought for
//	                     a standby SA, and for none
//	set aside            standby SAs, with counters of what they did not drop for
//	                     their own sake: it went to a link, or counts in @late
//
// What is marked for a link is sent into the interface once more by tables of that
// name for IPv4 and IPv6, as the family inet has no dup, and dropped here after that:
//
//	chain postrouting  a little later: note if DF is clear; dup to the interface
//	chain output       clear DF again, which dup has set; mark the copy as such
//
// What is in no map passes. To tell is to log into an NFLOG group, with the reqid
// in the place of the packet's mark. Arming a group replaces two chains, however
// many SAs are in it.
//
// The table lives in the kernel without the dataplane. Whoever removes it opens the
// gate; Lost tells, so that it can be built again at once.
package gate
