// Package nl is a netlink socket for those who must not wait: it hears what the
// kernel says by itself, and takes all answers to a batch of requests, without
// waiting for more than is there. The dataplane takes what was said before it
// answers a call, and sleeps in Wait between calls.
//
// The kernel answers a request, and tells the groups of what it caused, before the
// call that sends the request returns; so nothing is missed by not waiting.
package nl
