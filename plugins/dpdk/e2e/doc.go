// Package e2e holds tests of whole gateways on the DPDK dataplane, alone and in
// groups with members on another one. They need the build tag dpdk.
package e2e
