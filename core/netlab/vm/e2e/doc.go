// Package e2e holds the tests that run inside a machine of package vm, and
// show that it has what the tests of others build on: ESP of the kernel, with
// hardware offload, namespaces, and strongSwan on top of them.
package e2e
