// Package device does the I/O of the dataplane: the TUN device with its
// offloads, the sockets of UDP port 4500 and of IP protocol 50, in batches, and
// what the kernel reports about paths.
//
// The file descriptors are non-blocking and outside of Go's network poller: the
// goroutine that owns a queue waits for all of its descriptors at once, and one
// system call moves up to 64 KiB. Nothing allocates per packet. Methods are for
// one goroutine at a time unless they say otherwise.
package device
