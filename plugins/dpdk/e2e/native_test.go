//go:build dpdk && !nffgo

package e2e_test

// tags are those of the plugin under test.
const tags = "dpdk"
