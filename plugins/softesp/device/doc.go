// Package device does the I/O of the dataplane: the TUN device with its
// offloads, the sockets of UDP port 4500 and of IP protocol 50, in batches, and
// what the kernel reports about paths.
//
// The file descriptors are non-blocking and outside of Go's network poller: the
// goroutine that owns a queue waits for all of its descriptors at once, and one
// system call moves up to 64 KiB. Nothing allocates per packet. Methods are for
// one goroutine at a time unless they say otherwise.
//
// Calls that move packets never block, so Go's scheduler is not told of them
// (unix.RawSyscall): it would have a thread of its own look every 20 µs whether
// somebody else could use the processor meanwhile. Only waiting is made known.
package device
