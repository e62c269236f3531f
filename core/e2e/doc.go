// Package e2e holds the tests of the whole gateway: the real evergated with its
// dataplane in a process of its own, in networks of core/netlab, against real
// peers. It exports nothing.
//
// The daemon is built with the race detector, whichever way the tests are, and
// a race in it or in its dataplane fails the test that ran it.
package e2e
