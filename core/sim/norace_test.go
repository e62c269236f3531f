//go:build !race

package sim_test

const (
	defaultSeeds = 1500
	plannedSeeds = 60
	telling      = true
)
