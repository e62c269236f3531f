// Package sparse holds tests of the dataplane on kernels that lack parts of what it
// needs. They run in a virtual machine that has none of them at first.
package sparse
