// Package programs builds what end-to-end tests run: the gateway's daemon and the
// dataplanes, as processes of their own. They are built once for all tests of a
// package, before the first, and found by their names. Tests that a virtual machine
// runs find what was built outside.
package programs
