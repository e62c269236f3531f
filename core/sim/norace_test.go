//go:build !race

package sim_test

const (
	defaultSeeds = 1200
	plannedSeeds = 60
	telling      = true
)
