// Package e2e holds tests of whole gateways whose dataplane is the kernel's ESP,
// against a client whose ESP is the kernel's, too, and in groups with members that
// have another dataplane. They run in a virtual machine.
package e2e
