// Package losing makes a cryptodev lose what it was given, for tests: the device is a
// real one, and what it gives back is kept, by a callback of DPDK's. When it may come, the
// device does it once more, so that it looks at all that a driver which is late would
// look at. Without the build tag dpdk it is empty.
package losing
