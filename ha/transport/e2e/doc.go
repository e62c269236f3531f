// Package e2e holds the tests of ha/transport on real links: each member is a
// process in a network namespace of core/netlab, its sync interface a cable
// that tcpdump listens on. They need root. It exports nothing.
package e2e
