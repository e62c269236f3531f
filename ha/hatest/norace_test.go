//go:build !race

package hatest_test

const defaultSeeds = 2000
