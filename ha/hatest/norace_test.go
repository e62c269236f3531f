//go:build !race

package hatest_test

const defaultSeeds = 1200
