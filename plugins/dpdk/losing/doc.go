// Package losing makes a cryptodev lose what it was given, for tests: the device is a
// real one, and what it gives back is kept, by a callback of DPDK's, until it may come
// late. Without the build tag dpdk it is empty.
package losing
